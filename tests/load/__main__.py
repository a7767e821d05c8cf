"""``make load``: how fast SomaAgent is, side by side with its model server alone, on this machine.

It starts all that it measures, prints what it does, a table, and a last line for scripts. Status 1 means
that an answer was wrong or refused, or that a turn or a stream was lost; no time is ever too long.
"""

from __future__ import annotations

import argparse
import signal
import sys

import uvloop

from tests.load import measures, report, streams
from tests.load.clients import caller
from tests.load.measures import Figures
from tests.load.progress import say
from tests.load.streams import Streams
from tests.load.town import Site, site, streams_possible

# Between two tokens of a turn that streams follow: on two cores, thousands of readers are events enough.
PAUSE_SECONDS = 10.0
# Streams that are not open by then are not opened.
OPENING_SECONDS = 60.0
_LIKE_A_SHELL = 128


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each of the five measures")
    parser.add_argument("--streams", type=int, default=5_000)
    parser.add_argument("--readers", type=int, default=measures.READERS, help="connections that read")
    parser.add_argument("--pause", type=float, default=PAUSE_SECONDS, help="between an open stream's events")
    parser.add_argument("--opening", type=float, default=OPENING_SECONDS, help="seconds to open streams in")
    parser.add_argument("--alone", action="store_true", help="the gateway, without worker and scheduler")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(_LIKE_A_SHELL + number))
    wanted = streams_possible(chosen.streams)
    if wanted < chosen.streams:
        say(f"the limit on open files leaves {wanted} streams")
    with site(background=not chosen.alone) as place:
        say("everything runs")
        figures, followed = uvloop.run(_measure(place, chosen, wanted))
    for line in report.table(figures, followed):
        print(line)
    print(report.last_line(figures, followed), flush=True)
    return 0 if figures.right and followed.right else 1


async def _measure(place: Site, chosen: argparse.Namespace, wanted: int) -> tuple[Figures, Streams]:
    async with caller(place.model_url, place.url, place.api_key) as somebody:
        figures = await measures.measure(place, somebody, chosen.seconds, chosen.readers)
        followed = await streams.measure(place, somebody, wanted, chosen.pause, chosen.opening)
    return figures, followed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
