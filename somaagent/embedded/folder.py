"""What the servers of one data directory share: its folders, its ports, and how to read their passwords."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from somaagent.embedded import predecessor
from somaagent.embedded.addresses import loopback
from somaagent.embedded.errors import EmbeddedError
from somaagent.embedded.files import private_directory, remove_leftovers
from somaagent.embedded.ports import Ports

if TYPE_CHECKING:
    import hvac

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
VAULT_MOUNT = "somaagent"
_VAULT_SECONDS = 10.0


class DataFolder:
    """One data directory. ``of`` and ``pid_file`` make the folders that they name; the rest makes nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.ports = Ports(self.path / "ports.json")

    @property
    def credentials(self) -> Path:
        """The folder of the AppRoles' role ids and secret ids."""
        return self.path / "credentials"

    @property
    def root_token_file(self) -> Path:
        return self.path / "openbao" / "root-token"

    @property
    def vault_address(self) -> str:
        return f"http://{loopback()}:{self.ports.of('openbao')}"

    def of(self, server: str) -> Path:
        """The server's own folder."""
        folder = private_directory(self.path / server)
        remove_leftovers(folder)
        return folder

    def pid_file(self, server: str) -> Path:
        return private_directory(self.path / "run") / f"{server}.pid"

    def end_predecessors(self) -> None:
        """End the servers that an earlier start left, if it did. Call while the lock is held."""
        predecessor.end_all(self.path / "run")

    def vault(self, *, seconds: float = _VAULT_SECONDS, login: bool = True) -> hvac.Client:
        """A client of the embedded OpenBao, logged in as its operator unless *login* is false."""
        import hvac  # noqa: PLC0415 - a quarter of a second, and containers that only spawn do without it

        token = self.root_token_file.read_text(encoding="utf-8").strip() if login else None
        return hvac.Client(url=self.vault_address, token=token, timeout=seconds)

    def secret(self, path: str, key: str) -> str:
        """A secret of the embedded OpenBao. Raises ``EmbeddedError`` when it does not give it."""
        import hvac.exceptions  # noqa: PLC0415 - as above
        import requests  # noqa: PLC0415 - comes with hvac

        where = f"{VAULT_MOUNT}/{path} {key}"
        try:
            answer: dict[str, Any] = self.vault().secrets.kv.v2.read_secret_version(
                path=path, mount_point=VAULT_MOUNT, raise_on_deleted_version=True
            )
            value = answer["data"]["data"].get(key)
        except hvac.exceptions.InvalidPath:
            value = None
        except (hvac.exceptions.VaultError, requests.RequestException, OSError) as error:
            raise EmbeddedError(f"The embedded OpenBao did not give {where}: {error}") from error
        if not isinstance(value, str) or not value:
            raise EmbeddedError(
                f"The embedded OpenBao has no {where}. Make it anew: "
                f"SA01_ENV_FILE={self.path / 'environment'} {sys.executable} manage.py bootstrap_vault"
            )
        return value
