"""Embedded servers and what a visitor does with them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Any

import hvac
import psutil
import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from somaagent.embedded import Stack
from somaagent.embedded.addresses import loopback
from tests.servers import start

MOUNT = "somaagent"


@dataclass
class House:
    """A stack whose servers run, each in its process."""

    stack: Stack
    processes: dict[str, subprocess.Popen[bytes]]

    def kill(self, name: str) -> None:
        """As the kernel does it when memory runs out."""
        self.processes[name].kill()
        self.processes[name].wait()

    def restart(self, name: str) -> None:
        (server,) = (server for server in self.stack.servers if server.name == name)
        server.prepare()
        start(server, self.stack.data_dir, self.processes)

    def family(self) -> list[psutil.Process]:
        """Every process of every server."""
        first = [psutil.Process(process.pid) for process in self.processes.values()]
        return [member for process in first for member in (process, *process.children(recursive=True))]

    def vault(self) -> hvac.Client:
        """OpenBao, as its operator."""
        token = (self.stack.data_dir / "openbao" / "root-token").read_text().strip()
        return hvac.Client(self.stack.environment()["SA01_VAULT_ADDR"], token=token)

    def secret(self, path: str, key: str) -> str:
        answer = self.vault().secrets.kv.v2.read_secret_version(
            path=path, mount_point=MOUNT, raise_on_deleted_version=True
        )
        return str(answer["data"]["data"][key])

    def database(self, user: str, password: str | None = None) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection over TCP, as the application makes it; with the role's own password unless told."""
        settings = self.stack.environment()
        return psycopg.connect(
            host=loopback(),
            port=settings["SA01_DB_PORT"],
            dbname=settings["SA01_DB_NAME"],
            user=user,
            password=password if password is not None else self.secret(f"database/{user}", "password"),
            connect_timeout=5,
            autocommit=True,
        )

    def valkey(self, password: str | None = None) -> redis.Redis:
        return redis.Redis(
            host=loopback(),
            port=int(self.stack.environment()["SA01_VALKEY_PORT"]),
            password=password if password is not None else self.secret("core", "valkey_password"),
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
        )

    def write(self, what: str) -> None:
        """Leave *what* in each of the three stores."""
        with self.database("somaagent_owner") as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS notes (note text)")
            connection.execute("INSERT INTO notes VALUES (%s)", [what])
        self.valkey().rpush("notes", what)
        self.vault().secrets.kv.v2.create_or_update_secret("notes", {what: what}, mount_point=MOUNT)

    def read(self) -> dict[str, list[str]]:
        """What is left in each of the three stores, oldest first."""
        with self.database("somaagent_owner") as connection:
            rows = connection.execute("SELECT note FROM notes ORDER BY ctid").fetchall()
        versions = self.vault().secrets.kv.v2.read_secret_version(
            "notes", mount_point=MOUNT, raise_on_deleted_version=True
        )
        return {
            "postgres": [note for (note,) in rows],
            "valkey": list(self.valkey().lrange("notes", 0, -1)),
            "openbao": list(versions["data"]["data"]),
        }
