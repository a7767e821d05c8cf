"""``manage.py tenant``: move a tenant from one installation to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.admin.portable.arrival import tenant_import
from apps.admin.portable.departure import tenant_export


class Command(BaseCommand):
    help = "Write a tenant into one archive, or bring one in."

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_subparsers(dest="what", required=True)
        export = what.add_parser("export", help="Everything that a tenant owns, as one file.")
        export.add_argument("slug", help="The tenant's short name.")
        export.add_argument("file", type=Path, help="The archive. It must not be there yet.")
        export.add_argument(
            "--secrets-key",
            type=Path,
            help="Take secrets of the tenant's own along, under a key that is written to this new file.",
        )
        arrival = what.add_parser("import", help="A tenant out of its archive.")
        arrival.add_argument("file", type=Path, help="The archive.")
        arrival.add_argument("--slug", help="Another short name for it here.")
        arrival.add_argument("--secrets-key", type=Path, help="The file of the archive's key.")

    def handle(self, *args: Any, **options: Any) -> None:
        key_file = options["secrets_key"]
        if options["what"] == "export":
            manifest = tenant_export(
                slug=options["slug"], path=options["file"], key_file=key_file, say=self.stdout.write
            )
        else:
            manifest = tenant_import(
                path=options["file"], slug=options["slug"], key_file=key_file, say=self.stdout.write
            )
        for left in manifest.secrets_left:
            self.stdout.write(self.style.WARNING(f"A secret did not go along; set it again: {left}"))
