"""Putting one answer together from its JSON objects, whatever the protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson

from somaagent.agent.content import Reasoning
from somaagent.agent.failures import garbled
from somaagent.agent.messages import ToolCall, Usage
from somaagent.agent.models.refusals import told_error
from somaagent.agent.ports import FinishChunk, ModelChunk, ReasoningChunk, TextChunk, ToolCallChunk

Written = TextChunk | ReasoningChunk


@dataclass(slots=True)
class PartialCall:
    """What has come of a tool call so far."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    native: Mapping[str, Any] | None = None


class AnswerReader(ABC):
    """Reads the objects of a stream, or one whole answer.

    ``finished`` once the server said why it stopped; ``begun`` once it wrote anything, also reasoning.
    A protocol says how one object is read, when nothing can follow (``_done``, or ``last_word``, which is no
    JSON), and what its words for the end mean.
    """

    what: ClassVar[str]
    last_word: ClassVar[bytes | None] = None
    reasons: ClassVar[Mapping[str, str]] = {}

    def __init__(self, model: str, secret: str | None = None) -> None:
        """``secret`` is kept out of what the server's error messages are quoted with."""
        self.begun = False
        self._done = False
        self._model = model
        self._secret = secret
        self._reason = ""
        self._usage = Usage()
        self._calls: dict[int, PartialCall] = {}
        self._written: list[Written] = []
        self._kind: type[Written] = TextChunk
        self._pieces: list[str] = []

    @property
    def finished(self) -> bool:
        return self._done or bool(self._reason)

    @property
    def complete(self) -> bool:
        """Nothing that matters can follow."""
        return self._done

    def read(self, text: bytes) -> None:
        """Take in one JSON object; nothing counts that follows the last. Raises ``SomaError``: garbled, or
        the error that the object tells of.
        """
        if self._done:
            return
        if text == self.last_word:
            self._done = True
            return
        try:
            answer = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise garbled("it is not JSON") from None
        if not isinstance(answer, dict):
            raise garbled("it is not a JSON object")
        if answer.get("error"):
            raise told_error(answer["error"], self._secret)
        try:
            self._read(answer)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise garbled(f"its JSON does not have the shape of {self.what}") from None

    def written(self) -> list[Written]:
        """The text and reasoning that were read since the last time, in order.

        What is of one kind is one chunk: each costs everybody on its way.
        """
        self._close_chunk()
        written, self._written = self._written, []
        return written

    def end(self) -> Iterator[ModelChunk]:
        """What is known only at the end: the tool calls and the finish."""
        for index, call in sorted(self._calls.items()):
            if not call.name:
                raise garbled("it asks for a tool without a name")
            called = ToolCall(call.id or f"call_{index}", call.name, "".join(call.arguments), call.native)
            yield ToolCallChunk(called)
        default = "tool_calls" if self._calls else "stop"
        reason = self.reasons.get(self._reason, self._reason) or default
        yield FinishChunk(reason, self._usage, reasoning=self._reasoning())

    @abstractmethod
    def _reasoning(self) -> tuple[Reasoning, ...]:
        """All that the model thought, as its server wants it back."""

    def _write(self, kind: type[Written], text: Any) -> None:
        """What the model wrote, if it is anything. Raises TypeError where it is no text."""
        if not text:
            return
        if not isinstance(text, str):
            raise TypeError(text)
        if kind is not self._kind:
            self._close_chunk()
            self._kind = kind
        self._pieces.append(text)
        self.begun = True

    def _close_chunk(self) -> None:
        if self._pieces:
            self._written.append(self._kind("".join(self._pieces)))
            self._pieces.clear()

    @abstractmethod
    def _read(self, answer: Mapping[str, Any]) -> None:
        """Note what one object holds. Of another shape it may end in a KeyError and the like."""
