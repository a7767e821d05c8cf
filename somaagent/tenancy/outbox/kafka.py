"""Events to Kafka, by librdkafka's idempotent producer."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Sequence
from typing import Any

import structlog
from django.conf import settings

from .messages import Message, SinkAwayError

# How long a batch may take; who publishes holds its tenant's lane for as long.
SEND_SECONDS = 5.0

logger = structlog.get_logger(__name__)


class KafkaSink:
    """One topic; a tenant's events are in one partition of it."""

    name = "kafka"

    def send(self, messages: Sequence[Message]) -> int:
        """Raises ``SinkAwayError`` where none arrived."""
        import confluent_kafka  # noqa: PLC0415 - a large library, for those who have Kafka

        producer = _producer(os.getpid(), settings.KAFKA_BOOTSTRAP)
        faults: dict[int, str] = {}
        arrived: set[int] = set()

        def told(number: int, error: Any, _: Any) -> None:
            if error is None:
                arrived.add(number)
            else:
                faults[number] = str(error)

        fault = ""
        try:
            for number, message in enumerate(messages):
                producer.produce(
                    settings.KAFKA_TOPIC,
                    key=message.key,
                    value=message.value,
                    headers={"content-type": "application/cloudevents+json"},
                    on_delivery=functools.partial(told, number),
                )
            producer.flush(SEND_SECONDS)
        except (BufferError, confluent_kafka.KafkaException) as error:
            fault = str(error)
        count = next((number for number in range(len(messages)) if number not in arrived), len(messages))
        if count < len(messages):
            # What was not acknowledged must not follow later, behind what is sent instead of it.
            producer.purge()
            producer.flush(0)
            _producer.cache_clear()
            reason = fault or next(iter(faults.values()), f"no answer in {SEND_SECONDS:.0f} s")
            logger.warning("outbox.kafka_failed", reason=reason, arrived=count, of=len(messages))
            if not count:
                raise SinkAwayError(f"Kafka: {reason}")
        return count


@functools.lru_cache(maxsize=1)
def _producer(_: int, bootstrap: str) -> Any:
    """This process's producer: its threads do not outlive a fork."""
    import confluent_kafka  # noqa: PLC0415 - as above

    return confluent_kafka.Producer(
        {
            "bootstrap.servers": bootstrap,
            "client.id": "somaagent",
            "enable.idempotence": True,
            "acks": "all",
            # A message does not give up by itself, which would leave a gap in the order: the batch does.
            "message.timeout.ms": 0,
            "socket.timeout.ms": int(SEND_SECONDS * 1000),
            "linger.ms": 0,
            "partitioner": "murmur2_random",
        },
        logger=logging.getLogger(__name__),
    )
