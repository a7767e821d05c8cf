"""Stands in for a service: does what its arguments say, and writes down what it lives through."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("home", type=Path, help="where the journal is, and the files that say who is ready")
    parser.add_argument("--ready-after", type=float, default=0.0)
    parser.add_argument("--ready-once", nargs="+", default=[], help="these stand in the journal: name.event")
    parser.add_argument("--never-ready", action="store_true")
    parser.add_argument("--die-after", type=float, help="end with status 3 after that time")
    parser.add_argument("--die-once", action="store_true", help="but only the first time")
    parser.add_argument("--say", action="append", default=[], help="a line of output")
    parser.add_argument("--finish", type=int, help="a one-shot: end with this status")
    parser.add_argument(
        "--finish-well-on", type=int, help="a one-shot: end well on that attempt, badly before"
    )
    parser.add_argument("--drain", type=float, default=0.0, help="seconds of work left when asked to stop")
    parser.add_argument("--deaf", action="store_true", help="pay no attention to signals")
    parser.add_argument("--child", action="store_true", help="have a deaf child of one's own")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    Life(options).live()


class Life:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.ready_file = options.home / f"{options.name}.ready"
        self.asked = False

    def note(self, event: str) -> None:
        with (self.options.home / "journal").open("a", encoding="utf-8") as journal:
            journal.write(f"{self.options.name} {event} {os.getpid()}\n")

    def happened(self) -> set[str]:
        lines = (self.options.home / "journal").read_text(encoding="utf-8").splitlines()
        return {".".join(line.split()[:2]) for line in lines}

    def live(self) -> None:
        options = self.options
        self.ready_file.unlink(missing_ok=True)
        for number in (signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN if options.deaf else self.on_stop)
        self.note("started")
        for line in options.say:
            print(line, flush=True)
        if options.child:
            self.have_a_child()
        self.finish_if_told()
        time.sleep(options.ready_after)
        while not set(options.ready_once) <= self.happened():
            time.sleep(0.02)
        if not options.never_ready:
            self.note("ready")
            # Whose it is: another life's says nothing of this one.
            self.ready_file.write_text(str(os.getpid()), encoding="utf-8")
        self.serve()

    def on_stop(self, number: int, frame: object) -> None:
        self.asked = True

    def finish_if_told(self) -> None:
        options = self.options
        if options.finish is not None:
            sys.exit(options.finish)
        if options.finish_well_on is not None:
            attempts = (options.home / "journal").read_text(encoding="utf-8").count(f"{options.name} started")
            sys.exit(0 if attempts >= options.finish_well_on else 1)

    def have_a_child(self) -> None:
        code = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (2, 3, 15)]; time.sleep(120)"
        child = subprocess.Popen([sys.executable, "-c", code, "soma-test-child"])
        (self.options.home / f"{self.options.name}.child").write_text(str(child.pid), encoding="utf-8")

    def serve(self) -> None:
        die_at = self.death()
        while not self.asked or self.options.deaf:
            if time.monotonic() > die_at:
                self.note("died")
                sys.exit(3)
            time.sleep(0.02)
        self.note("stopping")
        time.sleep(self.options.drain)
        self.note("stopped")

    def death(self) -> float:
        options = self.options
        mark = options.home / f"{options.name}.died"
        if options.die_after is None or (options.die_once and mark.exists()):
            return float("inf")
        mark.touch()
        return time.monotonic() + options.die_after


if __name__ == "__main__":
    main()
