"""The entry point: the one place of the orchestrator that knows the settings package."""

from __future__ import annotations

import os
import sys
from typing import Any

import settings
from settings import environment, registry

from .cli import main
from .configuration import Configuration


def plain(name: str) -> Any:
    """A setting that is not secret: its value in the environment, else its default. Raises ``SystemExit``."""
    setting = registry.by_name()[name]
    text = environment.read(os.environ).text(name)
    if not text:
        return setting.default
    try:
        return setting.kind.parse(text)
    except ValueError as error:
        sys.exit(f"{name} {error}.")


if __name__ == "__main__":
    sys.exit(
        main(
            sys.argv[1:],
            Configuration(
                plain=plain,
                owner_environment=environment.owner_environment,
                settings_module=settings.module_for_environment,
            ),
        )
    )
