"""Events to Kafka, by librdkafka's idempotent producer."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Sequence
from typing import Any

import structlog
from django.conf import settings

from .faults import Fault
from .messages import Message, SinkAwayError

# How long a batch may take; who publishes holds its tenant's lane for as long.
SEND_SECONDS = 5.0
# librdkafka's and Kafka's names for what does not mend by itself, and what to look at then.
_FAULTS = {
    "_AUTHENTICATION": Fault.AUTHENTICATION,
    "SASL_AUTHENTICATION_FAILED": Fault.AUTHENTICATION,
    "UNSUPPORTED_SASL_MECHANISM": Fault.AUTHENTICATION,
    "ILLEGAL_SASL_STATE": Fault.AUTHENTICATION,
    "_SSL": Fault.TLS,
    "TOPIC_AUTHORIZATION_FAILED": Fault.AUTHORIZATION,
    "CLUSTER_AUTHORIZATION_FAILED": Fault.AUTHORIZATION,
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": Fault.AUTHORIZATION,
    "_INVALID_ARG": Fault.CONFIGURATION,
}
_LOOK_AT = {
    Fault.AUTHENTICATION: "it does not let us in: look at SA01_KAFKA_USERNAME, SA01_KAFKA_PASSWORD and "
    "SA01_KAFKA_SASL_MECHANISM",
    Fault.TLS: "no encrypted connection: look at SA01_KAFKA_CA_FILE and the certificate's names",
    Fault.AUTHORIZATION: "our user may not write to the topic: let it",
    Fault.CONFIGURATION: "its settings make no producer: look at SA01_KAFKA_…",
}

logger = structlog.get_logger(__name__)


class KafkaSink:
    """One topic; a tenant's events are in one partition of it."""

    name = "kafka"

    def send(self, messages: Sequence[Message]) -> int:
        """Raises ``SinkAwayError`` where none arrived."""
        import confluent_kafka  # noqa: PLC0415 - a large library, for those who have Kafka

        told = _Told()
        try:
            line = _line(os.getpid(), tuple(sorted(_options().items())))
            line.send(messages, told)
        except (BufferError, confluent_kafka.KafkaException) as error:
            told.hear(error.args[0] if error.args else error)
        count = next((number for number in range(len(messages)) if number not in told.arrived), len(messages))
        if count < len(messages):
            _line.cache_clear()
            fault, reason = told.worst()
            logger.warning("outbox.kafka_failed", fault=fault, reason=reason, arrived=count, of=len(messages))
            if not count:
                raise SinkAwayError(f"Kafka: {reason}", fault)
        return count


class _Told:
    """What librdkafka says while a batch is on its way."""

    def __init__(self) -> None:
        self.arrived: set[int] = set()
        self._heard: dict[Fault, str] = {}

    def delivered(self, number: int, error: Any, _: Any) -> None:
        if error is None:
            self.arrived.add(number)
        else:
            self.hear(error)

    def hear(self, error: Any) -> None:
        name = error.name() if hasattr(error, "name") else ""
        fault = _FAULTS.get(name, Fault.UNREACHABLE)
        # A message that is taken back says only that; why, was said before.
        if name not in ("_PURGE_QUEUE", "_PURGE_INFLIGHT"):
            self._heard.setdefault(fault, error.str() if hasattr(error, "str") else str(error))

    def worst(self) -> tuple[Fault, str]:
        """What does not mend by itself goes before what may."""
        for fault in (*_LOOK_AT, Fault.UNREACHABLE):
            if said := self._heard.get(fault):
                return fault, f"{_LOOK_AT[fault]} ({said})" if fault in _LOOK_AT else said
        return Fault.UNREACHABLE, f"no answer in {SEND_SECONDS:.0f} s"


class _Line:
    """A producer, and who hears what it says of its connection."""

    def __init__(self, options: dict[str, Any]) -> None:
        import confluent_kafka  # noqa: PLC0415 - as above

        self._told: _Told | None = None
        self._producer = confluent_kafka.Producer(
            {**options, "error_cb": self._hear}, logger=logging.getLogger(__name__)
        )

    def send(self, messages: Sequence[Message], told: _Told) -> None:
        """Returns when all are answered for, or the time is over: what is not answered for by then is taken
        back, so that it cannot follow later, behind what is sent instead of it.
        """
        self._told = told
        try:
            for number, message in enumerate(messages):
                self._producer.produce(
                    settings.KAFKA_TOPIC,
                    key=message.key,
                    value=message.value,
                    headers={"content-type": "application/cloudevents+json"},
                    on_delivery=functools.partial(told.delivered, number),
                )
            self._producer.flush(SEND_SECONDS)
        finally:
            if len(told.arrived) < len(messages):
                self._producer.purge()
                self._producer.flush(0)
            self._told = None

    def _hear(self, error: Any) -> None:
        if self._told is not None:
            self._told.hear(error)


@functools.lru_cache(maxsize=1)
def _line(_: int, options: tuple[tuple[str, Any], ...]) -> _Line:
    """This process's: a producer's threads do not outlive a fork."""
    return _Line(dict(options))


def _options() -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.KAFKA_BOOTSTRAP,
        "client.id": "somaagent",
        "enable.idempotence": True,
        "acks": "all",
        # A message does not give up by itself, which would leave a gap in the order: the batch does.
        "message.timeout.ms": 0,
        "socket.timeout.ms": int(SEND_SECONDS * 1000),
        "linger.ms": 0,
        "partitioner": "murmur2_random",
        # Each attempt of a broker that refuses us is a line of the log.
        "reconnect.backoff.ms": 500,
        "reconnect.backoff.max.ms": 2000,
        **_security(),
    }


def _security() -> dict[str, Any]:
    found: dict[str, Any] = {"security.protocol": settings.KAFKA_SECURITY_PROTOCOL.lower()}
    if settings.KAFKA_CA_FILE is not None:
        found["ssl.ca.location"] = str(settings.KAFKA_CA_FILE)
    if settings.KAFKA_SECURITY_PROTOCOL.startswith("SASL_"):
        found |= {
            "sasl.mechanism": settings.KAFKA_SASL_MECHANISM,
            "sasl.username": settings.KAFKA_USERNAME,
            "sasl.password": settings.KAFKA_PASSWORD,
        }
    return found
