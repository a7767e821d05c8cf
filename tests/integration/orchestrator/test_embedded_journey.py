"""A person starts everything, has it killed, and starts again: nothing is left over, nothing is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
import requests

from somaagent.embedded.addresses import loopback
from tests.smoke import CURL
from tests.stack import foreign_environment

from .boots import ROOT, living, wait_for

BOOT_SECONDS = 150.0
pytestmark = pytest.mark.timeout(400)


class Person:
    """Starts ``--embedded`` as ``make run`` does, and reads what it prints."""

    def __init__(self, home):
        self.home = home
        self.process = None
        self.output = None
        self.starts = 0

    def start(self):
        self.starts += 1
        self.output = self.home / f"output-{self.starts}"
        environment = foreign_environment() | {"SA01_DATA_DIR": str(self.home / "data"), "TERM": "dumb"}
        environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "somaagent.orchestrator", "run", "--embedded"],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=output,
            )
        wait_for("the greeting", self.greeted, BOOT_SECONDS)

    def said(self):
        return self.output.read_text(encoding="utf-8", errors="replace")

    def greeted(self):
        assert self.process.poll() is None, self.said()[-5000:]
        return "Ctrl-C stops everything." in self.said()

    def family(self):
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def person(tmp_path):
    it = Person(tmp_path)
    yield it
    if it.process is not None and it.process.poll() is None:
        it.process.terminate()
        it.process.wait(60)


def test_everything_starts_is_killed_starts_again_and_stops(person):
    person.start()
    found = CURL.search(person.said())
    url, key = found["url"], found["key"]
    bearer = {"Authorization": f"Bearer {key}"}
    assert loopback() in url
    assert re.search(r"Password: +\S+ +\(shown this once\)", person.said())
    created = requests.post(
        f"{url}/api/v1/sessions", json={"title": "Before the fall"}, headers=bearer, timeout=20
    )
    assert created.status_code == 201, created.text
    logs = "".join(path.read_text(encoding="utf-8") for path in (person.home / "data" / "logs").glob("*.log"))
    assert key not in logs

    family = person.family()
    names = " ".join(" ".join(process.cmdline()) for process in family)
    for program in ("bao", "postgres", "valkey", "model_server", "gunicorn", "celery", "guard.py"):
        assert program in names
    os.kill(person.process.pid, signal.SIGKILL)
    person.process.wait()
    killed = time.monotonic()
    wait_for("no process is left", lambda: not [one for one in family if living(one.pid)], 10)
    assert time.monotonic() - killed < 10

    person.start()
    again = person.said()
    assert "were shown by the start that made them" in again
    assert "make password" in again
    assert f"{url}/api/v1/turns" in again  # the same port
    listed = requests.get(f"{url}/api/v1/sessions", headers=bearer, timeout=20)
    assert "Before the fall" in listed.text

    family = person.family()
    person.process.send_signal(signal.SIGTERM)
    assert person.process.wait(60) == 0, person.said()[-3000:]
    assert not [one for one in family if living(one.pid)]
