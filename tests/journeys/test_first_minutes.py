"""The first minutes: one command, a real answer by curl and in the browser; killed, started again, stopped.

The one story with the local model: everything that ``make run`` starts is real here.
"""

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
from playwright.sync_api import Browser, expect

from somaagent.embedded.addresses import loopback
from tests.integration.orchestrator.boots import ROOT, living, wait_for
from tests.journeys.gateway import Person
from tests.journeys.page import OWN_PASSWORD, Visitor
from tests.smoke import CURL
from tests.stack import foreign_environment

BOOT_SECONDS = 150.0
pytestmark = pytest.mark.timeout(400)


class Operator:
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
    it = Operator(tmp_path)
    yield it
    if it.process is not None and it.process.poll() is None:
        it.process.terminate()
        it.process.wait(60)


def curl(line: str, home) -> str:
    """What the printed line prints when it is pasted into a shell."""
    done = subprocess.run(
        ["bash", "-c", line], cwd=home, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def chat_in(browser: Browser, url: str, said: str) -> None:
    """Sign in with what was printed, choose a password, and have an answer streamed."""
    person = Person("operator", re.search(r"Password: +(\S+)", said)[1], "")
    profile = browser.new_context()
    visitor = Visitor(profile.new_page(), url)
    visitor.page.goto(url)
    visitor.sign_in(person)
    visitor.choose_password(person.password)
    answer = visitor.ask("Say hello.")
    expect(answer.locator(".prose")).to_have_text(re.compile(r"\w+"))
    assert visitor.complaints == []
    profile.close()


def test_from_one_command_to_a_chat_that_outlives_a_kill(person, browser):
    person.start()
    greeting = person.said()
    found = CURL.search(greeting)
    url, key = found["url"], found["key"]
    bearer = {"Authorization": f"Bearer {key}"}
    assert loopback() in url

    streamed = curl(found[0], person.home)
    assert streamed.startswith("id: 1\nevent: turn.started\n")
    assert streamed.count("event: text.delta") > 3
    assert "event: turn.completed" in streamed
    chat_in(browser, url, greeting)
    logs = "".join(path.read_text(encoding="utf-8") for path in (person.home / "data" / "logs").glob("*.log"))
    assert key not in logs
    assert OWN_PASSWORD not in logs
    before = requests.get(f"{url}/api/v1/sessions", headers=bearer, timeout=20).json()["items"]
    assert [session["title"] for session in before] == ["Say hello.", "Hello! Who are you?"]

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
    assert requests.get(f"{url}/api/v1/sessions", headers=bearer, timeout=20).json()["items"] == before
    said = requests.get(
        f"{url}/api/v1/sessions/{before[0]['id']}/messages", headers=bearer, timeout=20
    ).json()
    assert [message["role"] for message in said["items"]] == ["assistant", "user"]

    family = person.family()
    person.process.send_signal(signal.SIGTERM)
    assert person.process.wait(60) == 0, person.said()[-3000:]
    assert not [one for one in family if living(one.pid)]
