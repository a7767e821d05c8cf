"""What the API of agents takes and gives."""

from __future__ import annotations

from typing import Annotated, Any, Self
from uuid import UUID

from ninja import Schema
from pydantic import Field, StrictBool, StringConstraints

from somaagent.web.bodies import Body, PartialBody
from somaagent.web.text import Slug, Text, Title

from .models import MOST_TOOLS, TOOL_PATTERN, Agent

MOST_INSTRUCTIONS = 100_000
Name = Annotated[Title, Field(min_length=1)]
Instructions = Annotated[
    Text,
    StringConstraints(max_length=MOST_INSTRUCTIONS),
    Field(description="What the model is told before the conversation."),
]
ModelProfileSlug = Annotated[Slug, Field(description="Slug of a model profile that gives answers.")]
Tools = Annotated[
    list[Annotated[str, StringConstraints(pattern=rf"^{TOOL_PATTERN.pattern}$")]],
    Field(max_length=MOST_TOOLS, description="Names of tools that there are; * stands for any characters."),
]


class AgentIn(Body):
    slug: Slug
    name: Name
    model_profile: ModelProfileSlug
    instructions: Instructions = ""
    tools: Tools = []
    is_default: Annotated[
        StrictBool, Field(description="Answers where no agent is named, in place of the one that did.")
    ] = False

    def facts(self) -> dict[str, Any]:
        return self.model_dump(exclude={"slug"}) | {"tools": _each_once(self.tools)}


class AgentPatch(PartialBody):
    """What is left out stays."""

    name: Name | None = None
    model_profile: ModelProfileSlug | None = None
    instructions: Instructions | None = None
    tools: Tools | None = None
    is_default: Annotated[
        StrictBool | None, Field(description="The default one is no more when another becomes it.")
    ] = None

    def changes(self) -> dict[str, Any]:
        given = self.model_dump(exclude_unset=True)
        return given | ({"tools": _each_once(given["tools"])} if "tools" in given else {})


class AgentOut(Schema):
    id: UUID
    slug: str
    name: str
    model_profile: str
    is_default: bool
    tools: list[str]
    instructions: Annotated[str | None, Field(description="For owners and admins; null for others.")]

    @classmethod
    def of(cls, agent: Agent, *, whole: bool) -> Self:
        """``whole``: with what it is instructed."""
        return cls(
            id=agent.pk,
            slug=agent.slug,
            name=agent.name,
            model_profile=agent.model_profile.slug,
            is_default=agent.is_default,
            tools=agent.tools,
            instructions=agent.instructions if whole else None,
        )


def _each_once(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))
