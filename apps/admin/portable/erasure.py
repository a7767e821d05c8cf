"""``manage.py tenant erase``: a tenant is gone, and a signed report says so.

As the role that owns the tables: the application cannot delete what it may only add to. The tenant's
audit goes with it: that it was erased, the report tells, which has the chain's end, and the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from django.core.management.base import CommandError
from django.core.signing import BadSignature, Signer
from django.db import connection, transaction
from django.utils import timezone

from apps.chat import stream
from somaagent import valkey
from somaagent.tenancy.audit.entries import BY_COMMAND, audit_without_tenant
from somaagent.tenancy.audit.models import AuditHead
from somaagent.tenancy.models import Tenant, User
from somaagent.tenancy.outbox.models import OutboxEvent
from somaagent.tenancy.scope import tenant_scope

from . import tables
from .departure import Say

_SIGNER = Signer(salt="somaagent.tenant.erasure")
_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Erased:
    """How many rows of each table, people and keys in Valkey went."""

    rows: dict[str, int]
    people: int
    keys: int


def tenant_erase(*, slug: str, path: Path, say: Say) -> None:
    """Erase a suspended tenant, and write the report to ``path``. Raises ``CommandError``: nothing went."""
    with path.open("xb") as file, transaction.atomic():
        tenant = _suspended(slug)
        tenant_id = tenant.id
        _as_owner()
        ended = _end_of(tenant)
        erased = _erase(tenant)
        for table, count in erased.rows.items():
            say(f"{table}: {count}")
        say(f"people: {erased.people}")
        say(f"keys in Valkey: {erased.keys}")
        file.write(_signed(tenant, erased, ended))
    # Its own chain is gone with it.
    audit_without_tenant(by=BY_COMMAND, action="tenant.erased", target_type="tenant", target_id=tenant_id)


def report_verify(path: Path) -> dict[str, Any]:
    """What a report says. Raises ``CommandError`` where this installation did not sign it so."""
    try:
        told: dict[str, Any] = orjson.loads(path.read_bytes())
        signature = told.pop("signature")
    except (OSError, orjson.JSONDecodeError, KeyError) as error:
        raise CommandError(f"{path} is no report of an erasure: {error}") from error
    try:
        _SIGNER.unsign(f"{_canonical(told)}:{signature}")
    except BadSignature as error:
        raise CommandError(f"{path} was changed, or is another installation's.") from error
    return told


def _suspended(slug: str) -> Tenant:
    tenant = Tenant.objects.select_for_update().filter(slug=slug).first()
    if tenant is None:
        raise CommandError(f"There is no tenant {slug!r}.")
    if tenant.suspended_at is None:
        raise CommandError(
            f"{slug} is not suspended: suspend it in the admin first, so that nothing of it runs."
        )
    return tenant


def _as_owner() -> None:
    names = [tables.table_of(model) for model in tables.owned()]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT bool_and(has_table_privilege(name, 'DELETE')) FROM unnest(%s::text[]) name", [names]
        )
        (may,) = cursor.fetchone()
    if not may:
        raise CommandError("This needs the role that owns the tables: see SA01_DB_OWNER_USER.")


def _end_of(tenant: Tenant) -> dict[str, Any]:
    """What the report keeps of the audit and the events: how far the chain went, and what nobody heard.

    The owner of the tables sees all tenants' rows, whatever the scope.
    """
    with tenant_scope(tenant.id):
        head = AuditHead.objects.filter(tenant=tenant).first()
        unheard = OutboxEvent.objects.filter(tenant=tenant, published_at=None).count()
    audit = {"number": head.number, "digest": bytes(head.digest).hex()} if head is not None else None
    return {"audit_head": audit, "events_not_published": unheard}


def _erase(tenant: Tenant) -> Erased:
    turns = _column("SELECT id FROM chat_turn WHERE tenant_id = %s", tenant.id)
    named = [
        f'SELECT "{column}" FROM "{table}" WHERE tenant_id = %s'  # noqa: S608 names of ours
        for table, column in tables.user_columns()
    ]
    people = _column(" UNION ".join(named), *[tenant.id] * len(named))
    rows = _rows(tenant.id)
    gone = _people(people)
    _immediately()
    _search_rows([tenant.id, *gone])
    return Erased(rows, len(gone), _forget(tenant.id, turns))


def _rows(tenant_id: UUID) -> dict[str, int]:
    counts: dict[str, int] = {}
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        for model in tables.owned():
            table = tables.table_of(model)
            cursor.execute(f'DELETE FROM "{table}" WHERE tenant_id = %s', [tenant_id])  # noqa: S608 a name of ours
            counts[table] = cursor.rowcount
        cursor.execute("DELETE FROM tenancy_tenant WHERE id = %s", [tenant_id])
    return counts


def _people(ids: list[UUID]) -> list[UUID]:
    """Those whom no other tenant's rows name, and who operate nothing."""
    kept: set[UUID] = set(User.objects.filter(id__in=ids, is_staff=True).values_list("id", flat=True))
    for table, column in tables.user_columns():
        found = f'SELECT DISTINCT "{column}" FROM "{table}" WHERE "{column}" = ANY(%s)'  # noqa: S608 as above
        kept.update(_column(found, ids))
    gone = [user_id for user_id in ids if user_id not in kept]
    User.objects.filter(id__in=gone).delete()
    return gone


def _immediately() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def _search_rows(ids: list[UUID]) -> None:
    """Look through every row of every table for these ids. Raises ``CommandError`` where one is left."""
    wanted = [f"%{found}%" for found in ids]
    for table in _column("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        left = _column(f'SELECT count(*) FROM "{table}" found WHERE found::text LIKE ANY(%s)', wanted)  # noqa: S608 as above
        if left[0]:
            raise CommandError(
                f"{left[0]} rows of {table} still name the tenant or its people: nothing was erased."
            )


def _forget(tenant_id: UUID, turns: list[UUID]) -> int:
    """Take the tenant's keys out of Valkey: its turns' events, and what has its id in its name."""
    client = valkey.blocking_client()
    keys = [stream.key_of(turn_id).encode() for turn_id in turns]
    keys += list(client.scan_iter(match=f"*{tenant_id}*", count=_AT_ONCE))
    return sum(client.delete(*keys[at : at + _AT_ONCE]) for at in range(0, len(keys), _AT_ONCE))


def _column(query: str, *parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return [value for (value,) in cursor.fetchall()]


def _signed(tenant: Tenant, erased: Erased, ended: dict[str, Any]) -> bytes:
    told = {
        "erased": {"tenant_id": str(tenant.id), "slug": tenant.slug, "name": tenant.name},
        "at": timezone.now().isoformat(),
        "rows": erased.rows,
        "people": erased.people,
        "valkey_keys": erased.keys,
        **ended,
        "searched": "every row of every table, for the ids of the tenant and of its people: none left",
    }
    return orjson.dumps(told | {"signature": _SIGNER.signature(_canonical(told))}, option=orjson.OPT_INDENT_2)


def _canonical(told: dict[str, Any]) -> str:
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS).decode()
