"""``manage.py tenant``: move a tenant from one installation to another, or erase it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from apps.admin.portable.arrival import tenant_import
from apps.admin.portable.departure import tenant_export
from apps.admin.portable.erasure import report_verify, tenant_erase
from somaagent.commands import PlatformCommand


class Command(PlatformCommand):
    help = "Write a tenant into one archive, bring one in, or erase one."

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
        erase = what.add_parser("erase", help="All of a suspended tenant, for ever. Writes a signed report.")
        erase.add_argument("slug", help="The tenant's short name.")
        erase.add_argument("report", type=Path, help="The report. It must not be there yet.")
        erase.add_argument("--for-ever", required=True, metavar="SLUG", help="The short name once more.")
        verify = what.add_parser("verify-report", help="Whether this installation wrote a report so.")
        verify.add_argument("report", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["what"] == "erase":
            self._erase(options["slug"], options["for_ever"], options["report"])
            return
        if options["what"] == "verify-report":
            told = report_verify(options["report"])
            self.stdout.write(
                f"{told['erased']['slug']} was erased at {told['at']}; the report is as it was written."
            )
            return
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

    def _erase(self, slug: str, again: str, report: Path) -> None:
        if again != slug:
            raise CommandError(f"--for-ever names {again!r}, not {slug!r}: nothing was erased.")
        try:
            tenant_erase(slug=slug, path=report, say=self.stdout.write)
        except OSError as error:
            raise CommandError(f"The report cannot be written to {report}: {error.strerror}.") from error
        except BaseException:
            report.unlink(missing_ok=True)
            raise
