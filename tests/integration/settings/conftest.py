"""One OpenBao made ready by ``bootstrap_vault``, and the environment of a process that uses it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import pytest

from settings import bootstrap_vault
from settings.vault import SecretReader, VaultConnection
from tests.integration.settings.openbao import HOST, OpenBao, free_port

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Installation:
    """What an operator has in front of them: a Vault, the names that a process needs, and ``manage.py``."""

    vault: OpenBao
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(
        self, *command: str, environment: Mapping[str, str] | None = None, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs Python with *command* and nothing in its environment but this installation's names."""
        process = self.start(*command, environment=environment)
        output, errors = process.communicate(input=stdin, timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def start(self, *command: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """The same without waiting for its end."""
        ours = self.environment if environment is None else environment
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **ours},
        )

    def manage(self, *command: str, **more) -> subprocess.CompletedProcess[str]:
        return self.run("manage.py", *command, **more)

    def bootstrap(self, *more: str) -> subprocess.CompletedProcess[str]:
        return self.manage("bootstrap_vault", "--directory", str(self.folder / "login"), *more)

    def without(self, *names: str) -> dict[str, str]:
        return {name: text for name, text in self.environment.items() if name not in names}

    def with_(self, **more: str) -> dict[str, str]:
        return {**self.environment, **more}


@pytest.fixture(scope="session")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    server = OpenBao(tmp_path_factory.mktemp("openbao"))
    yield server
    server.stop()


def bootstrap(here: Installation) -> None:
    """What ``here.bootstrap()`` does, without the second that a process of its own takes."""
    arguments = argparse.ArgumentParser()
    bootstrap_vault.add_arguments(arguments)
    with mock.patch.dict(os.environ, here.environment, clear=True):
        bootstrap_vault.run(
            arguments.parse_args(["--directory", str(here.folder / "login")]), lambda line: None
        )


@pytest.fixture
def installation(vault: OpenBao, tmp_path: Path) -> Installation:
    """A mount of its own on the shared server, bootstrapped, for one story."""
    mount = f"soma-{tmp_path.name[-40:]}".replace("_", "-").lower()
    here = Installation(vault, tmp_path)
    here.environment |= {
        "SA01_DEPLOYMENT_MODE": "STANDALONE",
        "SA01_DATA_DIR": str(tmp_path / "data"),
        "SA01_PUBLIC_URL": "http://agents.example.org",
        "SA01_ALLOWED_HOSTS": "agents.example.org",
        "SA01_SECURE_COOKIES": "false",
        "SA01_GATEWAY_HOST": "gateway.example.org",
        "SA01_GATEWAY_PORT": "20080",
        "SA01_DB_HOST": HOST,
        "SA01_DB_PORT": str(free_port()),
        "SA01_DB_NAME": "soma",
        "SA01_DB_USER": "soma_app",
        "SA01_DB_OWNER_USER": "soma_owner",
        "SA01_VALKEY_HOST": HOST,
        "SA01_VALKEY_PORT": str(free_port()),
        "SA01_VAULT_ADDR": vault.address,
        "SA01_VAULT_AUTH": "approle",
        "SA01_VAULT_MOUNT": mount,
        "SA01_VAULT_BOOT_SECONDS": "0",
        "SA01_VAULT_OPERATOR_TOKEN_FILE": str(vault.operator_token_file),
    }
    bootstrap(here)
    here.environment["SA01_VAULT_ROLE_ID"] = (tmp_path / "login" / "app.role-id").read_text().strip()
    here.environment["SA01_VAULT_SECRET_ID_FILE"] = str(tmp_path / "login" / "app.secret-id")
    return here


@pytest.fixture
def connection(installation: Installation) -> VaultConnection:
    names = installation.environment
    return VaultConnection(
        address=names["SA01_VAULT_ADDR"],
        auth="approle",
        mount=names["SA01_VAULT_MOUNT"],
        role_id=names["SA01_VAULT_ROLE_ID"],
        secret_id_file=Path(names["SA01_VAULT_SECRET_ID_FILE"]),
    )


@pytest.fixture
def open_reader() -> Iterator[Callable[[VaultConnection], SecretReader]]:
    readers: list[SecretReader] = []

    def make(connection: VaultConnection) -> SecretReader:
        readers.append(SecretReader(connection))
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()
