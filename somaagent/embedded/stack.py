"""All embedded servers of one data directory, what leads to them, and the lock that keeps it to one owner."""

from __future__ import annotations

import os
import socket
from contextlib import AbstractContextManager
from pathlib import Path

from filelock import FileLock, Timeout

from somaagent.embedded.addresses import loopback
from somaagent.embedded.errors import AlreadyRunning, EmbeddedError, NewerSchema
from somaagent.embedded.files import private_directory, remove_leftovers, write_private
from somaagent.embedded.folder import DataFolder
from somaagent.embedded.model import LocalModel
from somaagent.embedded.openbao import OpenBao
from somaagent.embedded.postgres import Postgres
from somaagent.embedded.postgres_roles import Roles
from somaagent.embedded.server import EmbeddedServer
from somaagent.embedded.valkey import Valkey

SCHEMA = (
    1  # raise it when the layout of the data directory changes in a way that older versions would misread
)
DATABASE = "somaagent"
ROLES = Roles(owner="somaagent_owner", app="somaagent_app")

__all__ = ["DATABASE", "ROLES", "SCHEMA", "Stack"]


class Stack:
    """``servers`` stand in the order in which they start. Take ``lock`` before anything else.

    ``model=False`` leaves the local model out; ``durable=False`` is for data that is thrown away.
    """

    def __init__(self, data_dir: Path, *, model: bool = True, durable: bool = True) -> None:
        self._folder = DataFolder(data_dir)
        self.data_dir = self._folder.path
        self.openbao = OpenBao(self._folder, db_user=ROLES.app, db_owner=ROLES.owner)
        self.postgres = Postgres(self._folder, database=DATABASE, roles=ROLES, durable=durable)
        self.valkey = Valkey(self._folder)
        self.model = LocalModel(self._folder) if model else None
        self.servers: tuple[EmbeddedServer, ...] = (self.openbao, self.postgres, self.valkey)
        if self.model:
            self.servers += (self.model,)
        self._lock = FileLock(self.data_dir / "lock", mode=0o600)

    def lock(self) -> AbstractContextManager[object]:
        """Make the data directory ours until the ``with`` that may stand around it ends, or our process does.

        What an earlier start left running is ended. Raises ``AlreadyRunning``, and
        ``NewerSchema`` for a directory that we do not understand.
        """
        private_directory(self.data_dir)
        holder = self.data_dir / "lock.holder"
        try:
            held = self._lock.acquire(blocking=False)
        except Timeout as taken:
            raise AlreadyRunning(self._taken(holder)) from taken
        try:
            self._check_schema()
            write_private(holder, f"{os.getpid()}\n")
            remove_leftovers(self.data_dir)
            self._folder.end_predecessors()
            self._folder.ports.recheck()
        except BaseException:
            self._lock.release()
            raise
        return held

    def environment(self) -> dict[str, str]:
        """Every setting that embedded mode decides, as the environment of our processes; nothing secret.

        It is complete once OpenBao is configured. The same is written to ``environment`` in the data
        directory, with the operator's login besides, for ``SA01_ENV_FILE=… manage.py …``.
        """
        private_directory(self.data_dir)
        port = self._folder.ports.of("gateway")
        found = {
            "SA01_DEPLOYMENT_MODE": os.environ.get("SA01_DEPLOYMENT_MODE") or "STANDALONE",
            "SA01_DATA_DIR": str(self.data_dir),
            "SA01_GATEWAY_HOST": loopback(),
            "SA01_GATEWAY_PORT": str(port),
            "SA01_PUBLIC_URL": f"http://{loopback()}:{port}",
            "SA01_ALLOWED_HOSTS": ",".join(_own_names()),
            "SA01_SECURE_COOKIES": "false",  # a browser on this machine speaks plain HTTP with us
        }
        for server in self.servers:
            found |= server.environment()
        written = found | {"SA01_VAULT_OPERATOR_TOKEN_FILE": str(self._folder.root_token_file)}
        self._write_environment("".join(f"{name}={value}\n" for name, value in sorted(written.items())))
        return found

    def _write_environment(self, text: str) -> None:
        path = self.data_dir / "environment"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_private(path, text)

    def _check_schema(self) -> None:
        path = self.data_dir / "schema"
        if not path.exists():
            write_private(path, f"{SCHEMA}\n")
            return
        text = path.read_text(encoding="utf-8").strip()
        if not text.isdecimal():
            raise EmbeddedError(f"{path} should hold a number and holds {text!r}: restore it.")
        if int(text) > SCHEMA:
            raise NewerSchema(
                f"{self.data_dir} was written by a later version of SomaAgent: its schema is {text}, "
                f"this version knows {SCHEMA}. Use that version, or another directory (SA01_DATA_DIR)."
            )
        if int(text) < SCHEMA:
            write_private(path, f"{SCHEMA}\n")

    def _taken(self, holder: Path) -> str:
        try:
            pid = holder.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            pid = "unknown"  # it has the lock since a moment ago
        return (
            f"SomaAgent is already running on {self.data_dir}, pid {pid}; see {self.data_dir / 'logs'}. "
            "Stop it, or use another directory (SA01_DATA_DIR)."
        )


def _own_names() -> list[str]:
    """The loopback address and the name that the resolver has for it: what people type into a browser."""
    address = loopback()
    name = socket.getnameinfo((address, 0), 0)[0]
    return list(dict.fromkeys([address, name]))
