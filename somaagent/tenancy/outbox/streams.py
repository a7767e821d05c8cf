"""Events to Valkey, where there is no Kafka: a stream for each tenant, of a bounded length."""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import RedisError

from somaagent import valkey

from .messages import Message, SinkAwayError

# Of each tenant; what is older is trimmed, in whole blocks. ``outbox_replay`` brings it back.
LONGEST = 10_000


def stream_of(tenant_id: object) -> str:
    return f"soma:events:{tenant_id}"


class StreamSink:
    """A transaction for each batch: all of it is there, or nothing."""

    name = "valkey"

    def send(self, messages: Sequence[Message]) -> int:
        """Raises ``SinkAwayError``."""
        try:
            with valkey.blocking_client().pipeline(transaction=True) as pipeline:
                for message in messages:
                    pipeline.xadd(
                        stream_of(message.key), {"event": message.value}, maxlen=LONGEST, approximate=True
                    )
                return len(pipeline.execute())
        except RedisError as error:
            raise SinkAwayError(f"Valkey: {error}") from error
