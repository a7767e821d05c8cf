"""``manage.py rotate_tenant_key``: a new version of the key that tenants' own secrets are sealed under."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from settings.operating import Operating
from settings.vault_transit import TRANSIT_KEY, transit_mount


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser  # it takes none


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Raises what ``settings.cli`` tells the operator."""
    del arguments
    operator = Operating.log_in(os.environ).operator
    version = operator.rotate_transit_key()
    say(f"{transit_mount(operator.mount)}/{TRANSIT_KEY} has version {version}.")
    say("What is sealed an hour from now is sealed under it; what was sealed before still opens.")
    return 0
