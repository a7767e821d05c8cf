#!/usr/bin/env python
"""Commands: Django's, the apps', and those about the configuration, which work also when it is broken."""

from __future__ import annotations

import os
import sys

import settings
from settings import cli


def main(argv: list[str]) -> int:
    """Runs the command in *argv* (without the program's name) and returns the exit status."""
    if cli.concerns(argv):
        return cli.main(argv)
    if cli.asks_for_overview(argv):
        print(cli.overview())
    cli.become_owner_for(argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings.module_for_environment())
    # Loads Django, which none of the commands above needs.
    from django.core.management import execute_from_command_line  # noqa: PLC0415  see above

    execute_from_command_line(["manage.py", *argv])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
