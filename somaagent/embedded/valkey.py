"""Valkey, embedded: append-only file, a password, and no memory of commands that it does not need."""

from __future__ import annotations

import signal

from somaagent.embedded import wheels
from somaagent.embedded.addresses import loopback
from somaagent.embedded.errors import NotReady
from somaagent.embedded.files import private_directory, write_private
from somaagent.embedded.folder import DataFolder
from somaagent.embedded.launch import Command, plain_environment

_SETTINGS = """\
protected-mode yes
daemonize no
supervised no
databases 2
appendonly yes
appendfsync everysec
# A crash may have cut the last command short: it is left out and the file mended, with a line in the log.
aof-load-truncated yes
aof-use-rdb-preamble yes
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 32mb
save ""
stop-writes-on-bgsave-error no
# Streams and wake-ups must not be dropped for want of memory: a write fails instead.
maxmemory 512mb
maxmemory-policy noeviction
timeout 0
tcp-keepalive 60
maxclients 4000
loglevel notice
"""


class Valkey:
    """Its password is OpenBao's ``core`` ``valkey_password``, written into a file of its own folder."""

    name = "valkey"

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._path = folder.path / self.name
        self._password: str | None = None

    def prepare(self) -> None:
        self._folder.of(self.name)
        private_directory(self._path / "data")
        self._password = self._folder.secret("core", "valkey_password")
        write_private(
            self._path / "valkey.conf",
            _SETTINGS
            + f"bind {loopback()}\n"
            + f"port {self._folder.ports.of(self.name)}\n"
            + f"dir {_quoted(str(self._path / 'data'))}\n"
            + f"requirepass {_quoted(self._password)}\n",
        )

    def command(self) -> Command:
        return Command(
            argv=[str(wheels.valkey()), str(self._path / "valkey.conf")],
            env=plain_environment(self._path),
            cwd=self._path,
            death_signal=signal.SIGKILL,  # what it has answered is in the append-only file already
            pid_file=self._folder.pid_file(self.name),
        )

    def ready(self) -> None:
        import redis  # noqa: PLC0415 - who only spawns does without it
        from redis.backoff import NoBackoff  # noqa: PLC0415 - as above
        from redis.retry import Retry  # noqa: PLC0415 - as above

        if self._password is None:
            self._password = self._folder.secret("core", "valkey_password")
        client = redis.Redis(
            host=loopback(),
            port=self._folder.ports.of(self.name),
            password=self._password,
            socket_timeout=1.0,
            socket_connect_timeout=1.0,
            retry=Retry(NoBackoff(), 0),  # whoever asks asks again
        )
        try:
            client.ping()
        except redis.RedisError as error:
            raise NotReady(f"it does not answer ({error})") from error
        finally:
            client.close()

    def configure(self) -> None:
        """There is nothing to configure in a running Valkey."""

    def environment(self) -> dict[str, str]:
        return {"SA01_VALKEY_HOST": loopback(), "SA01_VALKEY_PORT": str(self._folder.ports.of(self.name))}


def _quoted(text: str) -> str:
    """As a value in Valkey's configuration file, which knows the escapes of C."""
    escaped = "".join(character if character not in '\\"' else f"\\{character}" for character in text)
    return f'"{escaped}"'
