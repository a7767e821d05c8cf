"""Text from outside that PostgreSQL can hold, and moments that are written as such."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, StringConstraints

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:")


def _storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not contain NUL characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("must not contain half of a surrogate pair") from error
    return value


def _written(value: Any) -> Any:
    # A number would be taken for seconds since 1970.
    if isinstance(value, str) and not _MOMENT.match(value):
        raise ValueError("must be a date and a time as in RFC 3339, with its offset from UTC")
    return value


def _in_utc(value: datetime) -> datetime:
    # PostgreSQL takes no offset beyond 16 hours.
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("must be in the years 1 to 9999") from error


Moment = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_in_utc)]
Text = Annotated[str, AfterValidator(_storable)]
Title = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(_storable)]
Slug = Annotated[str, StringConstraints(pattern=r"^[-a-zA-Z0-9_]{1,63}$")]
