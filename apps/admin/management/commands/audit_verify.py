"""``manage.py audit_verify``: whether the chains of the audit are whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from somaagent.commands import PlatformCommand
from somaagent.tenancy.audit.chain import Head, verified
from somaagent.tenancy.models import Tenant
from somaagent.tenancy.scope import tenant_scope


class Command(PlatformCommand):
    help = "Compute the chain of each tenant's audit again. Exits with 1 where an entry does not fit."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", help="The slug of one tenant; all by default.")
        parser.add_argument(
            "--heads-to", type=Path, help="Note the heads in this file, to be kept outside of the database."
        )
        parser.add_argument(
            "--heads-from", type=Path, help="Heads that were noted earlier have to be in the chains still."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        known = _read(options["heads_from"]) if options["heads_from"] else {}
        tenants = Tenant.objects.order_by("slug")
        if options["tenant"]:
            tenants = tenants.filter(slug=options["tenant"])
            if not tenants:
                raise CommandError(f"There is no tenant {options['tenant']}.")
        heads: dict[str, str] = {}
        broken = 0
        for tenant in tenants:
            with tenant_scope(tenant.id):
                found = verified(tenant.id, known.get(tenant.id))
            broken += bool(found.fault)
            said = f"broken. {found.fault}" if found.fault else f"{found.entries} entries, whole."
            self.stdout.write(f"{tenant.slug}: {said}")
            heads[str(tenant.id)] = f"{found.head.number}:{found.head.digest.hex()}"
        gone = [] if options["tenant"] else [str(tenant) for tenant in known if str(tenant) not in heads]
        for tenant_id in gone:
            self.stdout.write(
                f"{tenant_id}: broken. Its head was noted earlier, and there is no such tenant."
            )
        broken += len(gone)
        if broken:
            raise CommandError(f"{broken} of {len(heads) + len(gone)} chains do not fit.", returncode=1)
        if options["heads_to"]:
            options["heads_to"].write_text(json.dumps(heads, indent=2) + "\n", encoding="utf-8")


def _read(file: Path) -> dict[UUID, Head]:
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
        split = {UUID(tenant): head.split(":") for tenant, head in noted.items()}
        return {
            tenant: Head(int(number), bytes.fromhex(digest)) for tenant, (number, digest) in split.items()
        }
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise CommandError(f"{file} holds no heads that --heads-to wrote: {error}") from error
