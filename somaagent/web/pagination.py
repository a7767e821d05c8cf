"""Cursor pagination: newest first, stable under inserts.

Keys are UUIDv7 and sort by time, so the key of a page's last row is the cursor of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Protocol, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from ninja import Schema
from pydantic import Field

from somaagent.errors import SomaError, invalid
from somaagent.tenancy.scripts import Script, Statement


class Keyed(Protocol):
    """A row with its key."""

    @property
    def id(self) -> UUID: ...


M = TypeVar("M", bound=Model)
R = TypeVar("R", bound=Keyed)
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


@dataclass(frozen=True, slots=True)
class Part(Generic[R]):
    """Rows of one page, and the cursor of the next: None on the last."""

    items: list[R]
    next: UUID | None

    @classmethod
    def of(cls, rows: list[R], most: int) -> Part[R]:
        """At most ``most`` of the rows; one more says that there are others."""
        items = rows[:most]
        return cls(items, items[-1].id if len(rows) > most else None)


def page_of(rows: QuerySet[M], query: PageQuery) -> dict[str, object]:
    """One page of ``rows``, newest first."""
    _check(query)
    rows = rows.order_by("-pk")
    if query.cursor is not None:
        rows = rows.filter(pk__lt=query.cursor)
    items = list(rows[: query.limit + 1])
    more = len(items) > query.limit
    items = items[: query.limit]
    return {"items": items, "next": items[-1].pk if more else None}


def page_script(
    sql: str, parameters: Mapping[str, Any], row: Callable[..., R], query: PageQuery
) -> Script[Part[R]]:
    """One page, newest first, of what ``sql`` selects: it ends with its WHERE, and ``id`` is its key.

    ``row`` makes a row of the columns.
    """
    _check(query)
    behind = "" if query.cursor is None else " AND id < %(cursor)s"
    statement = Statement(
        f"{sql}{behind} ORDER BY id DESC LIMIT %(most)s",
        {**parameters, "cursor": query.cursor, "most": query.limit + 1},
    )
    (rows,) = yield [statement]
    return Part.of([row(*found) for found in rows], query.limit)


def _check(query: PageQuery) -> None:
    if query.cursor is not None and query.cursor.version != 7:  # noqa: PLR2004 the only version that we make
        raise cursor_unknown()


def cursor_unknown() -> SomaError:
    return invalid("query.cursor", "This is no cursor of ours: use the “next” of the page before.")
