"""``manage.py operator_password``: a new one-time password."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.admin.services import OPERATOR, password_reset
from somaagent.commands import PlatformCommand


class Command(PlatformCommand):
    help = "Give a user a new one-time password and end all their browser sessions."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", nargs="?", default=OPERATOR)

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"one-time password: {password_reset(username=options['username'])}")
