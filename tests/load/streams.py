"""Open streams: many clients that follow running turns, what each costs, and that all get what comes."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp

from tests.load import usage
from tests.load.clients import Caller, Refused, Wrong, events_in, expect_ok
from tests.load.model import TOKENS, tokens_of
from tests.load.progress import say
from tests.load.town import Site

TURNS = 40
OPENED_AT_ONCE = 64
_PATIENCE_SECONDS = 30.0
_LOOK_SECONDS = 0.2
_NUMBER = re.compile(rb"^id: (\d+)$", re.MULTILINE)
_OPEN = re.compile(r"^soma_streams_open (\d+(?:\.\d+)?)$", re.MULTILINE)


@dataclass
class Streams:
    """``counted`` streams were open together, by the gateway's own count, when ``kb`` was taken.

    ``kb`` is memory of the gateway a stream, ``event_ms`` its processor time an event and stream.
    """

    wanted: int
    asked: int = 0
    opened: int = 0
    opened_in: float = 0.0
    first_ms: list[float] = field(default_factory=list)
    counted: int = 0
    events: int = 0
    event_ms: float = 0.0
    kb: float = 0.0
    unserved: int = 0
    cut: int = 0
    misplaced: int = 0
    left_over: int = 0
    lost: int = 0

    @property
    def right(self) -> bool:
        served = self.asked == self.opened == self.counted
        return served and not (self.unserved or self.cut or self.misplaced or self.left_over or self.lost)


class Follower:
    """One client of a turn's events. It checks their numbers, and keeps nothing else."""

    def __init__(self, turn_id: str) -> None:
        self.turn_id = turn_id
        self.first: float | None = None
        self.number = 0
        self.misplaced = 0
        self.cut = ""
        self._rest = b""

    async def follow(self, caller: Caller, opened: asyncio.Event) -> None:
        begun = time.perf_counter()
        try:
            async with caller.http.get(f"{caller.url}/api/v1/turns/{self.turn_id}/events") as response:
                await expect_ok(response)
                async for piece in response.content.iter_any():
                    self._take(piece)
                    if self.first is None and self.number:
                        self.first = time.perf_counter() - begun
                        opened.set()
            self.cut = "it ended before its turn"
        except (aiohttp.ClientError, Refused) as error:
            self.cut = str(error)
        finally:
            opened.set()

    def _take(self, piece: bytes) -> None:
        whole, _, self._rest = (self._rest + piece).rpartition(b"\n\n")
        for number in _NUMBER.findall(whole):
            self.misplaced += int(number) != self.number + 1
            self.number = int(number)


async def measure(site: Site, caller: Caller, wanted: int, pause: float, seconds: float) -> Streams:
    """Follow turns whose model says a token each ``pause`` seconds, with ``wanted`` streams in all, or as
    many as can be opened in ``seconds``.
    """
    found = Streams(wanted)
    turns = await _begin_turns(caller, min(TURNS, wanted), pause)
    empty = usage.proportional_kb(site.heads["gateway"])
    following = Following(caller, turns, found)
    try:
        await following.open(seconds)
        found.counted = await _until(caller, lambda count: count == found.opened)
        await _listen(site, following.followers, found, pause)
        found.cut = sum(bool(follower.cut) for follower in following.followers)
        found.kb = (usage.proportional_kb(site.heads["gateway"]) - empty) / max(found.counted, 1)
        say(f"{found.counted} streams by the gateway's own count, {found.kb:.1f} KB each")
    finally:
        await following.close()
    found.misplaced = sum(follower.misplaced for follower in following.followers)
    _tell_cut(following.followers)
    found.left_over = await _until(caller, lambda count: count == 0)
    say(f"all closed: {found.left_over} streams by the gateway's own count")
    found.lost = await _finish_turns(caller, turns)
    return found


def _tell_cut(followers: list[Follower]) -> None:
    if reasons := [follower.cut for follower in followers if follower.cut]:
        say(f"{len(reasons)} streams were cut, such as: {reasons[0][:200]}")


async def _begin_turns(caller: Caller, count: int, pause: float) -> list[str]:
    """Spread over one pause, so that their tokens do not all come at once."""
    turns = []
    for number in range(count):
        body = {"input": f"hold {number} {pause}"}
        async with caller.http.post(f"{caller.url}/api/v1/turns", json=body) as response:
            await expect_ok(response, HTTPStatus.CREATED)
            turns.append((await response.json())["id"])
        await asyncio.sleep(pause / count)
    return turns


