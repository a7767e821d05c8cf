"""What a model reads: a run's messages, with a summary in the place of the older ones where they do not fit.

The oldest go first: exchanges before the newest message of the user, then steps of the run itself. That
message and the newest step are read word for word, always; a tool's result stays with its call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from somaagent.agent import tokens
from somaagent.agent.limits import context_too_long, summary_too_long
from somaagent.agent.messages import ModelMessage
from somaagent.agent.ports import ToolSchema

# Our count of tokens is a guess: of a window, this much is used.
SHARE = 0.9
# After a compaction this much of the room is taken at most, so that the next one is not due at once.
KEPT = 0.6
LEAST_SUMMARY_TOKENS = 32
WORDS_PER_TOKEN = 0.6

Covers = Literal["conversation", "steps"]
Unit = tuple[ModelMessage, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """How much a model reads and writes at once.

    ``tokens`` is both together (``None``: not known, so that nothing is summarised until its server refuses
    a request as too long); ``max_output_tokens`` is what it may write; ``ratio`` how many tokens its server
    counted of late for each that we guess.
    """

    tokens: int | None
    max_output_tokens: int
    ratio: float = 1.0

    def room(self) -> int | None:
        """Tokens that a request may have."""
        return None if self.tokens is None else int(self.tokens * SHARE) - self.max_output_tokens


@dataclass(frozen=True, slots=True)
class Part:
    """What a summary is to stand for: ``messages``, and the summary of what was ``before`` them.

    A request for it may have ``room`` tokens, and the summary ``words``; ``ratio`` as in ``Window``.
    """

    covers: Covers
    messages: tuple[ModelMessage, ...]
    before: str
    room: int
    words: int
    ratio: float


class Context:
    """The messages of one run.

    ``messages`` are instructions, what was said, and the steps of this run that are done; ``summary`` is of
    what was said before them. Without a ``window`` the messages are read as they are.
    """

    def __init__(
        self,
        messages: Sequence[ModelMessage],
        *,
        tools: Sequence[ToolSchema] = (),
        window: Window | None = None,
        summary: str = "",
    ) -> None:
        first = next((i for i, message in enumerate(messages) if message.role != "system"), len(messages))
        newest = max((i for i, message in enumerate(messages) if message.role == "user"), default=first)
        self._told = tuple(messages[:first])
        self._earlier = _exchanges(messages[first:newest])
        self._newest = tuple(messages[newest : newest + 1])
        self._steps = _steps(messages[newest + 1 :])
        self._summary, self._work = summary, ""
        self._tools = tuple(tools)
        self._room = window.room() if window else None
        self._may_shrink = window is not None
        self._max_output = window.max_output_tokens if window else 0
        self._ratio = window.ratio if window else 1.0
        self._shortened = False

    @property
    def ratio(self) -> float:
        """Tokens that the server counted for each that was guessed, at the last request."""
        return self._ratio

    def messages(self) -> list[ModelMessage]:
        return [
            *self._told,
            *_recalled(self._summary),
            *_flat(self._earlier),
            *self._newest,
            *_reported(self._work),
            *_flat(self._steps),
        ]

    def add(self, *step: ModelMessage) -> None:
        """The messages of a step that is done."""
        self._steps.append(step)

    def learn(self, counted: int) -> None:
        """The tokens that the server counted for these messages; 0 where it did not."""
        if counted:
            self._ratio = tokens.ratio(counted, tokens.guess(self.messages(), self._tools))

    def size(self) -> int:
        """Tokens of a request with these messages."""
        return self._count(self.messages(), self._tools)

    def excess(self) -> Part | None:
        """What has to be summarised next; ``None`` where all fits.

        Raises ``context_too_long`` where the newest message does not fit with the instructions and the newest
        step, and ``summary_failed`` where the summary leaves no room for them.
        """
        room = self._room
        if room is None or self.size() <= room:
            return None
        if self._least() > room:
            raise context_too_long(self._least(), room)
        if self._earlier:
            others = self._count([*self._told, *self._newest, *_reported(self._work), *_flat(self._steps)])
            cut = self._cut(self._earlier, others, room)
            return self._part("conversation", _flat(self._earlier[:cut]), self._summary, room)
        if len(self._steps) > 1:
            others = self._count([*self._told, *_recalled(self._summary), *self._newest])
            cut = min(self._cut(self._steps, others, room), len(self._steps) - 1)
            return self._part("steps", _flat(self._steps[:cut]), self._work, room)
        if self._summary and not self._shortened:
            self._shortened = True
            return self._part("conversation", (), self._summary, room)
        raise summary_too_long(room)

    def replace(self, part: Part, summary: str) -> None:
        """Have ``summary`` in the place of ``part``."""
        if part.covers == "conversation":
            self._earlier = _exchanges(_flat(self._earlier)[len(part.messages) :])
            self._summary = summary
        else:
            self._steps = _steps(_flat(self._steps)[len(part.messages) :])
            self._work = summary

    def shrink(self) -> bool:
        """A server refused these messages as too long: have half of the room from now on, or as much as
        what must be read needs. False where nothing could be left out.
        """
        size = self.size()
        has_older = bool(self._earlier) or len(self._steps) > 1
        least = self._least() + LEAST_SUMMARY_TOKENS
        if not self._may_shrink or not has_older or least >= size:
            return False
        self._room = max(size // 2, least)
        return True

    def _least(self) -> int:
        return self._count([*self._told, *self._newest, *_flat(self._steps[-1:])], self._tools)

    def _cut(self, units: Sequence[Unit], others: int, room: int) -> int:
        """How many units go, the oldest first, at least one: what is kept has to fit beside the ``others``,
        the tools and a summary.
        """
        left = room * KEPT - others - self._count((), self._tools) - self._most_summary(room)
        for number in range(len(units), 0, -1):
            left -= self._count(units[number - 1])
            if left < 0:
                return number
        return 1

    def _part(self, covers: Covers, messages: Iterable[ModelMessage], before: str, room: int) -> Part:
        words = int(self._most_summary(room) * WORDS_PER_TOKEN)
        return Part(covers, tuple(messages), before, room, words, self._ratio)

    def _most_summary(self, room: int) -> int:
        """Tokens that a summary should have at most."""
        return max(min(self._max_output, room // 6), LEAST_SUMMARY_TOKENS)

    def _count(self, messages: Iterable[ModelMessage], tools: Sequence[ToolSchema] = ()) -> int:
        return math.ceil(tokens.guess(messages, tools) * self._ratio)


def _exchanges(messages: Iterable[ModelMessage]) -> list[Unit]:
    """What a user said with all that came of it."""
    return _split(messages, lambda message: message.role == "user")


def _steps(messages: Iterable[ModelMessage]) -> list[Unit]:
    """What a model said with the results of the tools that it asked for."""
    return _split(messages, lambda message: message.role != "tool")


def _split(messages: Iterable[ModelMessage], begins: Callable[[ModelMessage], bool]) -> list[Unit]:
    units: list[list[ModelMessage]] = []
    for message in messages:
        if begins(message) or not units:
            units.append([])
        units[-1].append(message)
    return [tuple(unit) for unit in units]


def _flat(units: Iterable[Unit]) -> list[ModelMessage]:
    return [message for unit in units for message in unit]


def _recalled(summary: str) -> list[ModelMessage]:
    """A summary has the authority of those who spoke, not of the instructions. What follows is a user's: an
    answer stands between, because some models take only users and assistants in turn.
    """
    if not summary:
        return []
    said = f"This is a summary of our conversation until now, in place of its older messages:\n\n{summary}"
    return [ModelMessage("user", said), ModelMessage("assistant", "I go on from there.")]


def _reported(work: str) -> list[ModelMessage]:
    return [ModelMessage("assistant", f"This is a summary of my steps until now:\n\n{work}")] if work else []
