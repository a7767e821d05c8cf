"""What services print: kept as JSON lines in a rotated file for each, and passed on to our own stdout.

A service must never wait for a reader: its pipe is emptied by a thread of its own, and a stdout that nobody
drains loses lines (it says how many) rather than holding anything up. The file has them all.
"""

from __future__ import annotations

import io
import json
import logging
import logging.handlers
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

ROTATE_BYTES = 10_000_000
ROTATED_FILES = 3
LONGEST_LINE = 64 * 1024
TAIL_LINES = 50
STDOUT_BACKLOG = 10_000


def as_json_line(service: str, line: str) -> str:
    """The line itself when it is a JSON object, else one that wraps it."""
    if line.startswith("{"):
        try:
            if isinstance(json.loads(line), dict):
                return line
        except ValueError:
            pass  # not JSON after all: wrapped below like any other text
    return json_line(service, line)


def json_line(service: str, event: str, **facts: object) -> str:
    """A log line of our own making, of the same shape as the services' own."""
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps(
        {"service": service, "event": event, "timestamp": moment, **facts}, ensure_ascii=False, default=str
    )


class _RotatedFile(logging.handlers.RotatingFileHandler):
    """A line that cannot be written (a full disk) is lost; counting them is all there is to do."""

    lost = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        self.lost += 1


class LogFile:
    """``DATA_DIR/logs/<service>.log``: JSON lines, 10 MB a file, three older ones kept."""

    def __init__(self, directory: Path, service: str) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = directory / f"{service}.log"
        self.path.touch(mode=0o600)
        self._handler = _RotatedFile(
            self.path, maxBytes=ROTATE_BYTES, backupCount=ROTATED_FILES, encoding="utf-8", errors="replace"
        )

    def write(self, line: str) -> None:
        self._handler.handle(logging.makeLogRecord({"msg": line}))

    def close(self) -> None:
        self._handler.close()


class LogStream(io.TextIOBase):
    """A log file as a stream, for a logging set-up that wants to write to one."""

    def __init__(self, log: LogFile) -> None:
        self._log = log

    def write(self, text: str) -> int:
        self._log.write(text.rstrip("\n"))
        return len(text)


class Forwarder:
    """Writes lines to stdout from a thread of its own; drops them, counted, when nobody reads."""

    def __init__(self) -> None:
        self._lines: queue.Queue[str] = queue.Queue(maxsize=STDOUT_BACKLOG)
        self._dropped = 0
        threading.Thread(target=self._run, name="stdout", daemon=True).start()

    def write(self, line: str) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def _run(self) -> None:
        while True:
            line = self._lines.get()
            lost, self._dropped = self._dropped, 0
            if lost:
                warning = json_line("orchestrator", f"{lost} lines were dropped: stdout is not read.")
                line = f"{warning}\n{line}"
            try:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            except (OSError, ValueError):
                return  # stdout is gone; the files go on


class OutputPump:
    """Empties one process's pipe into its log file, and remembers the last lines."""

    def __init__(
        self,
        service: str,
        pipe: BinaryIO,
        log: LogFile,
        *,
        forward: Callable[[str], None] | None = None,
        consume: Callable[[str], bool] | None = None,
    ) -> None:
        self._service = service
        self._pipe = pipe
        self._log = log
        self._forward = forward
        self._consume = consume
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._thread = threading.Thread(target=self._run, name=f"output-{service}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._pipe:
            while raw := self._pipe.readline(LONGEST_LINE):
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                if line and not (self._consume and self._consume(line)):
                    self._keep(line)

    def _keep(self, line: str) -> None:
        self._tail.append(line)
        wrapped = as_json_line(self._service, line)
        self._log.write(wrapped)
        if self._forward:
            self._forward(wrapped)

    def finish(self, seconds: float = 1.0) -> None:
        """Wait for the rest of the output of a process that has ended."""
        self._thread.join(seconds)

    def tail(self, lines: int) -> list[str]:
        """The last lines as a person reads them: the event of a JSON line, with its error if it has one."""
        return [readable(line) for line in list(self._tail)[-lines:]]


def readable(line: str) -> str:
    """A JSON log line without its machinery; any other line as it is."""
    if not line.startswith("{"):
        return line
    try:
        facts = json.loads(line)
    except ValueError:
        return line
    parts = [str(facts[key]) for key in ("level", "event", "error", "exception") if facts.get(key)]
    return " ".join(parts) or line
