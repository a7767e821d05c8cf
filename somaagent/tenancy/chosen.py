"""The organisation that somebody chose in their browser, kept in the browser's session."""

from __future__ import annotations

from typing import Any
from uuid import UUID

TENANT = "tenant"


def chosen_of(session: Any) -> UUID | None:
    """The organisation that was chosen in a browser's session; None where none was yet."""
    chosen = session.get(TENANT)
    return UUID(chosen) if chosen else None
