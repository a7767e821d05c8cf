"""``Idempotency-Key``, where rows are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from django.db.models import QuerySet

from somaagent.errors import Kind, SomaError

from .fields import IdempotentCreate

M = TypeVar("M", bound=IdempotentCreate)


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's key and the SHA-256 of the request that it stands for."""

    key: str
    digest: bytes

    def columns(self) -> dict[str, Any]:
        return {"idempotency_key": self.key, "request_digest": self.digest}

    def find(self, rows: QuerySet[M]) -> M | None:
        """The row that this key made. Raises ``idempotency_key_reused`` where the request is another."""
        row = rows.filter(idempotency_key=self.key).first()
        return self.checked(row) if row is not None else None

    def checked(self, row: M) -> M:
        """The row that this key made, if the same request made it. Raises ``idempotency_key_reused``."""
        if bytes(row.request_digest or b"") != self.digest:
            raise SomaError(
                Kind.INVALID,
                "idempotency_key_reused",
                "This Idempotency-Key was used for another request: take a new one.",
                field="header.Idempotency-Key",
            )
        return row
