"""Lines of Celery's about tasks that run again and again: shown at DEBUG, or when there is something to see.

A quiet platform sends more than a task a second; that each was sent, received and done well says nothing that
health and metrics do not. Whatever fails, is retried, refused or slow stays as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

# These take milliseconds.
SLOW_SECONDS = 1.0
_LOGGERS = ("celery.beat", "celery.worker.strategy", "celery.app.trace")


class Routine(logging.Filter):
    """Takes out the lines that tasks of these names were sent, received, and done within a second."""

    def __init__(self, tasks: Collection[str]) -> None:
        super().__init__()
        self._tasks = frozenset(tasks)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.INFO:
            return True
        told = record.args
        if isinstance(told, Mapping):
            seconds = told.get("runtime")
            slow = isinstance(seconds, float) and seconds > SLOW_SECONDS
            return told.get("name") not in self._tasks or "exc" in told or slow
        # Of the scheduler: the entry's name and its task's.
        return not (isinstance(told, tuple) and self._tasks.intersection(map(str, told)))


def quieten(tasks: Collection[str], level: str) -> None:
    """Call it behind ``logging.configure``; at DEBUG everything is shown."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        for old in [each for each in logger.filters if isinstance(each, Routine)]:
            logger.removeFilter(old)
        if level != "DEBUG":
            logger.addFilter(Routine(tasks))
