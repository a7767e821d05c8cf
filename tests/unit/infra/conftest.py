"""The two stacks, as their files say them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

TREE = Path(__file__).resolve().parents[3]
INFRA = TREE / "infra"
OURS = {"migrations", "gateway", "worker", "scheduler"}
SERVERS = {"openbao", "postgres", "valkey"}
ERRANDS = {"deliver", "bootstrap", "role-ids", "valkey-access", "database"}
_DEFAULT = re.compile(r"(?<!\$)\$\{\w+:-([^}]*)\}")


@dataclass(frozen=True)
class Stack:
    """One compose file: its text, and what it means where no variable is set."""

    mode: str
    ports: range

    @property
    def folder(self) -> Path:
        return INFRA / self.mode

    @property
    def text(self) -> str:
        return (self.folder / "docker-compose.yml").read_text(encoding="utf-8")

    @property
    def compose(self) -> dict[str, Any]:
        return yaml.safe_load(_DEFAULT.sub(r"\1", self.text))

    @property
    def services(self) -> dict[str, Any]:
        return self.compose["services"]

    @property
    def dockerfile(self) -> str:
        return (self.folder / "Dockerfile").read_text(encoding="utf-8")


STACKS = (Stack("standalone", range(20_000, 21_000)), Stack("saas", range(63_000, 64_000)))


@pytest.fixture(params=STACKS, ids=lambda stack: stack.mode)
def stack(request: pytest.FixtureRequest) -> Stack:
    return request.param
