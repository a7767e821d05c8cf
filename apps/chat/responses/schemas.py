"""The body of ``POST /v1/responses``, and what it asks for in our words.

What has no effect on the answer is taken and passed over. What would have one and cannot be had here is
refused by name, so that nobody believes it was done.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, ValidationError, model_validator

from apps.chat.openai_content import Json
from apps.chat.openai_schemas import MOST_TOOLS, NO_ARGUMENTS, ToolName
from somaagent.agent.ports import ModelSettings, ToolSchema
from somaagent.web.bodies import Body
from somaagent.web.text import Text

from .asked import Asked
from .input_items import Input

MOST_METADATA = 16
MetadataKey = Annotated[Text, Field(min_length=1, max_length=64)]
MetadataValue = Annotated[Text, Field(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MOST_METADATA)]


class FunctionTool(Body):
    type: Literal["function"]
    name: ToolName
    description: Text | None = None
    parameters: Json | None = None
    strict: StrictBool | None = None

    def told(self) -> ToolSchema:
        return ToolSchema(self.name, self.description or "", self.parameters or NO_ARGUMENTS, self.strict)


class ChosenTool(Body):
    type: Literal["function"]
    name: ToolName


def _choice_of(choice: Any) -> Any:
    if choice in (None, "none", "auto", "required"):
        return choice
    try:
        return ChosenTool.model_validate(choice).model_dump()
    except ValidationError as error:
        raise ValueError("is none, auto, required, or one function of the tools") from error


class TextFormat(Body):
    type: Literal["text", "json_object", "json_schema"]
    name: ToolName | None = None
    description: Text | None = None
    schema_: Annotated[Json | None, Field(alias="schema")] = None
    strict: StrictBool | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if (self.type == "json_schema") != (self.schema_ is not None and self.name is not None):
            raise ValueError("the type json_schema, and no other, has a name and a schema")
        return self

    def told(self) -> dict[str, Any]:
        """In the shape of chat completions, as ``ModelSettings`` has it."""
        if self.type != "json_schema":
            return {"type": self.type}
        facts = {"name": self.name, "description": self.description, "strict": self.strict}
        given = {name: fact for name, fact in facts.items() if fact is not None}
        return {"type": "json_schema", "json_schema": {**given, "schema": self.schema_}}


class TextWishes(Body):
    format: TextFormat | None = None
    verbosity: Literal["medium"] | None = None


class ReasoningWishes(Body):
    """How much the model thinks. What it thought is not told: neither whole nor as a summary."""

    effort: Annotated[str | None, Field(pattern=r"^[a-z]{1,16}$")] = None
    summary: None = None


class NamedConversation(Body):
    id: Text


class StreamOptions(Body):
    include_obfuscation: StrictBool = False


def _name_of(conversation: Any) -> Any:
    return {"id": conversation} if isinstance(conversation, str) else conversation


class ResponseIn(Body):
    model: Annotated[Text, Field(description="The slug of an agent.")]
    input: Input
    instructions: Text | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    background: StrictBool | None = None
    store: StrictBool | None = None
    previous_response_id: Text | None = None
    conversation: Annotated[NamedConversation | None, BeforeValidator(_name_of)] = None
    metadata: Metadata | None = None
    max_output_tokens: Annotated[int | None, Field(ge=1)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    text: TextWishes | None = None
    reasoning: ReasoningWishes | None = None
    tools: Annotated[list[FunctionTool] | None, Field(max_length=MOST_TOOLS)] = None
    tool_choice: Annotated[Any, AfterValidator(_choice_of)] = None
    parallel_tool_calls: StrictBool | None = None
    # What is done anyway: a kept conversation that grows too long is summarised, one that is not kept fails.
    truncation: Literal["auto", "disabled"] | None = None
    # No probabilities are known.
    top_logprobs: Literal[0] | None = None
    include: Annotated[list[str] | None, Field(max_length=0)] = None
    service_tier: Literal["auto", "default"] | None = None
    # Without effect on the answer.
    user: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.previous_response_id is not None and self.conversation is not None:
            raise ValueError("a response follows either previous_response_id or a conversation")
        if self.store is False and self.background:
            raise ValueError("background needs store: nobody waits for an answer that is not kept")
        if self.store is False and self.conversation is not None:
            raise ValueError("conversation needs store: what is said in one is kept")
        if self.truncation not in (None, self._truncated()):
            raise ValueError("truncation is auto for stored responses, and disabled for others")
        if not self.tools and self.tool_choice not in (None, "none", "auto"):
            raise ValueError("tool_choice asks for tools, and there are none")
        return self

    def told(self) -> Asked:
        return Asked(
            agent=self.model,
            items=[item.shown() for item in self.input],
            instructions=self.instructions,
            settings=self._settings(),
            tools=tuple(tool.told() for tool in self.tools or ()),
            background=bool(self.background),
            previous=self.previous_response_id,
            conversation=self.conversation.id if self.conversation else None,
            shown=self._shown(),
        )

    def _settings(self) -> ModelSettings:
        form = self.text.format if self.text else None
        chosen = self.tool_choice
        if isinstance(chosen, dict):
            chosen = {"type": "function", "function": {"name": chosen["name"]}}
        return ModelSettings(
            temperature=self.temperature,
            top_p=self.top_p,
            max_output_tokens=self.max_output_tokens,
            reasoning_effort=self.reasoning.effort if self.reasoning else None,
            response_format=form.told() if form and form.type != "text" else None,
            # Several servers refuse what speaks of tools where there are none.
            tool_choice=chosen if self.tools else None,
            parallel_tool_calls=self.parallel_tool_calls if self.tools else None,
        )

    def _truncated(self) -> str:
        return "disabled" if self.store is False else "auto"

    def _shown(self) -> dict[str, Any]:
        """What a response repeats of its request."""
        form = self.text.format if self.text else None
        written = form.model_dump(by_alias=True, exclude_none=True) if form else {"type": "text"}
        named = {"id": self.conversation.id} if self.conversation else None
        return {
            "model": self.model,
            "instructions": self.instructions,
            "metadata": self.metadata or {},
            "background": bool(self.background),
            "store": self.store is not False,
            "previous_response_id": self.previous_response_id,
            "conversation": named,
            "max_output_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "text": {"format": written},
            "reasoning": {"effort": self.reasoning.effort if self.reasoning else None, "summary": None},
            "tools": [tool.model_dump() for tool in self.tools or ()],
            "tool_choice": self.tool_choice or "auto",
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "truncation": self._truncated(),
        }


class ConversationIn(Body):
    """Which agent answers is said by the first response."""

    items: Annotated[
        list[Any] | None,
        AfterValidator(lambda items: _none_of(items, "say it as the input of the first response")),
    ] = None
    metadata: Annotated[
        dict[str, Any] | None,
        AfterValidator(lambda facts: _none_of(facts, "conversations keep none here: responses do")),
    ] = None


def _none_of(value: Any, instead: str) -> Any:
    if value:
        raise ValueError(instead)
    return value
