"""Evaluates Rego for the process that started this one: ``python -I evaluator.py FD``.

A process of its own, because rego-cpp ends the whole process on some policies, knows no time limit, and
cannot be stopped in a thread. Only the standard library and regopy are imported.

Messages over the socket ``FD`` are JSON texts behind their length (four bytes, big end first). The first one
is ``{"modules": {name: text}, "rules": [path], "memory": bytes}`` and is answered ``{}`` or ``{"error": …}``.
Each further one is ``{"rule": path, "input": JSON text, "seconds": n}`` and is answered ``{"value": …}``,
``{"undefined": true}`` or ``{"error": …}``.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import struct
import sys
from typing import Any

LENGTH = struct.Struct(">I")


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    content = json.dumps(message).encode()
    channel.sendall(LENGTH.pack(len(content)) + content)


def receive(channel: socket.socket) -> Any:
    """The next message; None where the other side is gone."""
    head = _exactly(channel, LENGTH.size)
    content = _exactly(channel, LENGTH.unpack(head)[0]) if head else b""
    return json.loads(content) if content else None


def _exactly(channel: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = channel.recv(size)
        if not part:
            return b""
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def no_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON in which no key stands twice.

    rego-cpp may print a text that it cut without escaping it. What such a text brings in must not take the
    place of what the policy said.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("the answer names a key twice")
    return found


def limit_memory(more: int) -> None:
    """Bounds this process's address space. rego-cpp's allocator takes 256 GiB of it at once, to use it bit by
    bit, so a limit can only be set to what there is now and ``more``."""
    with open("/proc/self/statm", encoding="ascii") as facts:
        limit = int(facts.read().split()[0]) * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Policy:
    """Compiled modules. Not to be used by two threads at once: rego-cpp would crash.

    ``memory``: how many bytes it may take beyond what it takes to load.
    """

    def __init__(self, modules: dict[str, str], rules: list[str], memory: int) -> None:
        from regopy import Interpreter  # noqa: PLC0415 - whoever asks needs this module's messages alone
        from regopy.rego_shared import LogLevel  # noqa: PLC0415 - see above

        self._interpreter = Interpreter()
        self._interpreter.log_level = LogLevel.NONE
        limit_memory(memory)
        for name, text in modules.items():
            self._interpreter.add_module(name, text)
        self._bundle = self._interpreter.build(None, rules)
        if not self._bundle.ok():
            raise ValueError("the modules do not compile")

    def evaluate(self, rule: str, text: str) -> dict[str, Any]:
        # As a term and not as an object: regopy's objects lose integers beyond 64 bits and small fractions.
        self._interpreter.set_input_term(text)
        output = self._interpreter.query_bundle_entrypoint(self._bundle, rule)
        told = str(output)
        if not output.ok():
            return {"error": told or "the evaluation failed"}
        if told == "undefined":
            return {"undefined": True}
        result = json.loads(told, object_pairs_hook=no_repetition)
        if set(result) != {"expressions"} or len(result["expressions"]) != 1:
            return {"error": "the answer is not one value"}
        return {"value": result["expressions"][0]}


def serve(channel: socket.socket) -> None:
    setup = receive(channel)
    try:
        policy = Policy(setup["modules"], setup["rules"], setup["memory"])
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side has to be told
        send(channel, {"error": f"{error}"})
        return
    send(channel, {})
    while (question := receive(channel)) is not None:
        # The other side kills a process that takes too long. Where it died meanwhile, the kernel does.
        signal.setitimer(signal.ITIMER_REAL, question["seconds"] + 1)
        try:
            answer = policy.evaluate(question["rule"], question["input"])
        except Exception as error:  # noqa: BLE001 - see above
            answer = {"error": f"{error}"}
        signal.setitimer(signal.ITIMER_REAL, 0)
        send(channel, answer)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C goes to the whole group
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # rego-cpp writes there: what a policy prints, and what does not parse
        os.dup2(nowhere, stream)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        serve(channel)


if __name__ == "__main__":
    main()
