"""What the engine asks of the outside: a model that streams, and a set of tools that can be called."""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from somaagent.agent.content import Reasoning
from somaagent.agent.messages import ModelMessage, ToolCall, Usage


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How a model should write. ``None`` leaves the choice to the model's server.

    ``response_format`` and ``tool_choice`` have the shapes that they have in OpenAI's chat completions.
    How long a model thinks before it answers: ``reasoning_effort`` is a word of its server's (``low``,
    ``high`` …), ``thinking_tokens`` the most tokens of thought, where its protocol counts them.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_format: Mapping[str, Any] | None = None
    tool_choice: str | Mapping[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    thinking_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TextChunk:
    """The next piece of the answer; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningChunk:
    """The next piece of what the model thinks before it answers; never empty, and not part of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallChunk:
    """A tool call, complete: adapters put its pieces together."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class FinishChunk:
    """The last chunk of every stream. ``reason``: ``stop``, ``length``, ``tool_calls``, ``content_filter`` or
    the server's own word. ``profile`` names the model profile that answered, where there is one.
    ``reasoning``: all of it, as the model's server wants it back with the results of its tool calls."""

    reason: str
    usage: Usage = field(default_factory=Usage)
    profile: str = ""
    reasoning: tuple[Reasoning, ...] = ()


ModelChunk = TextChunk | ReasoningChunk | ToolCallChunk | FinishChunk


@dataclass(frozen=True, slots=True)
class ToolSchema:
    """A tool as a model sees it. ``parameters`` is the JSON Schema of its arguments, an object; ``strict``
    asks the model's server to hold the model to it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool | None = None


class Outcome(StrEnum):
    """How a tool call ended. All but ``ok`` come with a reason in place of a result.

    ``refused``: it never ran (no such tool, arguments that do not fit, policy); ``denied``: somebody said no;
    ``expired``: nobody said anything in time; ``cancelled``: its turn was stopped before it ran;
    ``cut_short``: its host or its turn was stopped while it ran, and it may have taken effect.
    """

    OK = "ok"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    REFUSED = "refused"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    CUT_SHORT = "cut_short"


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool call gave, as text for the model; with another outcome than ``ok``, the reason."""

    text: str
    outcome: Outcome = Outcome.OK


class Action(StrEnum):
    """What becomes of a call: it runs, it does not, or somebody is asked."""

    RUN = "run"
    REFUSE = "refuse"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a toolset says of a call before it runs, and why.

    ``call`` is what would run. ``outcome`` is that of a refused call. ``risk`` and ``source`` are the tool's,
    in its own words. ``decision`` names the policy's decision, where there was one.
    """

    action: Action
    call: ToolCall
    reason: str = ""
    outcome: Outcome = Outcome.REFUSED
    risk: str = ""
    source: str = ""
    decision: str = ""


class ChatModel(Protocol):
    """A model that can be asked. Failures are ``somaagent.agent.failures.ModelError``."""

    def stream(
        self,
        messages: Sequence[ModelMessage],
        *,
        tools: Sequence[ToolSchema] = (),
        settings: ModelSettings,
    ) -> AsyncGenerator[ModelChunk, None]:
        """Chunks as they arrive, a ``FinishChunk`` last. Closing the generator ends the request at once."""
        ...


class Toolset(Protocol):
    """Tools that a run may call. Each call is judged, and called if the verdict is to run it."""

    def schemas(self) -> Sequence[ToolSchema]: ...

    async def judge(self, call: ToolCall) -> Verdict:
        """What may become of the call. It may be asked again, here or on another host."""
        return Verdict(Action.RUN, call)

    async def call(self, call: ToolCall) -> ToolResult:
        """Runs the call that a verdict let through. Raises ``SomaError`` for a failure that the model may be
        told.
        """
        ...


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector for each input, in their order, all of one length; and the tokens that were read."""

    vectors: Sequence[array[float]]
    usage: Usage = field(default_factory=Usage)


# Texts, or texts as a tokenizer of the model's own has cut them up.
EmbeddingInputs = Sequence[str] | Sequence[Sequence[int]]


class EmbeddingModel(Protocol):
    """A model that turns texts into vectors. Failures are ``somaagent.agent.failures.ModelError``."""

    async def embed(
        self, inputs: EmbeddingInputs, *, dimensions: int | None = None, exact: bool = False
    ) -> Embeddings:
        """``dimensions``: the length that the vectors shall have, where the model knows several. ``exact``
        asks for numbers as text; without it they come with 32 bits each, in a quarter of the space."""
        ...
