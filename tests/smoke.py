"""Whether an installation does what it is for: ``python -m tests.smoke [--url URL --key KEY]``.

Without an address it starts one of its own, embedded, in a folder that it throws away afterwards. It looks
at the health, streams one turn, leaves a second one half-way and comes back for the rest, and reads the
metrics. The last line is for scripts: ``smoke: ok seconds_to_ready=… first_token_ms=…``, or what failed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parent.parent
BOOT_SECONDS = 180.0
STOP_SECONDS = 60.0
HEALTHY_SECONDS = 60.0
TURN_SECONDS = 120.0
QUESTION = "Hello! Who are you?"
LAST_EVENTS = {"turn.completed", "turn.failed", "turn.cancelled"}
METRICS = ("soma_service_up", "soma_turns_total", "soma_first_token_seconds")
CURL = re.compile(
    r"^curl .*Bearer (?P<key>[^'\"\s]+)['\"].* '?(?P<url>https?://[^/'\s]+)/api/v1/turns'?$", re.MULTILINE
)


class SmokeError(Exception):
    """What was looked for and not seen."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a turn's stream."""

    id: int
    type: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Installation:
    """Where to look, and with what. ``seconds_to_ready`` is None for one that ran already."""

    url: str
    key: str
    seconds_to_ready: float | None = None

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}", **more.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=TURN_SECONDS, **more)


def events(response: requests.Response) -> Iterator[Event]:
    """The events of an SSE answer, comments left out."""
    fields: dict[str, str] = {}
    for line in response.iter_lines(chunk_size=None, decode_unicode=True):
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "event" in fields:
            yield Event(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}


def expect(condition: object, what: str) -> None:
    if not condition:
        raise SmokeError(what)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def check_health(installation: Installation) -> None:
    """Healthy within a while: services that are not critical may still be starting."""
    deadline = time.monotonic() + HEALTHY_SECONDS
    while True:
        answer = requests.get(f"{installation.url}/api/v1/health", timeout=10)
        body = answer.json()
        if body["status"] == "healthy" and answer.status_code == requests.codes.ok:
            break
        waiting = {name: service["state"] for name, service in body["services"].items()}
        expect(time.monotonic() < deadline, f"The health is {body['status']}: {waiting}")
        time.sleep(0.5)
    ready = requests.get(f"{installation.url}/readyz", timeout=10)
    expect(ready.status_code == requests.codes.ok, f"/readyz answers {ready.status_code}: {ready.text}")
    say(f"health: {body['status']}, {len(body['services'])} services")


def start_turn(installation: Installation) -> requests.Response:
    body = {"input": QUESTION, "stream": True}
    response = installation.ask("POST", "/api/v1/turns", json=body, stream=True)
    if response.status_code not in {requests.codes.ok, requests.codes.created, requests.codes.accepted}:
        raise SmokeError(f"A turn was answered with {response.status_code}: {response.text[:500]}")
    return response


def check_turn(installation: Installation) -> float:
    """One turn from its start to its end; milliseconds until the first token."""
    began, first = time.monotonic(), None
    seen: list[Event] = []
    with start_turn(installation) as response:
        for event in events(response):
            seen.append(event)
            if event.type == "text.delta" and first is None:
                first = time.monotonic()
            if event.type in LAST_EVENTS:
                break
    check_whole(seen)
    if first is None:
        raise SmokeError("The turn ended without a token.")
    text = "".join(event.data["text"] for event in seen if event.type == "text.delta")
    say(f"turn: {len(seen)} events, {len(text)} characters")
    return (first - began) * 1000


def check_whole(seen: list[Event]) -> None:
    """From ``turn.started`` to ``turn.completed``, each event once and in order."""
    expect(seen, "The stream ended before it began.")
    expect(seen[0].type == "turn.started", f"The first event is {seen[0].type}.")
    expect(seen[-1].type == "turn.completed", f"The turn ended as {seen[-1].type}: {seen[-1].data}")
    numbers = [event.id for event in seen]
    expect(numbers == sorted(set(numbers)), f"Events came twice or out of order: {numbers}")


