"""Real OpenBao, PostgreSQL and Valkey for one run of the tests, thrown away after it.

``SOMA_TEST_MODE`` says as which of the two modes, STANDALONE without it.

``python -m tests.stack -- COMMAND…`` runs a command inside such a stack: its environment has every ``SA01_*``
setting, a migrated database, and ``SOMA_TEST_STACK``, by which tests inside find the stack and use it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from filelock import FileLock

from settings import MODULES
from settings.environment import owner_environment
from somaagent.embedded import Stack
from somaagent.embedded.stack import DATABASE
from tests.servers import started
from tests.tls import Certificate

MARKER = "SOMA_TEST_STACK"
MODE = "SOMA_TEST_MODE"
PROJECT_ROOT = Path(__file__).resolve().parent.parent
_MIGRATED = PROJECT_ROOT / ".cache" / "migrated"
_MANAGE_SECONDS = 600.0
_LIKE_A_SHELL = 128


@dataclass(frozen=True, slots=True)
class RunningStack:
    """A stack that runs. ``environment`` is all that a process of ours needs besides PATH and the like. By
    it, they trust ``certificate``, with which the tests' own servers speak HTTPS.
    """

    data_dir: Path
    stack: Stack
    environment: dict[str, str]
    certificate: Certificate

    @classmethod
    def of(cls, stack: Stack) -> RunningStack:
        found = stack.environment() | {MARKER: str(stack.data_dir)}
        found["DJANGO_SETTINGS_MODULE"] = "tests.django_settings"
        found["SA01_DEPLOYMENT_MODE"] = mode()
        certificate = Certificate.kept_in(stack.data_dir / "tls")
        found |= certificate.environment
        if is_saas():
            found |= {
                "SA01_PUBLIC_URL": found["SA01_PUBLIC_URL"].replace("http:", "https:"),
                "SA01_SECURE_COOKIES": "true",
                "SA01_BEHIND_TLS_PROXY": "true",
            }
        return cls(stack.data_dir, stack, found, certificate)

    @property
    def public_certificate(self) -> Certificate | None:
        """What gateways' public address is served with; None where that is plain HTTP."""
        return self.certificate if is_saas() else None

    @property
    def owner_environment(self) -> dict[str, str]:
        """The environment of a process that works as the owner of the tables."""
        return owner_environment(foreign_environment() | self.environment)

    @property
    def operator_token_file(self) -> Path:
        """What ``manage.py secret`` and ``bootstrap_vault`` log in with (SA01_VAULT_OPERATOR_TOKEN_FILE)."""
        return self.data_dir / "openbao" / "root-token"

    @contextlib.contextmanager
    def superuser(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """A connection to the tests' database that may do everything, in autocommit."""
        with self.stack.postgres.superuser(DATABASE) as connection:
            yield connection


def mode() -> str:
    """As which mode this run is. Raises ``ValueError`` for one that there is not."""
    chosen = os.environ.get(MODE) or "STANDALONE"
    if chosen not in MODULES:
        raise ValueError(f"{MODE} is {chosen!r}; it takes {' or '.join(MODULES)}.")
    return chosen


def is_saas() -> bool:
    """Whether what differs by mode (HTTPS, and what browsers are told of it) is SAAS's here."""
    return mode() == "SAAS"


def foreign_environment() -> dict[str, str]:
    """Our environment without any setting of SomaAgent's: the tests bring their own."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SA01_", "DJANGO_"))}


def adopt(running: RunningStack) -> None:
    """Make the stack's settings this process's and its children's, in place of all others."""
    forget_settings()
    os.environ.update(running.environment)


def forget_settings() -> None:
    """Whatever the shell says of SomaAgent's settings is not for the tests."""
    for name in os.environ.keys() - foreign_environment().keys():
        del os.environ[name]


@contextlib.contextmanager
def running_stack(*, migrated: bool = True) -> Iterator[RunningStack]:
    """A stack of one's own or, inside ``python -m tests.stack``, the one that is there. Main thread only."""
    if MARKER in os.environ:
        there = Path(os.environ[MARKER])
        if not (there / "environment").exists():
            raise RuntimeError(f"{MARKER} names {there}, where no stack is: unset it.")
        yield RunningStack.of(Stack(there, model=False))
        return
    forget_settings()
    with tempfile.TemporaryDirectory(prefix="soma-test-") as folder:
        stack = Stack(Path(folder) / "data", model=False, durable=False)
        with stack.lock():
            if migrated:
                lay_in_migrated(stack)
            with started(stack):
                yield RunningStack.of(stack)


def lay_in_migrated(stack: Stack) -> None:
    """Give a stack that has never started a database in which every migration is applied.

    It is a copy of the data of a PostgreSQL that was stopped, made anew whenever our sources are others: a
    run has several stacks, and migrating takes a process ten times as long as copying.
    """
    _MIGRATED.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(_MIGRATED / "lock"):
        wanted = _MIGRATED / _digest_of_sources()
        if not wanted.exists():
            for stale in set(_MIGRATED.iterdir()) - {_MIGRATED / "lock"}:
                shutil.rmtree(stale)
            _migrate_into(wanted)
        shutil.copytree(wanted, _data_of(stack))


def _migrate_into(wanted: Path) -> None:
    unfinished = wanted.with_suffix(".unfinished")
    with tempfile.TemporaryDirectory(prefix="soma-test-") as folder:
        stack = Stack(Path(folder) / "data", model=False, durable=False)
        with stack.lock():
            with started(stack):
                manage(RunningStack.of(stack), "migrate", "--no-input", "--verbosity=0")
            shutil.copytree(_data_of(stack), unfinished)
    unfinished.rename(wanted)


def _data_of(stack: Stack) -> Path:
    return stack.data_dir / stack.postgres.name / "data"


def _digest_of_sources() -> str:
    """Of all that a migration may follow from: our code, and the packages with apps of their own."""
    digest = hashlib.sha256((PROJECT_ROOT / "requirements" / "dev.txt").read_bytes())
    for package in ("apps", "settings", "somaagent", "tests/stack.py"):
        there = PROJECT_ROOT / package
        for path in sorted(there.rglob("*.py")) if there.is_dir() else [there]:
            digest.update(str(path.relative_to(PROJECT_ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def manage(running: RunningStack, *arguments: str, settings: Mapping[str, str] | None = None) -> str:
    """Run a command of manage.py as the owner of the tables, with ``settings`` besides the stack's own. Gives
    what it printed; raises what it said.
    """
    done = subprocess.run(
        [sys.executable, str(PROJECT_ROOT / "manage.py"), *arguments],
        env=running.owner_environment | dict(settings or {}),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=_MANAGE_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"manage.py {' '.join(arguments)}: status {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def main(arguments: list[str]) -> int:
    """Run the command after ``--`` inside a stack; its exit status."""
    if arguments[:1] != ["--"] or len(arguments) == 1:
        print("usage: python -m tests.stack -- COMMAND [ARGUMENT…]", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(_LIKE_A_SHELL + number))
    begun = time.monotonic()
    with running_stack() as running:
        print(f"tests.stack: ready after {time.monotonic() - begun:.1f} s", file=sys.stderr)
        status = subprocess.run(
            arguments[1:], env=foreign_environment() | running.environment, check=False
        ).returncode
    return status if status >= 0 else _LIKE_A_SHELL - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
