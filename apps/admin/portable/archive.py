"""The file: a ZIP with a manifest, the tenant, its users, and one file of JSON lines for each table.

``manifest.json`` says the format, when and with which migrations it was made, and of each file how many rows
it has and the SHA-256 of its content. Rows are as PostgreSQL's ``row_to_json`` gives them, in the order of
their ids: two archives of the same rows have the same digests.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from django.core.management.base import CommandError

FORMAT = "somaagent-tenant/1"
MANIFEST = "manifest.json"
TENANT = "tenant.json"
USERS = "users.jsonl"


@dataclass
class Manifest:
    """What an archive says of itself; ``files`` are ``{"rows", "sha256"}``, with a table's ``columns``."""

    made_at: str
    migrations: list[str]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets_left: list[str] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "made_at": self.made_at,
            "migrations": self.migrations,
            "files": self.files,
            "secrets_left": self.secrets_left,
        }

    def text(self) -> bytes:
        return orjson.dumps(self.data(), option=orjson.OPT_INDENT_2)

    def digest(self) -> str:
        """SHA-256 of the text, in hex: by it the audits here and there name the archive."""
        return hashlib.sha256(self.text()).hexdigest()


def file_of(table: str) -> str:
    return f"tables/{table}.jsonl"


class Writer:
    """Writes an archive. What is not closed well is no archive: the manifest comes last."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._zip = zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED)
        self.manifest = manifest

    def put(self, name: str, lines: Iterable[bytes], **facts: Any) -> int:
        """Write a file of lines; how many there were."""
        digest, rows = hashlib.sha256(), 0
        with self._zip.open(name, "w", force_zip64=True) as file:
            for line in lines:
                rows += 1
                digest.update(line + b"\n")
                file.write(line + b"\n")
        self.manifest.files[name] = {"rows": rows, "sha256": digest.hexdigest(), **facts}
        return rows

    def finish(self) -> None:
        self._zip.writestr(MANIFEST, self.manifest.text())
        self._zip.close()

    def abandon(self) -> None:
        self._zip.close()


class Reader:
    """Reads an archive, after it was found whole."""

    def __init__(self, path: Path) -> None:
        """Raises ``CommandError`` for what is no archive of ours, or a damaged one."""
        try:
            self._zip = zipfile.ZipFile(path)
            told = orjson.loads(self._zip.read(MANIFEST))
        except (OSError, zipfile.BadZipFile, KeyError, orjson.JSONDecodeError) as error:
            raise CommandError(f"{path} is no archive of a tenant: {error}") from error
        if told.get("format") != FORMAT:
            raise CommandError(
                f"{path} has the format {told.get('format')!r}; this version reads {FORMAT!r}."
            )
        self.manifest = Manifest(told["made_at"], told["migrations"], told["files"], told["secrets_left"])
        for name, facts in self.manifest.files.items():
            self._check(name, facts)

    def _check(self, name: str, facts: dict[str, Any]) -> None:
        digest, rows = hashlib.sha256(), 0
        try:
            for line in self.lines(name):
                rows += 1
                digest.update(line + b"\n")
        except (KeyError, zipfile.BadZipFile) as error:
            raise CommandError(f"The archive is damaged at {name}: {error}") from error
        if (rows, digest.hexdigest()) != (facts["rows"], facts["sha256"]):
            raise CommandError(f"The archive is damaged: {name} is not what its manifest says.")

    def lines(self, name: str) -> Iterator[bytes]:
        with self._zip.open(name) as file:
            for line in file:
                yield line.rstrip(b"\n")

    def close(self) -> None:
        self._zip.close()
