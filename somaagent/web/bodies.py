"""What every request body is."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, model_validator


class Body(BaseModel):
    """A JSON object with the fields that are declared and no others: a misspelt one is told, not ignored."""

    model_config = ConfigDict(extra="forbid")


class PartialBody(Body):
    """Fields that may be left out. Null is a value of those in ``nullable`` alone."""

    nullable: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        for name in self.model_fields_set - self.nullable:
            if getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null: leave it out")
        return self
