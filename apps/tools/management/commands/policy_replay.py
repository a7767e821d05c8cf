"""``manage.py policy_replay``: what another policy would have decided on the calls that are on record."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentTypeError
from collections.abc import Iterable
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from apps.tools import replay
from apps.tools.policy import judging
from apps.tools.policy.engines import Engine
from apps.tools.policy.failures import Failure, PolicyError
from apps.tools.replay import Replayed
from somaagent.background import run_coroutine
from somaagent.commands import PlatformCommand
from somaagent.tenancy.models import Tenant, User
from somaagent.tenancy.scope import tenant_scope

MOST = 1_000
MASKED = (
    "The record has no secrets (they are masked), and of long texts only the beginning: rules that look at "
    "those may have said something else of the calls themselves."
)
# A policy that says nothing, or nothing sensible, of one call has been asked: it would have denied it.
_SAYS_NOTHING = {Failure.UNDEFINED, Failure.UNINTELLIGIBLE}
_PIPE_WIDTH = 200
_AGE = re.compile(r"(?P<number>\d{1,6})(?P<unit>[hd])\Z")


def moment(text: str) -> datetime:
    """ISO 8601, in UTC where it names no offset; or an age such as ``12h``, ``7d``."""
    try:
        if age := _AGE.match(text):
            return datetime.now(UTC) - timedelta(hours=int(age["number"]) * (24 if age["unit"] == "d" else 1))
        parsed = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise ArgumentTypeError(
            f"{text!r} is no time: write 2026-01-31, 2026-01-31T08:00Z, 12h or 7d."
        ) from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number from 1.")
    return int(text)


@dataclass(slots=True)
class Found:
    """What came of it: the rows to be shown, and how many there were of each kind."""

    shows_all: bool
    shown: list[Replayed] = field(default_factory=list)
    replayed: int = 0
    changed: int = 0
    unanswered: int = 0

    def add(self, each: Replayed) -> None:
        self.replayed += 1
        self.changed += each.is_changed
        self.unanswered += not each.would_be.policy
        if self.shows_all or each.is_changed:
            self.shown.append(each)

    def summary(self) -> str:
        same = self.replayed - self.changed
        unanswered = f" unanswered={self.unanswered}" if self.unanswered else ""
        return f"replayed={self.replayed} same={same} changed={self.changed}{unanswered}"


class Command(PlatformCommand):
    help = (
        "Ask a policy about the decisions on record, and show those that it would make otherwise. Exits 0 "
        "whatever it finds; 1 where the policy cannot be asked."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dir", type=Path, help="The policy's folder; the one in force by default.")
        parser.add_argument("--tenant", metavar="SLUG", help="One organisation's decisions; all by default.")
        parser.add_argument("--since", type=moment, help="An ISO 8601 time, or an age such as 12h or 7d.")
        parser.add_argument(
            "--limit",
            type=positive,
            default=MOST,
            metavar="N",
            help="Each organisation's newest N decisions (%(default)s).",
        )
        parser.add_argument("--all", action="store_true", help="Show those that stay the same as well.")

    def handle(self, *args: Any, **options: Any) -> None:
        tenants = _tenants(options["tenant"])
        directory: Path | None = options["dir"]
        try:
            with closing(judging.embedded(directory)) if directory else nullcontext() as engine:
                policy = _policy(engine)
                found = self._asked(tenants, engine, options)
        except PolicyError as error:
            raise CommandError(str(error)) from error
        self._show(found.shown)
        by = "regopy" if directory else judging.engine_name()
        self.stdout.write(f"policy: {directory or 'in force'}, by {by}: {policy}")
        self.stdout.write(MASKED)
        self.stdout.write(found.summary())

    def _asked(self, tenants: Iterable[Tenant], engine: Engine | None, options: dict[str, Any]) -> Found:
        counts = {}
        for tenant in tenants:
            with tenant_scope(tenant.id):
                counts[tenant.id] = replay.decision_count(since=options["since"])
        limit: int = options["limit"]
        total = sum(min(count, limit) for count in counts.values())
        found = Found(shows_all=options["all"])
        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task("decisions", total=total)

            async def ask(tenant_id: UUID) -> None:
                asked = replay.replayed(tenant_id, engine=engine, since=options["since"], limit=limit)
                async for each in asked:
                    found.add(each)
                    bar.advance(task)

            for tenant_id in counts:
                run_coroutine(ask(tenant_id))
        if older := sum(counts.values()) - total:
            self.stdout.write(f"{older} older decisions were not asked about: --limit asks about more.")
        return found

    def _show(self, shown: list[Replayed]) -> None:
        if not shown:
            return
        users = {each.was.user_id for each in shown}
        names = dict(User.objects.filter(id__in=users).values_list("id", "username"))
        table = Table(box=box.SIMPLE)
        for column in ("time", "tool", "user", "was", "would be", "reason"):
            table.add_column(column, overflow="fold")
        for each in shown:
            table.add_row(*_cells(each, names), style="yellow" if each.is_changed else None)
        width = None if sys.stdout.isatty() else _PIPE_WIDTH
        Console(file=self.stdout, highlight=False, markup=False, width=width).print(table)  # type: ignore[arg-type]  # it has write and flush, and no more is used


def _cells(each: Replayed, names: dict[UUID, str]) -> tuple[str, ...]:
    was, would_be = each.was, each.would_be
    return (
        was.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        was.tool,
        names.get(was.user_id, str(was.user_id)),
        was.effect + ("" if was.policy else " (no answer)"),
        would_be.effect.value + ("" if would_be.policy else " (no answer)"),
        would_be.reason,
    )


def _tenants(slug: str | None) -> list[Tenant]:
    if slug is None:
        return list(Tenant.objects.order_by("id"))
    found = list(Tenant.objects.filter(slug=slug))
    if not found:
        raise CommandError(f"There is no organisation {slug}.")
    return found


def _policy(engine: Engine | None) -> str:
    """Which policy it is, once it has shown that it can be asked. Raises ``PolicyError`` where it cannot."""
    try:
        return run_coroutine(judging.policy_of(engine))
    except PolicyError as error:
        if error.failure not in _SAYS_NOTHING:
            raise
        return f"it denies a member's call of a tool of low risk: {error.reason}"
