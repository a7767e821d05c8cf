"""What every request body is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """A JSON object with the fields that are declared and no others: a misspelt one is told, not ignored."""

    model_config = ConfigDict(extra="forbid")
