"""What is wrong with a row that somebody wants to keep, as our errors say it."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.db.models import Model

from somaagent.errors import invalid

# Those who write know whose the row is; and a key that was used is looked for before.
_NOT_TYPED = ("tenant", "idempotency_key", "request_digest")
# Vault's names are the operators' own: to tenants, a key is a key.
_NAMES = {"secret_name": "api_key", "encrypted_key": "api_key"}


def check(row: Model) -> None:
    """Raise ``invalid`` with the first field at fault. What stands twice is for the database to say."""
    try:
        row.full_clean(exclude=_NOT_TYPED)
    except ValidationError as error:
        name, sentences = next(iter(error.message_dict.items()))
        raise invalid(f"body.{_NAMES.get(name, name)}", " ".join(sentences)) from error


def constraint_of(error: IntegrityError) -> str:
    """The name of the constraint that the database held against a row; empty where it tells none."""
    diagnosis = getattr(error.__cause__, "diag", None)
    return getattr(diagnosis, "constraint_name", None) or ""
