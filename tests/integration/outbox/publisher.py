"""A publisher: ``python -m tests.integration.outbox.publisher TENANT BOOTSTRAP TOPIC [before|after|stalls]``.

It publishes a tenant's events, batch by batch. With the last word it waits to be killed: before it
sends its first batch, or after, when it could not mark yet what it sent. With ``stalls`` it sends half of its
first batch, and the rest when it reads a line.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from uuid import UUID

import django

django.setup()

from django.conf import settings  # noqa: E402 - after the settings

from somaagent.tenancy.outbox import publishing  # noqa: E402 - as above
from somaagent.tenancy.outbox.messages import Message, Sink  # noqa: E402 - as above


class Dying:
    """Never comes back to say that it sent."""

    name = "dying"

    def __init__(self, real: Sink, when: str) -> None:
        self._real, self._when = real, when

    def send(self, messages: Sequence[Message]) -> int:
        count = self._real.send(messages) if self._when == "after" else len(messages)
        print(f"{count} {self._when}", flush=True)
        time.sleep(600)
        return count


class Stalling:
    """Goes on when it is told to, whatever became of its lock."""

    name = "stalling"

    def __init__(self, real: Sink) -> None:
        self._real = real

    def send(self, messages: Sequence[Message]) -> int:
        half = len(messages) // 2
        count = self._real.send(messages[:half])
        print(f"{count} stalls", flush=True)
        sys.stdin.readline()
        return count + self._real.send(messages[half:])


def main(tenant: str, bootstrap: str, topic: str, *dies: str) -> None:
    settings.KAFKA_BOOTSTRAP, settings.KAFKA_TOPIC = bootstrap or None, topic
    real = publishing.sink()
    sink: Sink = Dying(real, *dies) if dies else real
    if "stalls" in dies:
        sink = Stalling(real)
    while publishing.batch_publish(tenant_id=UUID(tenant), to=sink):
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