class Following:
    """All followers, opened a few at a time, as clients come."""

    def __init__(self, caller: Caller, turns: list[str], found: Streams) -> None:
        self.followers: list[Follower] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._caller = caller
        self._turns = turns
        self._found = found

    async def open(self, seconds: float) -> None:
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(OPENED_AT_ONCE):
                group.create_task(self._open_one_by_one(begun + seconds))
        self._found.opened_in = time.perf_counter() - begun
        times = [follower.first for follower in self.followers if follower.first is not None]
        self._found.first_ms = sorted(seconds * 1000 for seconds in times)

    async def _open_one_by_one(self, until: float) -> None:
        found = self._found
        while found.asked < found.wanted and time.perf_counter() < until:
            follower = Follower(self._turns[found.asked % len(self._turns)])
            self.followers.append(follower)
            found.asked += 1
            opened = asyncio.Event()
            self._tasks.append(asyncio.create_task(follower.follow(self._caller, opened)))
            await opened.wait()
            found.opened += follower.first is not None
            if found.opened % max(found.wanted // 5, 1) == 0:
                say(f"{found.opened} streams open")

    async def close(self) -> None:
        """Closes all. Raises what a follower raised, for example ``Wrong``."""
        for task in self._tasks:
            task.cancel()
        for end in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
                raise end


async def _listen(site: Site, followers: list[Follower], found: Streams, pause: float) -> None:
    """Until every stream got another event, and what that cost the gateway."""
    at_first = [follower.number for follower in followers]
    before = usage.cpu_seconds(site.heads)

    def unserved() -> int:
        pairs = zip(followers, at_first, strict=True)
        return sum(one.number == start and not one.cut for one, start in pairs)

    until = time.perf_counter() + _PATIENCE_SECONDS + pause
    while unserved() and time.perf_counter() < until:  # noqa: ASYNC110 - any of thousands may be the last
        await asyncio.sleep(_LOOK_SECONDS)
    found.unserved = unserved()
    spent = usage.cpu_between(before, usage.cpu_seconds(site.heads))
    found.events = sum(one.number - start for one, start in zip(followers, at_first, strict=True))
    found.event_ms = spent["gateway"] * 1000 / max(found.events, 1)
    say(f"{found.events} events came to {len(followers)} streams; {found.unserved} streams without")


async def _until(caller: Caller, good: Callable[[int], bool]) -> int:
    """The gateway's own count of open streams, once it is good or patience is at its end."""
    until = time.perf_counter() + _PATIENCE_SECONDS
    while True:
        async with caller.http.get(f"{caller.url}/metrics") as response:
            text = await response.text()
        counted = _OPEN.search(text)
        if counted is None:
            raise Wrong(f"/metrics without soma_streams_open: {text[:300]}")
        count = int(float(counted[1]))
        if good(count) or time.perf_counter() > until:
            return count
        await asyncio.sleep(_LOOK_SECONDS)


async def _finish_turns(caller: Caller, turns: list[str]) -> int:
    """Let the model end, and count the turns whose kept answer is not what their events said."""
    async with caller.http.post(f"{caller.model_url}/_release"):
        pass
    said = await asyncio.gather(*(_said(caller, turn_id) for turn_id in turns))
    lost = 0
    for number, (turn_id, text) in enumerate(zip(turns, said, strict=True)):
        turn = await caller.kept(f"/turns/{turn_id}")
        tokens = tokens_of(number)
        scripted = "".join(tokens[place % TOKENS] for place in range(len(text.split("w")) - 1))
        if not (turn["state"] == "completed" and turn["output"] == text == scripted):
            lost += 1
            say(f"lost: {turn['state']}, kept …{(turn['output'] or '')[-40:]}, told …{text[-40:]}")
    return lost


async def _said(caller: Caller, turn_id: str) -> str:
    """All text of the turn's events, read anew; a stream that is cut is asked for again."""
    until = time.perf_counter() + _PATIENCE_SECONDS
    while True:
        try:
            async with caller.http.get(f"{caller.url}/api/v1/turns/{turn_id}/events") as response:
                await expect_ok(response)
                events = events_in(await response.read())
        except (aiohttp.ClientError, Refused):
            if time.perf_counter() > until:
                raise
            await asyncio.sleep(_LOOK_SECONDS)
        else:
            return "".join(facts["text"] for _, name, facts in events if name == "text.delta")
