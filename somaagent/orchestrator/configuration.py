"""What the orchestrator needs of the settings, handed in by the entry point.

The orchestrator does not import the settings package. Some settings it needs before the secrets can be had
(where the data directory is, where Vault is); the rest it reads from ``django.conf.settings`` once they load.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class Configuration:
    """``plain`` gives the value of a setting that is not secret, from the environment or its default.

    ``owner_environment`` turns our environment into that of a process that migrates the database;
    ``settings_module`` names the Django settings of the mode. Both end the process when they cannot.
    """

    plain: Callable[[str], Any]
    owner_environment: Callable[[Mapping[str, str]], dict[str, str]]
    settings_module: Callable[[], str]

    def load(self) -> None:
        """Read all settings, secrets too. Raises ``SystemExit`` that tells every problem."""
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", self.settings_module())
        _ = settings.SECRET_KEY  # the first attribute that is asked for loads them

    @property
    def data_dir(self) -> Path:
        return Path(self.plain("SA01_DATA_DIR")).absolute()

    @property
    def run_dir(self) -> Path:
        return self.data_dir / "run"

    @property
    def log_dir(self) -> Path:
        return self.data_dir / "logs"


def private_directory(path: Path) -> Path:
    """Make a directory that its owner alone can read; gives it back."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path
