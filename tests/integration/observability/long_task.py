"""A task that takes its time, for the stories of a worker's end."""

from __future__ import annotations

import time

import structlog
from celery import shared_task

logger = structlog.get_logger(__name__)


@shared_task(name="tests.long")
def long(seconds: float) -> None:
    logger.info("long.begun")
    time.sleep(seconds)
    logger.info("long.ended")
