"""Pages of what an operation tells of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from django.db.models import Model, QuerySet

from somaagent.web.pagination import PageQuery, page_of

M = TypeVar("M", bound=Model)


def page_told(
    rows: QuerySet[M], query: PageQuery, told: Callable[[Sequence[M]], Sequence[object]]
) -> dict[str, Any]:
    """``page_of``, with what ``told`` makes of all rows of the page at once."""
    found = page_of(rows, query)
    return {"items": told(cast("Sequence[M]", found["items"])), "next": found["next"]}
