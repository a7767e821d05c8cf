"""Secrets of a tenant's own on their way to another Vault: opened, sealed under the archive's key, and back.

In the database they are sealed by this installation's Vault, which no other has. An archive carries them
under a key of its own (Fernet: AES-128-CBC and HMAC-SHA256), which is a file beside it, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.core.management.base import CommandError

from apps.chat.webhooks.sealing import PURPOSE as WEBHOOK_SECRET
from apps.sessions.keys import PURPOSE as MODEL_KEY
from apps.tools.mcp.keys import ACCESS_TOKEN, REFRESH_TOKEN, SERVER_SECRET

# Table and column: what it is sealed for.
PURPOSES = {
    ("agent_sessions_modelprofile", "encrypted_key"): MODEL_KEY,
    ("chat_webhook", "encrypted_secret"): WEBHOOK_SECRET,
    ("tools_mcpserver", "encrypted_secret"): SERVER_SECRET,
    ("tools_mcptoken", "encrypted_access"): ACCESS_TOKEN,
    ("tools_mcptoken", "encrypted_refresh"): REFRESH_TOKEN,
}
# What is valid for hours only stays behind.
SHORT_LIVED: dict[tuple[str, str], Any] = {("chat_webhook", "previous_secrets"): []}
# How ``settings.envelope`` begins what it has sealed.
_SEALED = "soma1."


@dataclass
class Secrets:
    """What becomes of the secrets in rows; ``left``: those that did not go along, as ``table row column``."""

    key: Fernet | None
    left: list[str]

    @classmethod
    def under(cls, key: bytes | None) -> Secrets:
        """Raises ``CommandError`` for what is no key."""
        try:
            return cls(Fernet(key.strip()) if key is not None else None, [])
        except ValueError as error:
            raise CommandError("That file holds no key of an archive.") from error

    def taken_out(self, tenant_id: UUID, table: str, row: dict[str, Any]) -> dict[str, Any]:
        """A row as it goes into the archive. Raises ``CommandError`` where a secret cannot be opened, or
        stands where none is known to stand.
        """
        row = row | {
            column: value
            for (known, column), value in SHORT_LIVED.items()
            if known == table and column in row
        }
        for (known, column), purpose in PURPOSES.items():
            if known == table and row[column]:
                row[column] = self._out(tenant_id, purpose, table, column, row)
        if any(_SEALED in str(value) for value in row.values()):
            raise CommandError(
                f"A row of {table} holds a sealed secret in a column that is not known to hold one."
            )
        return row

    def _out(self, tenant_id: UUID, purpose: str, table: str, column: str, row: dict[str, Any]) -> str:
        if self.key is None:
            self.left.append(f"{table} {row['id']} {column}")
            return ""
        try:
            text: str = settings.SECRETS.decrypt(
                row[column], tenant_id=tenant_id, purpose=purpose, row_id=UUID(row["id"])
            )
        except settings.SECRETS.Error as error:
            raise CommandError(f"The secret of {table} {row['id']} cannot be opened: {error}") from error
        return self.key.encrypt(text.encode()).decode()

    def brought_in(self, tenant_id: UUID, table: str, row: dict[str, Any]) -> dict[str, Any]:
        """A row as it goes into the database. Raises ``CommandError`` without the right key."""
        for (known, column), purpose in PURPOSES.items():
            if known == table and row[column]:
                row = row | {column: self._in(tenant_id, purpose, row, column)}
        return row

    def _in(self, tenant_id: UUID, purpose: str, row: dict[str, Any], column: str) -> str:
        if self.key is None:
            raise CommandError("The archive carries secrets: name the file of its key with --secrets-key.")
        try:
            text = self.key.decrypt(row[column].encode()).decode()
        except InvalidToken as error:
            raise CommandError(
                "The key does not open the archive's secrets: it is another archive's."
            ) from error
        sealed: str = settings.SECRETS.encrypt(
            text, tenant_id=tenant_id, purpose=purpose, row_id=UUID(row["id"])
        )
        return sealed


def holds_secrets(table: str) -> bool:
    """Whether rows of the table have to be looked at on their way."""
    return any(known == table for known, _ in (*PURPOSES, *SHORT_LIVED))