def check_resume(installation: Installation) -> None:
    """A client that leaves after a few events and comes back for the rest misses nothing."""
    with start_turn(installation) as response:
        before = list(itertools.islice(events(response), 3))
    expect(before, "The stream ended before it began.")
    path = f"/api/v1/turns/{before[0].data['turn_id']}/events"
    rest = follow(installation, path, {"Last-Event-ID": str(before[-1].id)})
    check_whole(before + rest)
    again = follow(installation, path, {})
    expect(
        [event.id for event in again] == [event.id for event in before + rest],
        "Reading the stream from its start gives other events than the two parts did.",
    )
    say(f"resume: {len(before)} events, then {len(rest)} more")


def follow(installation: Installation, path: str, headers: dict[str, str]) -> list[Event]:
    """The events from the cursor in the headers to the end of the turn."""
    found = []
    with installation.ask("GET", path, headers=headers, stream=True) as response:
        expect(response.status_code == requests.codes.ok, f"{path} answers {response.status_code}.")
        for event in events(response):
            found.append(event)
            if event.type in LAST_EVENTS:
                break
    return found


def check_metrics(installation: Installation) -> None:
    answer = installation.ask("GET", "/metrics")
    expect(answer.status_code == requests.codes.ok, f"/metrics answers {answer.status_code}.")
    missing = [name for name in METRICS if f"\n{name}" not in answer.text]
    expect(not missing, f"/metrics lacks {', '.join(missing)}.")
    say(f"metrics: {len(answer.text.splitlines())} lines")


@contextlib.contextmanager
def started() -> Iterator[Installation]:
    """An installation of our own, in a folder that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="somaagent-smoke-") as folder:
        output = Path(folder) / "output"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SA01_")}
        began = time.monotonic()
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "somaagent.orchestrator", "run", "--embedded"],
                cwd=ROOT,
                env={**environment, "SA01_DATA_DIR": f"{folder}/data"},
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        try:
            match = wait_for_greeting(process, output)
            yield Installation(match["url"], match["key"], time.monotonic() - began)
            process.send_signal(signal.SIGTERM)
            expect(process.wait(STOP_SECONDS) == 0, f"It stopped with status {process.returncode}.")
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(STOP_SECONDS)


def wait_for_greeting(process: subprocess.Popen[bytes], output: Path) -> re.Match[str]:
    """Until the line to paste is there. Raises ``SmokeError`` when it never comes."""
    deadline = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if match := CURL.search(output.read_text(encoding="utf-8", errors="replace")):
            return match
        time.sleep(0.1)
    last = output.read_text(encoding="utf-8", errors="replace").splitlines()[-25:]
    raise SmokeError("It did not come up. The last of its output:\n" + "\n".join(last))


def check(installation: Installation) -> str:
    """All checks; the figures for the last line."""
    check_health(installation)
    first_token_ms = check_turn(installation)
    check_resume(installation)
    check_metrics(installation)
    ready = installation.seconds_to_ready
    figure = "already" if ready is None else f"{ready:.1f}"
    return f"seconds_to_ready={figure} first_token_ms={first_token_ms:.0f}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Health, a turn, a resumed stream, metrics.")
    parser.add_argument("--url", help="of a running installation; without it one is started")
    parser.add_argument("--key", help="an API key of that installation")
    options = parser.parse_args()
    if bool(options.url) != bool(options.key):
        parser.error("--url and --key go together")
    return options


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    try:
        if options.url:
            figures = check(Installation(options.url.rstrip("/"), options.key))
        else:
            with started() as installation:
                figures = check(installation)
    except (SmokeError, requests.RequestException) as failure:
        say(f"smoke: failed {failure}")
        return 1
    say(f"smoke: ok {figures}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
