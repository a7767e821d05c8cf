"""``manage.py create_api_key``: a key for a program."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.admin.services import OPERATOR, key_issue
from somaagent.commands import PlatformCommand
from somaagent.tenancy.models import Scope


class Command(PlatformCommand):
    help = "Make an API key. It is shown this one time."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", default=OPERATOR)
        parser.add_argument("--name", default="command line")
        parser.add_argument(
            "--scope",
            action="append",
            choices=Scope.values,
            help="May be given more than once; read and write by default.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        text = key_issue(username=options["user"], name=options["name"], scopes=options["scope"])
        self.stdout.write(f"API key: {text}")
