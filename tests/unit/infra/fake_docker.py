"""Stands in for the docker command in tests of the start scripts: there is no engine where tests run.

It answers what an engine would, as far as the scripts ask, keeps what would be in volumes in the folder that
``FAKE_DOCKER`` names, and writes down each call there with its arguments and standard input.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

ROOT_TOKEN = "root-token-of-the-test"
INIT = {"recovery_keys_b64": ["one", "two", "three"], "root_token": ROOT_TOKEN}


def home() -> Path:
    return Path(os.environ["FAKE_DOCKER"])


def flag(name: str) -> Path:
    return home() / name.strip("/").replace("/", "_")


def init(arguments: list[str]) -> int:
    """``bao operator init``: 2 says not yet, as the real one does."""
    if "-status" in arguments:
        return 0 if flag("initialised").exists() else 2
    flag("initialised").touch()
    print(json.dumps(INIT, indent=2))
    return 0


def errand(name: str, arguments: list[str], content: str) -> int:
    if name == "role-ids":
        if not flag("credentials").exists():
            return 1
        print("role-of-the-app\nrole-of-the-owner")
    elif name == "bootstrap":
        if content.strip() != ROOT_TOKEN:
            return 2
        flag("credentials").touch()
    elif name == "deliver" and "-s" in arguments:
        return 0 if flag(arguments[-1]).exists() else 1
    elif name == "deliver":
        flag(arguments[0]).write_text("delivered")
    return 0


def compose(arguments: list[str], content: str) -> int:
    while arguments and arguments[0].startswith("--"):
        del arguments[:2]
    verb, *rest = arguments
    if verb == "run":
        rest = [word for word in rest if word not in {"--rm", "-T", "--entrypoint", "test"}]
        return errand(rest[0], rest[1:], content)
    if verb == "exec" and "init" in rest:
        return init(rest)
    if verb == "exec":
        print("operator: operator")
    if verb == "ps":
        print(rest[-1])
    return 0


def main(arguments: list[str]) -> int:
    content = sys.stdin.buffer.read().decode("latin-1")
    with (home() / "calls.jsonl").open("a", encoding="utf-8") as calls:
        calls.write(json.dumps({"arguments": arguments, "stdin": content}) + "\n")
    broken = os.environ.get("FAKE_BROKEN", "")
    if broken and " ".join(arguments).startswith(broken):
        return 1
    if arguments[0] == "compose" and arguments[1] != "version":
        return compose(arguments[1:], content)
    if arguments[0] == "inspect":
        print(os.environ.get("FAKE_HEALTH", "healthy"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
