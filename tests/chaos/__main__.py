"""``make chaos``: running turns, while what carries them is killed and restarted.

Each turn makes entries in a ledger, a real MCP server, and each entry waits for approval. Prints each fault
and, last, the figures. Ends with status 1 where a turn was lost, an entry was made twice or never, an event
came twice, not at all or out of order, or where a small request was answered 5xx other than 503.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable

from tests.chaos.ledger import Ledger, keeping
from tests.chaos.readers import Passer, Reader, all_at_once
from tests.chaos.town import Town, town
from tests.client import Client

PATIENCE_SECONDS = 240.0
WORDS = 60


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--words", type=int, default=WORDS, help="Of each answer; one takes 0.4 seconds.")
    chosen = parser.parse_args(arguments)
    with keeping() as ledger, town(ledger_url=ledger.url) as place:
        readers = _readers(place, ledger, chosen.turns, chosen.words)
        for thread in all_at_once(readers, Reader.submit):
            thread.join()
        following = all_at_once(readers, Reader.follow)
        passer = Passer(Client(place.url("gateway-2"), place.api_key))
        passing = threading.Thread(target=passer.pass_by, daemon=True)
        passing.start()
        killed = _faults(place, readers, ledger)
        for thread in following:
            thread.join()
        passer.leaving.set()
        passing.join()
    return _report(readers, passer, killed, ledger)


def _readers(place: Town, ledger: Ledger, turns: int, words: int) -> list[Reader]:
    clients = [Client(place.url(name), place.api_key) for name in ("gateway-1", "gateway-2")]
    until = time.monotonic() + PATIENCE_SECONDS
    return [
        Reader(number, " ".join(f"t{number}w{word}" for word in range(words)), clients, until, ledger)
        for number in range(turns)
    ]


def _faults(place: Town, readers: list[Reader], ledger: Ledger) -> list[float]:
    """One after another, while the turns run. Gives the moments at which hosts were killed."""
    _wait(lambda: len(ledger.entries) >= len(readers) * 3 // 2)
    killed = [_say("SIGKILL gateway-1")]
    place.kill("gateway-1")
    place.start("gateway-1")
    _wait(lambda: sum(bool(reader.answer) for reader in readers) >= len(readers) // 2)
    killed.append(_say("SIGTERM gateway-2"))
    place.end("gateway-2")
    place.start("gateway-2")
    killed.append(_say("SIGKILL worker"))
    place.kill("worker")
    place.start("worker")
    _say("restart valkey")
    place.restart_server("valkey")
    time.sleep(1)
    _say("restart postgres")
    place.restart_server("postgres")
    _say("no more faults")
    return killed


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition() and time.monotonic() < until:
        time.sleep(0.1)


def _say(what: str) -> float:
    print(f"chaos: {what}", flush=True)
    return time.monotonic()


def _report(readers: list[Reader], passer: Passer, killed: list[float], ledger: Ledger) -> int:
    lost = [reader for reader in readers if not reader.right]
    for reader in lost[:5]:
        last = reader.events[-1] if reader.events else None
        print(f"chaos: lost turn {reader.turn_id}: {last}", flush=True)
    for reader in readers:
        for event in reader.failed_calls:
            print(f"chaos: failed call in turn {reader.turn_id}: {event}", flush=True)
    missing = sum(entry not in ledger.entries for reader in readers for entry in reader.entries)
    duplicated = sum(reader.duplicated for reader in readers)
    skipped = sum(reader.skipped for reader in readers)
    took = sorted(
        seen - max(moment for moment in killed if moment < seen)
        for reader in readers
        for attempt, seen in reader.attempts
        if attempt > 1
    )
    p95 = took[int(len(took) * 0.95)] if took else 0.0
    taken_over = sum(len(reader.attempts) > 1 for reader in readers)
    reconnects = sum(reader.reconnects for reader in readers)
    print(
        f"chaos: turns={len(readers)} lost={len(lost)} duplicated_events={duplicated} "
        f"skipped_events={skipped} side_effects={ledger.entries.total()} "
        f"repeated_side_effects={ledger.repeated} missing_side_effects={missing} "
        f"approvals={sum(reader.questions for reader in readers)} "
        f"taken_over={taken_over} reconnects={reconnects} reads={passer.answers.total()} "
        f"wronged={passer.wronged} takeover_p95_s={p95:.1f}",
        flush=True,
    )
    return 1 if lost or duplicated or skipped or ledger.repeated or missing or passer.wronged else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
