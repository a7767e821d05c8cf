"""What the orchestrator says: commands that can be pasted, log lines that parse, secrets that stay out."""

from __future__ import annotations

import json
import shlex
import signal
from ipaddress import IPv4Address

from somaagent.embedded.addresses import loopback
from somaagent.orchestrator import announce
from somaagent.orchestrator.adapters import reachable
from somaagent.orchestrator.output import as_json_line, readable
from somaagent.orchestrator.process import describe_exit
from somaagent.orchestrator.seeding import Credentials, Seeding

URL = "http://agents.example.org:20080"


def test_the_first_start_shows_a_request_that_works_when_pasted():
    text = announce.lines(URL, Credentials("operator", "pass word", "soma_key"))
    command = next(line for line in text if line.startswith("curl "))

    words = shlex.split(command)
    assert words[:2] == ["curl", "-N"]
    assert "Authorization: Bearer soma_key" in words
    assert json.loads(words[words.index("-d") + 1]) == {"input": "Hello! Who are you?", "stream": True}
    assert words[-1] == f"{URL}/api/v1/turns"
    assert any("pass word" in line for line in text)


def test_a_later_start_says_how_to_get_new_credentials():
    text = "\n".join(announce.lines(URL, Credentials("operator")))
    assert "make password" in text
    assert "make api-key" in text
    assert '"Authorization: Bearer $SOMA_API_KEY"' in text
    assert "make password" in "\n".join(announce.lines(URL, None))


def test_lines_of_output_become_json_and_stay_readable():
    line = '{"event": "ready", "level": "info"}'
    assert as_json_line("worker", line) == line
    wrapped = json.loads(as_json_line("postgres", "LOG: “ready” {"))
    assert wrapped["service"] == "postgres"
    assert wrapped["event"] == "LOG: “ready” {"
    assert json.loads(as_json_line("worker", "{not json"))["event"] == "{not json"
    assert json.loads(as_json_line("worker", "[1]"))["event"] == "[1]"
    assert readable('{"event": "no such table", "level": "error", "pid": 3}') == "error no such table"
    assert readable("plain") == "plain"
    assert readable("{torn") == "{torn"


def test_the_result_of_the_seed_is_taken_out_of_its_output_and_nothing_else_is():
    done = []
    seeding = Seeding(lambda: done.append(True))
    result = json.dumps({"operator": "ada", "password": "p", "api_key": "k"})

    assert not seeding.take("Loading.")
    assert not seeding.take('{"event": "an agent was created"}')
    assert seeding.take('{"operator": "ada", "api_key": "torn')
    assert seeding.take(result)
    seeding.finished()

    assert seeding.credentials == Credentials("ada", "p", "k")
    assert repr(seeding.credentials) == "Credentials('ada')"
    assert done == [True]


def test_an_exit_is_described_in_words():
    assert describe_exit(3) == "exited with status 3"
    assert describe_exit(-signal.SIGKILL) == "was ended by SIGKILL"
    assert describe_exit(-250) == "was ended by signal 250"


def test_a_server_that_listens_everywhere_is_asked_on_the_loopback():
    assert reachable("gateway") == "gateway"
    assert reachable("10.1.2.3") == "10.1.2.3"
    assert reachable("::2") == "[::2]"
    assert reachable(str(IPv4Address(0))) == reachable("::") == loopback()
