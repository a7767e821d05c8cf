"""The measures, each side by side with what it is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.load import usage
from tests.load.clients import Answer, Ask, Caller, Round, ask_for
from tests.load.model import text_of
from tests.load.progress import say
from tests.load.town import Site

CLIENTS = (1, 16)
READERS = 64
_WARM_SECONDS = 1.0
_PAGE = 200


@dataclass
class Figures:
    """All rounds, by the number of clients; ``lost`` turns did not end completed with the right text."""

    bare: dict[int, Round] = field(default_factory=dict)
    turns: dict[int, Round] = field(default_factory=dict)
    reads: Round = field(default_factory=lambda: Round(READERS))
    lost: int = 0

    @property
    def right(self) -> bool:
        rounds = [*self.bare.values(), *self.turns.values(), self.reads]
        return not self.lost and not any(found.refused for found in rounds)


async def measure(site: Site, caller: Caller, seconds: float, readers: int) -> Figures:
    """Bare model, turns, reads; then whether every turn is there. Raises ``Wrong`` at a wrong answer."""
    figures = Figures()
    for clients in CLIENTS:
        figures.bare[clients] = await _round(site, "bare model", caller.model, clients, seconds)
        figures.turns[clients] = await _round(site, "turns", caller.turn, clients, seconds)
    figures.reads = await _round(site, "reads", caller.read, readers, seconds)
    figures.lost = await _lost(
        caller, [answer for found in figures.turns.values() for answer in found.answers]
    )
    return figures


async def _round(site: Site, name: str, ask: Ask, clients: int, seconds: float) -> Round:
    await ask_for(ask, clients, min(_WARM_SECONDS, seconds))
    before = usage.cpu_seconds(site.heads)
    found = await ask_for(ask, clients, seconds)
    found.cpu = usage.cpu_between(before, usage.cpu_seconds(site.heads))
    say(f"{name}, {clients} at once: {len(found.answers)} in {found.seconds:.1f} s")
    if found.refused:
        say(f"{len(found.refused)} refused, such as: {found.refused[0][:300]}")
    return found


async def _lost(caller: Caller, answers: list[Answer]) -> int:
    """How many of these turns the API does not list as completed with the right text."""
    listed = await _turns(caller)
    right = sum(listed.get(answer.turn_id) == ("completed", text_of(answer.number)) for answer in answers)
    say(f"turns that the API lists as completed, with the right text: {right} of {len(answers)}")
    return len(answers) - right


async def _turns(caller: Caller) -> dict[str, tuple[str, str]]:
    listed: dict[str, tuple[str, str]] = {}
    cursor = ""
    while True:
        page = await caller.kept(f"/turns?limit={_PAGE}{cursor}")
        listed |= {turn["id"]: (turn["state"], turn["output"]) for turn in page["items"]}
        if page["next"] is None:
            return listed
        cursor = f"&cursor={page['next']}"
