"""Columns that every table of ours has, and text that PostgreSQL can hold."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

import uuid_utils.compat
from django.db import models

_LAST_MILLISECOND = (1 << 48) - 1
_WRITTEN_WITHIN = 300_000  # milliseconds


def uuid7() -> uuid.UUID:
    """A new UUIDv7 (RFC 9562): sorts by the millisecond in which it was made."""
    return uuid_utils.compat.uuid7()


def first_id(moment: datetime) -> uuid.UUID:
    """The least UUIDv7 of a millisecond: rows that were made from then on have greater ids, or this one.

    Moments that no UUIDv7 can tell give the first or the last one that it can.
    """
    return _first_of(int(moment.timestamp() * 1000))


def _first_of(milliseconds: int) -> uuid.UUID:
    version, variant = 0x7 << 76, 0x2 << 62
    return uuid.UUID(int=min(max(milliseconds, 0), _LAST_MILLISECOND) << 80 | version | variant)


def made_between(since: datetime | None, until: datetime | None) -> models.Q:
    """Rows that were made from ``since`` on and before ``until``, for an index that ends with ``id``.

    A row has its id a little before it is written, which ``created_at`` tells.
    """
    within = models.Q()
    if since is not None:
        earliest = int(since.timestamp() * 1000) - _WRITTEN_WITHIN
        within &= models.Q(created_at__gte=since, id__gte=_first_of(earliest))
    if until is not None:
        latest = int(until.timestamp() * 1000) + 1
        within &= models.Q(created_at__lt=until, id__lt=_first_of(latest))
    return within


class Identified(models.Model):
    """UUIDv7 key and creation time. Newest first is ``-id``: the key sorts by time."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    created_at = models.DateTimeField(auto_now_add=True, editable=False)

    class Meta:
        abstract = True


def tenant_without_index(*, by_parent: bool = False) -> models.ForeignKey[Any, Any]:
    """In the place of ``TenantOwned``'s, for large tables: a tenant's rows are found by another index.

    One of the tenant alone costs each row that is written, and misleads plans to read all that a tenant has.
    ``by_parent``: a foreign key leads, by way of others, to a row of the tenant's, which cannot go before
    this one; the database does not look for the tenant again.
    """
    return models.ForeignKey(
        "tenancy.Tenant",
        on_delete=models.CASCADE,
        editable=False,
        related_name="+",
        db_index=False,
        db_constraint=not by_parent,
    )


class TenantOwned(Identified):
    """A row that belongs to one tenant. Its table has a row-level security policy (see ``rls``)."""

    tenant = models.ForeignKey("tenancy.Tenant", on_delete=models.CASCADE, editable=False, related_name="+")

    class Meta:
        abstract = True


class IdempotentCreate(models.Model):
    """What a POST with an ``Idempotency-Key`` leaves behind, so that its repetition finds the first.

    ``request_digest`` is SHA-256 over the request: the same key with another request is an error.
    """

    idempotency_key = models.CharField(max_length=200, null=True, editable=False)  # noqa: DJ001 absent keys never collide
    request_digest = models.BinaryField(max_length=32, null=True, editable=False)

    class Meta:
        abstract = True
