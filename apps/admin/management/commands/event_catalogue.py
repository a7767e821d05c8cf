"""``manage.py event_catalogue``: the types of domain events, for ``docs/``."""

from __future__ import annotations

from typing import Any

import orjson
from django.core.management.base import CommandParser

from somaagent.commands import PlatformCommand
from somaagent.tenancy.outbox.shown import markdown, schema


class Command(PlatformCommand):
    help = "Print every type of domain event and what it holds, as docs/events.md has it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--schema", action="store_true", help="As JSON Schema, as docs/events.schema.json."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        text = (
            orjson.dumps(schema(), option=orjson.OPT_INDENT_2).decode() if options["schema"] else markdown()
        )
        self.stdout.write(text.rstrip())
