"""``Idempotency-Key`` as a request carries it."""

from __future__ import annotations

import hashlib
from typing import Annotated

from ninja import Header
from pydantic import BaseModel, StringConstraints

from somaagent.tenancy.idempotency import Idempotency

IdempotencyKey = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")] | None,
    Header(
        alias="Idempotency-Key",
        description="The same key with the same body answers with what was made first.",
    ),
]


def idempotency_of(key: str | None, body: BaseModel) -> Idempotency | None:
    """What a service needs to find a repetition: the key, and SHA-256 over the body in its canonical form."""
    return idempotency_of_text(key, body.model_dump_json())


def idempotency_of_text(key: str | None, request: str) -> Idempotency | None:
    """The same for a request without a body, told by ``request``."""
    return None if key is None else Idempotency(key, hashlib.sha256(request.encode()).digest())
