"""The process that evaluates: started when first needed, killed when it takes too long, started anew."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from . import evaluator
from .failures import Failure, PolicyError

START_SECONDS = 30.0
END_SECONDS = 5.0
MEMORY_BYTES = 256 << 20  # beyond the 30 MiB that it begins with
LONGEST_ERROR = 600

logger = structlog.get_logger(__name__)


class Evaluator:
    """One such process. Blocking, and for one thread at a time. All methods raise ``PolicyError``."""

    def __init__(self, modules: Mapping[str, str], rules: Sequence[str]) -> None:
        self._setup = {"modules": dict(modules), "rules": list(rules), "memory": MEMORY_BYTES}
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def ask(self, rule: str, text: str, seconds: float) -> Any:
        """The value of ``rule`` for the JSON ``text`` as input, within ``seconds``."""
        channel = self._channel or self.start()
        told = self._exchange(channel, {"rule": rule, "input": text, "seconds": seconds}, seconds)
        if "error" in told:
            raise PolicyError(
                Failure.POLICY, "The policy fails on this call. Tell your operator.", _short(told["error"])
            )
        if "value" not in told:
            raise PolicyError(
                Failure.UNDEFINED, f"The policy says nothing of this call: {rule} is undefined."
            )
        return told["value"]

    def start(self) -> socket.socket:
        """Has the modules compiled. Raises ``PolicyError`` where they do not parse."""
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-I", str(Path(evaluator.__file__)), str(theirs.fileno())]
            # No environment: a policy can read it, and ours knows where secrets are.
            self._process = subprocess.Popen(
                command, env={}, cwd=os.sep, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )
        self._channel = ours
        told = self._exchange(ours, self._setup, START_SECONDS)
        if "error" in told:
            self.end()
            raise PolicyError(
                Failure.POLICY,
                "The policy of tools does not parse, so no tool may be called. Tell your operator.",
                _short(told["error"]),
            )
        return ours

    def end(self) -> None:
        """Kills the process, whatever it does. It can be asked again: another is started."""
        process, channel = self._process, self._channel
        self._process = self._channel = None
        if channel:
            channel.close()
        if process:
            process.kill()
            process.wait(END_SECONDS)

    def _exchange(self, channel: socket.socket, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        channel.settimeout(seconds)
        try:
            evaluator.send(channel, message)
            told = evaluator.receive(channel)
        except TimeoutError as error:
            self.end()
            raise PolicyError(
                Failure.TIMED_OUT, f"The policy gave no answer within {seconds:g} seconds."
            ) from error
        except (OSError, ValueError) as error:
            raise self._crashed() from error
        if not isinstance(told, dict):
            raise self._crashed()
        return told

    def _crashed(self) -> PolicyError:
        process = self._process
        status = None
        if process:
            try:
                status = process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                status = None  # it closed its end and lives on; `end` kills it
        self.end()
        logger.error("policy.evaluator_died", status=status)
        return PolicyError(Failure.CRASHED, "The policy engine died over this call; it is started again.")


def _short(error: str) -> str:
    """rego-cpp's account of an error on one line."""
    return " ".join(error.split())[:LONGEST_ERROR]
