"""PostgreSQL, embedded: made by ``initdb`` once, reached by password, and by its superuser over a socket.

The socket lies in the data directory itself, which nobody else may enter, and is reached through an open
descriptor of that directory: a socket's path may have 107 characters, and a data directory any number.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg

from somaagent.embedded import postgres_settings, wheels
from somaagent.embedded.addresses import loopback
from somaagent.embedded.errors import EmbeddedError, NotReady
from somaagent.embedded.files import write_private
from somaagent.embedded.folder import DataFolder
from somaagent.embedded.launch import Command, plain_environment, run
from somaagent.embedded.postgres_roles import Roles, ensure_database, ensure_roles, ensure_schema

SUPERUSER = "postgres"
_INITDB_SECONDS = 120.0
_ORPHAN_SECONDS = 8.0


class Postgres:
    """``configure`` makes the roles and the database; their passwords are OpenBao's ``database/<role>``.

    ``durable=False`` is for data that is thrown away: a power cut may then destroy it.
    """

    name = "postgres"

    def __init__(self, folder: DataFolder, *, database: str, roles: Roles, durable: bool = True) -> None:
        self._folder = folder
        self._path = folder.path / self.name
        self._data = self._path / "data"
        self._database = database
        self._roles = roles
        self._durable = durable

    def prepare(self) -> None:
        self._folder.of(self.name)
        if self._data.exists():
            self._end_orphans()
            # No process of this cluster runs any more, so this names nobody, or somebody else by now.
            (self._data / "postmaster.pid").unlink(missing_ok=True)
        else:
            self._initialise()
        port = self._folder.ports.of(self.name)
        write_private(
            self._data / "postgresql.conf", postgres_settings.configuration(port, durable=self._durable)
        )
        write_private(self._data / "pg_hba.conf", postgres_settings.access(SUPERUSER))

    def command(self) -> Command:
        return Command(
            argv=[str(wheels.postgres("postgres")), "-D", str(self._data)],
            env=plain_environment(self._path),
            cwd=self._path,
            unprivileged=True,
            stop_signal=signal.SIGINT,  # disconnects clients and writes a checkpoint
            death_signal=signal.SIGQUIT,  # takes its children along at once; the next start recovers
            pid_file=self._folder.pid_file(self.name),
        )

    def ready(self) -> None:
        try:
            with self.superuser() as connection:
                connection.execute("SELECT 1")
        except (psycopg.Error, FileNotFoundError) as error:
            raise NotReady(f"it does not answer ({str(error).strip()})") from error

    def configure(self) -> None:
        try:
            with self.superuser() as connection:
                ensure_roles(connection, self._roles, self._password)
                ensure_database(connection, self._database, self._roles)
            with self.superuser(self._database) as connection:
                ensure_schema(connection, self._roles)
        except psycopg.Error as error:
            raise EmbeddedError(f"PostgreSQL's roles and database could not be made: {error}") from error

    def environment(self) -> dict[str, str]:
        return {
            "SA01_DB_HOST": loopback(),
            "SA01_DB_PORT": str(self._folder.ports.of(self.name)),
            "SA01_DB_NAME": self._database,
            "SA01_DB_USER": self._roles.app,
            "SA01_DB_OWNER_USER": self._roles.owner,
        }

    @contextlib.contextmanager
    def superuser(self, database: str = SUPERUSER) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """A connection that may do everything, in autocommit. Raises ``psycopg.Error``."""
        descriptor = os.open(self._data, os.O_PATH | os.O_DIRECTORY)
        try:
            connection = psycopg.connect(
                host=f"/proc/self/fd/{descriptor}",
                port=self._folder.ports.of(self.name),
                user=SUPERUSER,
                dbname=database,
                connect_timeout=2,
                autocommit=True,
            )
        finally:
            os.close(descriptor)
        with contextlib.closing(connection):
            yield connection

    def _password(self, role: str) -> str:
        return self._folder.secret(f"database/{role}", "password")

    def _initialise(self) -> None:
        """Make the cluster beside its place and move it there when it is whole: ``initdb`` may be cut off."""
        unfinished = self._path / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        argv = [
            str(wheels.postgres("initdb")),
            f"--pgdata={unfinished}",
            f"--username={SUPERUSER}",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--locale=C.UTF-8",
            "--no-instructions",
        ]
        command = Command(
            argv=argv if self._durable else [*argv, "--no-sync"],
            env=plain_environment(self._path),
            cwd=self._path,
            unprivileged=True,
            death_signal=signal.SIGKILL,
        )
        run(command, timeout=_INITDB_SECONDS, what="initdb")
        unfinished.rename(self._data)

    def _end_orphans(self) -> None:
        """End processes of a server whose first process was killed; they notice by themselves, but when?"""
        orphans = [process for process in psutil.process_iter() if _works_in(process, self._data)]
        _, alive = psutil.wait_procs(orphans, timeout=_ORPHAN_SECONDS / 4)
        for process in alive:
            process.send_signal(signal.SIGQUIT)
        _, alive = psutil.wait_procs(alive, timeout=_ORPHAN_SECONDS)
        if alive:
            pids = ", ".join(str(process.pid) for process in alive)
            raise EmbeddedError(
                f"Processes of PostgreSQL still work in {self._data}: {pids}. End them first."
            )


def _works_in(process: psutil.Process, folder: Path) -> bool:
    """Whether this is a process of PostgreSQL's in that data directory: it is their working directory."""
    try:
        return process.cwd() == str(folder) and Path(process.exe()) == wheels.postgres("postgres").resolve()
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return False  # another user's, or gone
