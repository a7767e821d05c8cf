"""How entries are chained, and whether a chain is whole.

An entry's digest is SHA-256 over the digest of the entry before it (32 zero bytes before the first) and the
entry's content: tenant, number, moment, user, via, request, action, type and id of its target, facts, each as
a netstring of UTF-8 (D. J. Bernstein, "Netstrings", 1997), one behind the other. The moment is UTC with
microseconds, ids are lower-case with hyphens, a missing user is empty. PostgreSQL computes it when an entry
is made (``tenancy_audit_append``); here it is computed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from uuid import UUID

from .models import AuditEntry, AuditHead

BEFORE_THE_FIRST = bytes(32)


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a tenant's chain; number 0 where there is no entry."""

    number: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Verified:
    """What a look through a chain came to. ``fault`` is a sentence on the first entry that does not fit."""

    entries: int
    head: Head
    fault: str = ""


def content(entry: AuditEntry) -> bytes:
    """What of an entry its digest covers."""
    parts = (
        str(entry.tenant_id),
        str(entry.number),
        entry.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        str(entry.user_id or ""),
        entry.via,
        entry.request_id,
        entry.action,
        entry.target_type,
        entry.target_id,
        entry.facts_text,
    )
    return b"".join(b"%d:%s," % (len(part), part) for part in (text.encode() for text in parts))


def digest_of(entry: AuditEntry, before: bytes) -> bytes:
    return hashlib.sha256(before + content(entry)).digest()


def verified(tenant_id: UUID, known: Head | None = None) -> Verified:
    """Look through a tenant's chain. Runs inside the tenant's scope; entries that come meanwhile do no harm.

    ``known``: a head that was noted earlier, and has to be in the chain still.
    """
    head = _head()
    chain = _walked(tenant_id, head)
    done = 0
    last = BEFORE_THE_FIRST
    for number, found, fault in chain:
        if fault:
            return Verified(done, head, fault)
        done, last = number, found
        if known is not None and known.number == number and known.digest != found:
            return Verified(done, head, f"Entry {number} is not the one that was noted earlier.")
    if last != head.digest:
        return Verified(done, head, f"Entry {done} is not the one that the chain's head names.")
    if known is not None and known.number > head.number:
        return Verified(done, head, f"Entry {known.number}, which was noted earlier, is missing.")
    # Looked for before the head is read again: whoever adds an entry changes both at once.
    stray = AuditEntry.objects.filter(number__gt=head.number).order_by("number").first()
    if stray is not None and stray.number > _head().number:
        return Verified(done, head, f"Entry {stray.number} lies behind the chain's head.")
    return Verified(done, head)


def _head() -> Head:
    row = AuditHead.objects.first()
    return Head(0, BEFORE_THE_FIRST) if row is None else Head(row.number, bytes(row.digest))


def _walked(tenant_id: UUID, head: Head) -> Iterator[tuple[int, bytes, str]]:
    """Number, digest and fault of each entry up to the head; the first with a fault is the last."""
    expected, before = 1, BEFORE_THE_FIRST
    for entry in AuditEntry.objects.filter(number__lte=head.number).order_by("number").iterator(1_000):
        if entry.number != expected:
            break
        digest = digest_of(entry, before)
        if entry.tenant_id != tenant_id or digest != bytes(entry.digest):
            yield expected, digest, f"Entry {expected} ({entry.id}) was changed, or one before it."
            return
        yield expected, digest, ""
        expected, before = expected + 1, digest
    if expected <= head.number:
        yield expected, before, f"Entry {expected} is missing; the chain goes up to {head.number}."
