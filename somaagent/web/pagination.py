"""Cursor pagination: newest first, stable under inserts.

Keys are UUIDv7 and sort by time, so the key of a page's last row is the cursor of the next.
"""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from ninja import Schema
from pydantic import Field

from somaagent.errors import invalid

M = TypeVar("M", bound=Model)
S = TypeVar("S")
PAGE_SIZE = 50


class PageQuery(Schema):
    """``limit`` rows after ``cursor`` (the ``next`` of the page before)."""

    limit: Annotated[int, Field(ge=1, le=200)] = PAGE_SIZE
    cursor: UUID | None = None


class Page(Schema, Generic[S]):
    """Rows, and the cursor of the next page: null on the last."""

    items: list[S]
    next: UUID | None = None


def page_of(rows: QuerySet[M], query: PageQuery) -> dict[str, object]:
    """One page of ``rows``, newest first."""
    if query.cursor is not None and query.cursor.version != 7:  # noqa: PLR2004 the only version that we make
        raise invalid("query.cursor", "This is no cursor of ours: use the “next” of the page before.")
    rows = rows.order_by("-pk")
    if query.cursor is not None:
        rows = rows.filter(pk__lt=query.cursor)
    items = list(rows[: query.limit + 1])
    more = len(items) > query.limit
    items = items[: query.limit]
    return {"items": items, "next": items[-1].pk if more else None}
