"""The local model, embedded: SmolLM2 behind the OpenAI protocol, in a process of its own."""

from __future__ import annotations

import signal
import sys

from somaagent.embedded import wheels
from somaagent.embedded.addresses import loopback
from somaagent.embedded.errors import NotReady
from somaagent.embedded.files import write_private
from somaagent.embedded.folder import PROJECT_ROOT, DataFolder
from somaagent.embedded.launch import Command, plain_environment

MODULE = "somaagent.embedded.model_server"
MODEL_NAME = "smollm2-135m-instruct"
_OK = 200


class LocalModel:
    """Its API key is OpenBao's ``models/local`` ``api_key``, handed to the process in a file of mode 0600."""

    name = "model"

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._path = folder.path / self.name

    def prepare(self) -> None:
        wheels.model()
        self._folder.of(self.name)
        write_private(self._path / "api-key", self._folder.secret("models/local", "api_key"))

    def command(self) -> Command:
        return Command(
            argv=[
                sys.executable,
                "-m",
                MODULE,
                *("--host", loopback()),
                *("--port", str(self._folder.ports.of(self.name))),
                *("--name", MODEL_NAME),
                *("--key-file", str(self._path / "api-key")),
            ],
            env=plain_environment(self._path),
            cwd=PROJECT_ROOT,
            death_signal=signal.SIGKILL,  # it has no state
            pid_file=self._folder.pid_file(self.name),
        )

    def ready(self) -> None:
        import requests  # noqa: PLC0415 - who only spawns does without it

        try:
            answer = requests.get(f"{self._origin()}/health", timeout=1.0)
        except requests.RequestException as error:
            raise NotReady(f"it does not answer ({type(error).__name__})") from error
        if answer.status_code != _OK:
            raise NotReady(f"it answers with status {answer.status_code}: it is loading")

    def configure(self) -> None:
        """There is nothing to configure in a running model server."""

    def address(self) -> str:
        """The base URL of its OpenAI-compatible interface."""
        return f"{self._origin()}/v1"

    def environment(self) -> dict[str, str]:
        return {"SA01_LOCAL_MODEL_URL": self.address()}

    def _origin(self) -> str:
        return f"http://{loopback()}:{self._folder.ports.of(self.name)}"
