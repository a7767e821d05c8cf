"""Whether the embedded database already stands as this tree wants it: then a start need not migrate or seed.

Asking Django costs seconds; this costs one query. It is used for the embedded database alone, which lives in
the same folder as the stamp. Any change to a source file, an installed package or the applied migrations
makes the stamp invalid, and the real commands run.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path

import psycopg

from .adapters import connect_database
from .configuration import PROJECT_ROOT

FILE_NAME = "prepared.json"
SOURCES = ("apps", "settings", "somaagent")


class Stamp:
    """``RUN_DIR/prepared.json``: what was migrated and seeded. ``extra``: what else a seed depends on."""

    def __init__(self, run_dir: Path, extra: Sequence[str] = ()) -> None:
        self._path = run_dir / FILE_NAME
        self._extra = tuple(extra)

    def valid(self) -> bool:
        return self._read() == self._facts()

    def put(self) -> None:
        """Everything is in place now."""
        self._path.touch(mode=0o600)
        self._path.write_text(json.dumps(self._facts()), encoding="utf-8")

    def _facts(self) -> dict[str, str]:
        return {"tree": tree(self._extra), "database": applied_migrations()}

    def _read(self) -> dict[str, str] | None:
        try:
            content: dict[str, str] = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return content


def tree(extra: Sequence[str]) -> str:
    """A fingerprint of our sources and of the packages that are installed."""
    digest = hashlib.sha256()
    for name in SOURCES:
        for path in sorted((PROJECT_ROOT / name).rglob("*.py")):
            facts = path.stat()
            digest.update(f"{path} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    for distribution in sorted(f"{d.name} {d.version}" for d in importlib.metadata.distributions()):
        digest.update(distribution.encode())
    for fact in extra:
        digest.update(fact.encode())
    return digest.hexdigest()


def applied_migrations() -> str:
    """What names the state of the database's tables; of one that has none, nothing."""
    try:
        with connect_database() as connection:
            row = connection.execute(
                "SELECT count(*), max(id), max(applied)::text FROM django_migrations"
            ).fetchone()
    except psycopg.Error as error:
        return f"unknown: {type(error).__name__}"
    return " ".join(str(value) for value in row) if row else ""
