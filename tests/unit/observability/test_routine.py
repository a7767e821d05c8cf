"""What Celery says of tasks that run again and again, by its own words."""

from __future__ import annotations

import logging

import pytest
from celery.app.trace import LOG_FAILURE, LOG_RECEIVED, LOG_RETRY, LOG_SUCCESS

from somaagent.observability import routine

SWEEP, TURN = "tenancy.outbox_publish", "chat.turn_run"
DUE = "Scheduler: Sending due task %s (%s)"


@pytest.fixture
def said(caplog):
    """The lines that are left of what loggers of Celery's are told."""

    def say(level: str = "INFO"):
        routine.quieten([SWEEP], level)
        for task in (SWEEP, TURN):
            done = {"id": "1", "name": task, "return_value": "None", "args": "()", "kwargs": "{}"}
            logging.getLogger("celery.beat").info(DUE, "an-entry", task)
            logging.getLogger("celery.worker.strategy").info(LOG_RECEIVED, done)
            logging.getLogger("celery.app.trace").info(LOG_SUCCESS, done | {"runtime": 0.01})
            logging.getLogger("celery.app.trace").info(LOG_SUCCESS, done | {"runtime": 7.0})
            logging.getLogger("celery.app.trace").info(LOG_RETRY, done | {"exc": "Busy"})
            failed = done | {"description": "raised unexpected", "exc": "Boom"}
            logging.getLogger("celery.app.trace").error(LOG_FAILURE, failed)
        logging.getLogger("celery.beat").info("beat: Starting...")
        return [record.getMessage() for record in caplog.records]

    caplog.set_level(logging.INFO)
    yield say
    routine.quieten([], "DEBUG")


def test_what_goes_well_is_not_told_and_all_else_is(said):
    lines = said()
    mine = [line for line in lines if SWEEP in line]
    assert [next(word for word in ("7.0s", "retry", "raised") if word in line) for line in mine] == [
        "7.0s", "retry", "raised",
    ]  # fmt: skip
    assert len([line for line in lines if TURN in line]) == 6
    assert "beat: Starting..." in lines


def test_at_debug_everything_is_told(said):
    assert len([line for line in said("DEBUG") if SWEEP in line]) == 6
