"""``manage.py seed``: the rows that a new platform begins with."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandParser

from apps.admin.services import platform_seed
from somaagent.commands import PlatformCommand


class Command(PlatformCommand):
    help = "Make the first tenant, operator, API key, model profile and agent where they are missing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print the credentials as one line of JSON.")
        parser.add_argument(
            "--local-model-url", help="Base URL of the local model; its profile is kept at it."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        seeded = platform_seed(local_model_url=options["local_model_url"])
        if options["json"]:
            facts = {"operator": seeded.operator, "password": seeded.password, "api_key": seeded.api_key}
            self.stdout.write(json.dumps(facts))
            return
        self.stdout.write(f"operator: {seeded.operator}")
        self.stdout.write(f"one-time password: {seeded.password or '(was shown when it was made)'}")
        self.stdout.write(f"API key: {seeded.api_key or '(was shown when it was made)'}")
