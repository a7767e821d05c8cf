"""The policy's files, as they were read once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .failures import Failure, PolicyError

SUFFIX = ".rego"
TEST_SUFFIX = "_test.rego"


@dataclass(frozen=True, slots=True)
class Sources:
    """Rego modules by their path in the policy's folder. ``tests`` take no part in decisions."""

    modules: Mapping[str, str]
    tests: Mapping[str, str]

    @property
    def digest(self) -> str:
        """``sha256:`` over the names and texts of all modules but the tests, in the order of their names."""
        summed = hashlib.sha256()
        for name, text in sorted(self.modules.items()):
            for part in (name, text):
                content = part.encode()
                summed.update(len(content).to_bytes(8, "big") + content)
        return f"sha256:{summed.hexdigest()}"


def read(directory: Path) -> Sources:
    """All ``*.rego`` of a folder and its folders. Raises ``PolicyError`` where there are none to be read."""
    modules: dict[str, str] = {}
    tests: dict[str, str] = {}
    try:
        for path in sorted(directory.rglob(f"*{SUFFIX}")):
            into = tests if path.name.endswith(TEST_SUFFIX) else modules
            into[path.relative_to(directory).as_posix()] = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _absent("cannot be read", f"{directory}: {error}.") from error
    if not modules:
        raise _absent("is missing", f"{directory} holds no *.rego: put one there, or set SA01_POLICY_DIR.")
    return Sources(modules, tests)


def _absent(what: str, detail: str) -> PolicyError:
    return PolicyError(
        Failure.POLICY, f"The policy of tools {what}, so no tool may be called. Tell your operator.", detail
    )
