"""What an answer to a question of approval looks like, over HTTP and WebSocket and from the page."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from somaagent.web.bodies import Body
from somaagent.web.text import Text

from .approvals import Given

MOST_AT_ONCE = 64


class AnswerIn(Body):
    call_id: Annotated[Text, Field(min_length=1, max_length=64)]
    decision: Literal["approve", "deny"]
    reason: Annotated[Text, Field(max_length=500, description="The model is told it.")] = ""
    arguments: Annotated[
        dict[str, Any] | None, Field(description="What to run it with instead, where it is approved.")
    ] = None

    def given(self) -> Given:
        return Given(self.call_id, self.decision == "approve", self.reason, self.arguments)


class AnswersIn(Body):
    calls: Annotated[list[AnswerIn], Field(min_length=1, max_length=MOST_AT_ONCE)]
