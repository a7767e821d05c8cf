"""Events on their way to Valkey: whatever an event loop has to append at a time goes there in one call.

While one call is on its way, what comes meanwhile gathers for the next: with many turns at once each costs
a part of a call, and one that is alone waits for nobody.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoScriptError

from somaagent import valkey
from somaagent.agent.events import FINAL_TYPES, TurnAwaitingApproval, TurnStarted
from somaagent.loops import OneForEachLoop

from .taps import MOST_EVENTS, Record

KEEP_SECONDS = 24 * 3600
# With these a stream's time begins anew: somebody answers now, is to answer, or nobody will any more.
_KEPT_ANEW = FINAL_TYPES | {TurnStarted.type, TurnAwaitingApproval.type}
# Streams that one call appends to: Valkey does nothing else meanwhile.
MOST_AT_ONCE = 100

# ``KEYS``: the streams. ``ARGV``: how many events one keeps, and for how many seconds; then for each stream
# how many events, whether its time begins anew, and of each event its number, name and data. Gives what was
# refused: the stream's place among the keys, the event's in it, and why. What is behind it is not appended:
# the place may be free, and is another host's. Each stream's channel is called by the number of its newest
# event.
_APPEND = """
local failed, at = {}, 3
for place, key in ipairs(KEYS) do
  local count, anew, newest = tonumber(ARGV[at]), ARGV[at + 1], nil
  local first = at + 2
  at = first + 3 * count
  for event = first, at - 1, 3 do
    newest = ARGV[event]
    local added = redis.pcall('XADD', key, 'MAXLEN', '~', ARGV[1], newest .. '-0',
      'type', ARGV[event + 1], 'data', ARGV[event + 2])
    if type(added) == 'table' and added['err'] then
      table.insert(failed, {place, (event - first) / 3 + 1, added['err']})
      break
    end
  end
  if anew == '1' then
    redis.call('EXPIRE', key, ARGV[2])
  end
  redis.call('PUBLISH', key, newest)
end
return failed
"""
# Valkey's name for it.
_DIGEST = hashlib.sha1(_APPEND.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that Valkey did not take, and why."""

    record: Record
    reason: str


class Appends:
    """What one event loop has to append."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, Sequence[Record], asyncio.Future[list[Refused]]]] = deque()
        self._line = valkey.Line()
        self._task: asyncio.Task[None] | None = None

    async def append(self, key: str, records: Sequence[Record]) -> list[Refused]:
        """Append to a stream, behind all that was given here before; what was refused. A cancelled caller's
        events are appended all the same. Raises ``valkey.ERRORS``: then nobody knows.
        """
        future: asyncio.Future[list[Refused]] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, records, future))
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name="appends")
        return await future

    async def _work(self) -> None:
        try:
            while self._waiting:
                count = min(len(self._waiting), MOST_AT_ONCE)
                calls = [self._waiting.popleft() for _ in range(count)]
                try:
                    refused = await self._call([(key, records) for key, records, _ in calls])
                except BaseException as error:
                    for _, _, future in calls:
                        _fail(future, error)
                    if not isinstance(error, Exception):
                        raise
                else:
                    for (_, _, future), found in zip(calls, refused, strict=True):
                        if not future.done():
                            future.set_result(found)
        finally:
            self._task = None

    async def _call(self, calls: Sequence[tuple[str, Sequence[Record]]]) -> list[list[Refused]]:
        arguments: list[str | bytes | int] = [
            len(calls),
            *(key for key, _ in calls),
            MOST_EVENTS,
            KEEP_SECONDS,
        ]
        for _, records in calls:
            arguments += (len(records), int(any(record.type in _KEPT_ANEW for record in records)))
            for record in records:
                arguments += (record.sequence, record.type, record.data)
        try:
            answer = await self._line.ask("EVALSHA", _DIGEST, *arguments)
        except NoScriptError:  # it is the first that it hears of it, since it started
            answer = await self._line.ask("EVAL", _APPEND, *arguments)
        refused: list[list[Refused]] = [[] for _ in calls]
        for place, number, reason in answer:
            refused[place - 1].append(Refused(calls[place - 1][1][number - 1], reason.decode()))
        return refused


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if future.done():
        return
    if isinstance(error, Exception):
        future.set_exception(error)
    else:
        future.cancel()


_of_loop = OneForEachLoop(Appends)


def appends() -> Appends:
    """The running event loop's."""
    return _of_loop.get()
