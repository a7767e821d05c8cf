"""Stories of log lines: a process of its own writes them, as an entry point would, and they are read back."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from somaagent.observability.masking import MASK, masked

BEGIN = """
import logging, threading, warnings
import structlog
from somaagent.observability import logging as ours
ours.configure("gateway", "INFO")
logger = structlog.get_logger("somaagent.story")
"""


def lines(story: str, status: int = 0) -> list[dict[str, Any]]:
    """What a process that runs the story writes to standard output: nothing but JSON objects."""
    script = BEGIN + textwrap.dedent(story)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_library_s_lines_have_the_same_shape_as_ours():
    ours, theirs, warned, celery = lines("""
        structlog.contextvars.bind_contextvars(request_id="r-1", tenant_id="t-1", turn_id="u-1")
        logger.info("turn.finished", seconds=1.5)
        logging.getLogger("django.request").warning("Not Found: %s", "/nowhere", extra={"status_code": 404})
        warnings.warn("soon gone")
        logging.getLogger("celery.worker").info("ready")
        logging.getLogger("anything").debug("too quiet to be heard")
        """)
    for line in (ours, theirs, warned, celery):
        assert line["service"] == "gateway"
        assert (line["request_id"], line["tenant_id"], line["turn_id"]) == ("r-1", "t-1", "u-1")
        assert line["timestamp"].endswith("Z")
        assert line["pid"] == ours["pid"]
        assert list(line)[:4] == ["timestamp", "level", "logger", "event"]
    assert (ours["level"], ours["logger"], ours["event"], ours["seconds"]) == (
        "info",
        "somaagent.story",
        "turn.finished",
        1.5,
    )
    assert (theirs["level"], theirs["event"], theirs["status_code"]) == (
        "warning",
        "Not Found: /nowhere",
        404,
    )
    assert (warned["logger"], "soon gone" in warned["event"]) == ("py.warnings", True)


def test_an_exception_is_told_with_its_place_and_cause_but_without_local_variables():
    [line] = lines("""
        def ask(password):
            raise ConnectionError("refused")
        try:
            try:
                ask("hunter2-hunter2")
            except ConnectionError as error:
                raise RuntimeError("no answer") from error
        except RuntimeError:
            logger.exception("story.failed")
        """)
    assert [raised["exc_type"] for raised in line["exception"]] == ["RuntimeError", "ConnectionError"]
    assert line["exception"][1]["frames"][-1]["name"] == "ask"
    assert "hunter2" not in json.dumps(line)


def test_what_nobody_caught_is_a_line_too_in_the_main_thread_and_in_others():
    in_thread, in_main = lines(
        """
        def fail():
            raise ValueError("in a thread")
        thread = threading.Thread(target=fail, name="sidekick")
        thread.start()
        thread.join()
        raise ValueError("in the main thread")
        """,
        status=1,
    )
    assert (in_thread["event"], in_thread["thread"]) == ("uncaught_in_thread", "sidekick")
    assert in_main["level"] == "critical"
    assert in_main["exception"][0]["exc_value"] == "in the main thread"


def test_lines_of_a_traced_piece_of_work_carry_its_ids():
    inside, outside = lines("""
        from opentelemetry import trace
        from somaagent.observability import tracing
        tracing.configure("gateway", None)
        with trace.get_tracer("story").start_as_current_span("work") as span:
            logger.info("inside", expected=trace.format_trace_id(span.get_span_context().trace_id))
        logger.info("outside")
        """)
    assert inside["trace_id"] == inside["expected"]
    assert len(inside["span_id"]) == 16
    assert "trace_id" not in outside


def test_values_that_json_does_not_know_do_not_lose_the_line():
    odd, huge = lines("""
        logger.info("odd", path=__import__("pathlib").Path("/x"), raw=b"\\xff", number={1: 2}, lone="\\ud800")
        logger.info("huge", number=2**80)
        """)
    assert (odd["path"], odd["number"]) == ("/x", {"1": 2})
    assert huge["number"] == 2**80


def test_after_a_fork_the_child_says_its_own_pid():
    parent, child = lines("""
        import os
        logger.info("parent")
        pid = os.fork()
        if pid == 0:
            logger.info("child", parent=os.getppid())
            os._exit(0)
        os.waitpid(pid, 0)
        """)
    assert child["parent"] == parent["pid"] != child["pid"]


@pytest.mark.parametrize(
    "said",
    [
        {"authorization": "Bearer abc"},
        {"headers": {"Cookie": "sessionid=abc123"}},
        {"nested": [{"deep": {"api_key": "abc"}}]},
        {"DB_PASSWORD": "abc"},
        {"access_token": ["abc"]},
        {"event": "sent Authorization: Bearer abc1234567"},
        {"event": "Set-Cookie: sessionid=abc; csrftoken=abc"},
        {"event": "connecting to redis://:abc@host:6379/0"},
        {"event": "connecting to postgres://user:abc@host/name"},
        {"event": "url was /x?token=abc&y=1"},
        {"event": "vault said hvs.abcCAESIJ1abcdefghijk"},
        {"event": "the key sk-abc1234567890abcdef is wrong"},
        {"event": "jwt eyJabcabcabc.abcabcabcabc.abcabc"},
        {"event": b"password=abc"},
    ],
)
def test_a_secret_is_masked_wherever_it_stands(said: dict[str, Any]):
    shown = masked(said)
    assert "abc" not in json.dumps(shown)
    assert MASK in json.dumps(shown, ensure_ascii=False)


def test_a_secret_that_the_process_knows_is_masked_even_where_nothing_betrays_it():
    [line] = lines("""
        ours.redact_with(lambda text: text.replace("correct horse", "••••"))
        logger.info("story", note="they say correct horse")
        """)
    assert line["note"] == "they say ••••"


def test_what_is_no_secret_stays_readable():
    said = {
        "input_tokens": 5,
        "first_token": 0.25,
        "session_id": "0199",
        "event": "The bearer of this basic message asked a model at https://host/v1.",
        "items": ["a", 1, None, True],
    }
    assert masked(said) == said
