"""OpenBao, embedded: Raft storage, unsealed by a key file, set up once and then left as it is."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from somaagent.embedded import wheels
from somaagent.embedded.addresses import loopback
from somaagent.embedded.errors import EmbeddedError, NotReady
from somaagent.embedded.files import private_directory, write_private
from somaagent.embedded.folder import PROJECT_ROOT, DataFolder
from somaagent.embedded.launch import Command, plain_environment, run

if TYPE_CHECKING:
    import requests

_KEY_BYTES = 32
_INIT_SECONDS = 60.0
_UNSEAL_SECONDS = 30.0
_BOOTSTRAP_SECONDS = 60.0
_HEALTHY = 200
_NOT_INITIALISED = 501
_STATES = {
    429: "it is not the active node yet",
    _NOT_INITIALISED: "it is not set up yet",
    503: "it is sealed",
}


class OpenBao:
    """``configure`` also runs ``manage.py bootstrap_vault``, which makes the secrets and the AppRoles."""

    name = "openbao"

    def __init__(self, folder: DataFolder, *, db_user: str, db_owner: str) -> None:
        self._folder = folder
        self._path = folder.path / self.name
        self._roles = {"SA01_DB_USER": db_user, "SA01_DB_OWNER_USER": db_owner}
        self._raft = self._path / "raft"
        self._seal_key = self._path / "seal.key"
        self._started_setup = self._path / "setup-started"
        self._configuration = self._path / "openbao.json"

    def prepare(self) -> None:
        self._folder.of(self.name)
        if self._started_setup.exists() and not self._folder.root_token_file.exists():
            # A set-up that was cut off: nobody has its keys, and nothing was put into it yet.
            shutil.rmtree(self._raft, ignore_errors=True)
            self._started_setup.unlink()
        private_directory(self._raft)
        if not self._seal_key.exists():
            if any(self._raft.iterdir()):
                raise EmbeddedError(
                    f"{self._seal_key} is gone, and without it nobody can open {self._raft}: restore it."
                )
            write_private(self._seal_key, secrets.token_bytes(_KEY_BYTES))
        write_private(self._configuration, json.dumps(self._configured(), indent=1))

    def command(self) -> Command:
        return Command(
            argv=[str(wheels.openbao()), "server", f"-config={self._configuration}"],
            env=plain_environment(self._path),
            cwd=self._path,
            death_signal=signal.SIGKILL,  # its Raft log stands a kill; a polite stop takes seconds
            pid_file=self._folder.pid_file(self.name),
        )

    def ready(self) -> None:
        status = self._status()
        if status == _NOT_INITIALISED and not self._folder.root_token_file.exists():
            return  # it answers; ``configure`` sets it up
        if status != _HEALTHY:
            raise NotReady(_STATES.get(status, f"it answers with status {status}"))

    def configure(self) -> None:
        if not self._folder.root_token_file.exists():
            self._set_up()
        self._await_active()
        run(
            Command(
                argv=[
                    sys.executable,
                    str(PROJECT_ROOT / "manage.py"),
                    "bootstrap_vault",
                    "--directory",
                    str(self._folder.credentials),
                    "--model-secret",
                    "local",
                ],
                env=plain_environment(self._path) | self._address() | self._roles | self._operator(),
                cwd=PROJECT_ROOT,
                death_signal=signal.SIGKILL,
            ),
            timeout=_BOOTSTRAP_SECONDS,
            what="manage.py bootstrap_vault",
        )

    def environment(self) -> dict[str, str]:
        credentials = self._folder.credentials
        found = self._address() | {
            "SA01_VAULT_AUTH": "approle",
            "SA01_VAULT_SECRET_ID_FILE": str(credentials / "app.secret-id"),
            "SA01_VAULT_OWNER_SECRET_ID_FILE": str(credentials / "owner.secret-id"),
        }
        for name, file in (("SA01_VAULT_ROLE_ID", "app"), ("SA01_VAULT_OWNER_ROLE_ID", "owner")):
            path = credentials / f"{file}.role-id"
            if path.exists():  # from the first ``configure`` on
                found[name] = path.read_text(encoding="utf-8").strip()
        return found

    def _address(self) -> dict[str, str]:
        return {"SA01_VAULT_ADDR": self._folder.vault_address}

    def _operator(self) -> dict[str, str]:
        return {"SA01_VAULT_OPERATOR_TOKEN_FILE": str(self._folder.root_token_file)}

    def _configured(self) -> dict[str, Any]:
        cluster = f"{loopback()}:{self._folder.ports.of('openbao_cluster')}"
        return {
            "ui": False,
            "log_format": "json",
            "api_addr": self._folder.vault_address,
            "cluster_addr": f"http://{cluster}",
            "listener": {
                "tcp": {
                    "address": f"{loopback()}:{self._folder.ports.of('openbao')}",
                    "cluster_address": cluster,
                    "tls_disable": True,
                }
            },
            # One node has no one to wait for: the shortest election time-outs.
            "storage": {
                "raft": {"path": str(self._raft), "node_id": "somaagent", "performance_multiplier": "1"}
            },
            "seal": {"static": {"current_key_id": "1", "current_key": f"file://{self._seal_key}"}},
        }

    def _set_up(self) -> None:
        import hvac.exceptions  # noqa: PLC0415 - a quarter of a second, and only the first start needs it
        import requests  # noqa: PLC0415 - comes with hvac

        if self._status() != _NOT_INITIALISED:
            raise EmbeddedError(
                f"OpenBao in {self._path} is set up, but {self._folder.root_token_file} is gone: restore it."
            )
        write_private(self._started_setup, "")
        try:
            made = self._folder.vault(seconds=_INIT_SECONDS, login=False).sys.initialize(
                recovery_shares=1, recovery_threshold=1
            )
        except (hvac.exceptions.VaultError, requests.RequestException) as error:
            raise EmbeddedError(f"OpenBao could not be set up: {error}") from error
        write_private(self._path / "recovery-keys", "\n".join(made["recovery_keys_base64"]) + "\n")
        write_private(self._folder.root_token_file, made["root_token"] + "\n")
        self._started_setup.unlink()

    def _await_active(self) -> None:
        until = time.monotonic() + _UNSEAL_SECONDS
        while True:
            try:
                return self.ready()
            except NotReady as reason:
                if time.monotonic() > until:
                    raise EmbeddedError(f"OpenBao did not become active: {reason}") from reason
            time.sleep(0.05)

    def _status(self) -> int:
        """The HTTP status of its own idea of its health. Raises ``NotReady`` when it does not answer."""
        import requests  # noqa: PLC0415 - as above

        try:
            answer: requests.Response = requests.get(
                f"{self._folder.vault_address}/v1/sys/health", timeout=1.0
            )
        except requests.RequestException as error:
            raise NotReady(f"it does not answer ({type(error).__name__})") from error
        return answer.status_code
