"""``manage.py outbox_replay``: publish events again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from somaagent.commands import PlatformCommand
from somaagent.tenancy.models import Tenant
from somaagent.tenancy.outbox.publishing import events_replay


class Command(PlatformCommand):
    help = "Publish events again that are still kept, in their old order and before newer ones."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", required=True, help="ISO 8601; UTC where it has no offset.")
        parser.add_argument("--tenant", help="The slug of one tenant; all by default.")

    def handle(self, *args: Any, **options: Any) -> None:
        since = _moment(options["since"])
        tenants = Tenant.objects.order_by("slug")
        if options["tenant"]:
            tenants = tenants.filter(slug=options["tenant"])
            if not tenants:
                raise CommandError(f"There is no tenant {options['tenant']}.")
        for tenant in tenants:
            count = events_replay(tenant_id=tenant.id, since=since)
            self.stdout.write(f"{tenant.slug}: {count} events are published again.")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"--since takes a moment such as 2026-11-01T08:00:00Z, not {text}.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
