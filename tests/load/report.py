"""The table, and the line for scripts."""

from __future__ import annotations

from tests.load.clients import Round
from tests.load.measures import CLIENTS, Figures
from tests.load.streams import Streams
from tests.load.town import BACKGROUND, STORES
from tests.load.usage import GENERATOR

OURS = ("gateway", *BACKGROUND, *STORES)
_FEW, _MANY = CLIENTS


def table(figures: Figures, streams: Streams) -> list[str]:
    """What was measured, side by side with the bare model server."""
    return [
        *_answers(figures),
        "",
        *_processor(figures),
        "",
        f"reads ({figures.reads.clients} connections): {figures.reads.a_second:.0f}/s, "
        f"p50 {figures.reads.first_ms(0.5):.1f} ms, p95 {figures.reads.first_ms(0.95):.1f} ms, "
        f"refused {len(figures.reads.refused)}; CPU ms each: "
        + ", ".join(f"{part} {figures.reads.cpu_ms(part):.2f}" for part in ("gateway", *STORES)),
        *_streams(streams),
    ]


def last_line(figures: Figures, streams: Streams) -> str:
    return (
        f"load: turns_per_s={figures.turns[_MANY].a_second:.1f} ttft_added_ms={added_ms(figures, _FEW):.1f} "
        f"reads_per_s={figures.reads.a_second:.0f} streams={streams.counted} kb_per_stream={streams.kb:.1f}"
    )


def added_ms(figures: Figures, clients: int, share: float = 0.5) -> float:
    """What SomaAgent adds to the time to the first text."""
    return figures.turns[clients].first_ms(share) - figures.bare[clients].first_ms(share)


def ratio(figures: Figures, clients: int) -> float:
    """Processor time of server and stores a turn, in bare answers."""
    return figures.turns[clients].cpu_ms(*OURS) / figures.bare[clients].cpu_ms("model")


def _answers(figures: Figures) -> list[str]:
    lines = [_row("50 tokens, streamed", "clients", "answers/s", "first p50 ms", "first p95 ms", "refused")]
    for clients in CLIENTS:
        bare, turns = figures.bare[clients], figures.turns[clients]
        lines += [_answer_row("bare model", bare), _answer_row("SomaAgent turns", turns)]
        lines.append(
            _row(
                "  turns / bare, added",
                str(clients),
                f"x {turns.a_second / bare.a_second:.3f}",
                f"+ {added_ms(figures, clients):.1f}",
                f"+ {added_ms(figures, clients, 0.95):.1f}",
                f"lost {figures.lost}",
            )
        )
    return lines


def _answer_row(name: str, found: Round) -> str:
    return _row(
        name,
        str(found.clients),
        f"{found.a_second:.1f}",
        f"{found.first_ms(0.5):.1f}",
        f"{found.first_ms(0.95):.1f}",
        str(len(found.refused)),
    )


def _processor(figures: Figures) -> list[str]:
    parts = ("model", *OURS, GENERATOR)
    lines = [
        _row(
            "CPU ms an answer", *(f"{what}, c={clients}" for clients in CLIENTS for what in ("bare", "turn"))
        )
    ]
    rounds = [found for clients in CLIENTS for found in (figures.bare[clients], figures.turns[clients])]
    lines += [_row(part, *(f"{found.cpu_ms(part):.2f}" for found in rounds)) for part in parts]
    ratios = [f"x {ratio(figures, clients):.1f}" for clients in CLIENTS]
    lines.append(_row("server + stores / bare model", "", ratios[0], "", ratios[1]))
    return lines


def _streams(streams: Streams) -> list[str]:
    first = streams.first_ms or [0.0]
    opened = f"streams: {streams.opened} of the {streams.wanted} wanted, opened in {streams.opened_in:.1f} s"
    latency = f"first event p50 {first[len(first) // 2]:.0f} ms, p95 {first[int(len(first) * 0.95)]:.0f} ms"
    cost = f"{streams.kb:.1f} KB each, CPU {streams.event_ms:.3f} ms an event"
    counted = f"counted by the gateway {streams.counted}, after the end {streams.left_over}"
    wrong = (
        f"cut {streams.cut}, without further events {streams.unserved}, misplaced {streams.misplaced} events"
    )
    return [
        f"{opened}, {latency}, {cost}",
        f"         asked for {streams.asked}, {counted}; {wrong}, turns lost {streams.lost}",
    ]


def _row(name: str, *cells: str) -> str:
    return f"{name:<30}" + "".join(f"{cell:>16}" for cell in cells)
