"""Answers of the API as JSON: times in UTC (RFC 3339, to the microsecond, with Z), ids as text."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

import orjson
from django.http import HttpRequest, HttpResponse
from ninja.renderers import BaseRenderer

from .pagination import Keyed, Part

R = TypeVar("R", bound=Keyed)

_TYPE = "application/json; charset=utf-8"


class Json(BaseRenderer):
    """How ninja writes what it has validated."""

    media_type = "application/json"

    def render(self, request: HttpRequest, data: Any, *, response_status: int) -> bytes:
        del request, response_status
        return _json(data)


def answer(facts: dict[str, Any], status: int = HTTPStatus.OK) -> HttpResponse:
    """What ninja hands on as it is. Its operation documents the same fields."""
    return HttpResponse(_json(facts), status=status, content_type=_TYPE)


def answer_page(part: Part[R], told: Callable[[R], dict[str, Any]]) -> HttpResponse:
    """A ``Page`` of what ``told`` makes of each row."""
    return answer({"items": [told(row) for row in part.items], "next": part.next})


def _json(data: Any) -> bytes:
    return orjson.dumps(data, option=orjson.OPT_UTC_Z)
