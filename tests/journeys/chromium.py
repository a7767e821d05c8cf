"""A Chromium for the journeys: one that is installed, else Debian's package, else Playwright's own.

Rather one without windows (the headless shell): the same engine, and a visit takes a third of the time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

_SHELL = "chromium-headless-shell"
_NAMES = (_SHELL, "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_INSTALL_SECONDS = 600
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def path() -> str | None:
    """Where it is; None says that Playwright has its own. Raises what the installers said."""
    # Two processes of one run may look for it at once; one of them installs.
    with FileLock(Path(tempfile.gettempdir()) / "soma-test-chromium.lock"):
        return _found_or_installed()


def _found_or_installed() -> str | None:
    if found := _installed():
        return found
    complaints = []
    if os.geteuid() == 0 and shutil.which("apt-get"):
        complaints.append(_run("apt-get", "update"))
        complaints.append(_run("apt-get", "install", "-y", "--no-install-recommends", _SHELL))
        if found := _installed():
            return found
    complaint = _run(sys.executable, "-m", "playwright", "install", _SHELL)
    if complaint:
        raise RuntimeError("No Chromium can be had.\n" + "\n".join([*complaints, complaint]))
    return None


def _installed() -> str | None:
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


def _run(*command: str) -> str:
    """Empty when it worked, else what it said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    return "" if done.returncode == 0 else f"{' '.join(command)}: {done.stdout[-500:]}{done.stderr[-500:]}"
