"""``/api/v1/usage``: what models were asked for, and what that cost."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from somaagent.problems import PROBLEMS
from somaagent.tenancy.ledger.selectors import usage_report
from somaagent.web.request import actor_of
from somaagent.web.security import in_tenant_of_actor

from .schemas import UsageQuery, UsageReport, as_csv, told

router = Router(tags=["usage"])
router.add_decorator(in_tenant_of_actor)
CSV = {"text/csv": {"schema": {"type": "string", "description": "A header, then a line for each row."}}}


@router.get("/usage", response={200: UsageReport, **PROBLEMS}, by_alias=True, exclude_none=False)
def read_usage(request: HttpRequest, query: Query[UsageQuery]) -> Any:
    """What was used: by everybody for owners and admins, by the caller for others."""
    asked = query.asked()
    rows = usage_report(actor=actor_of(request), **asked)
    return {"first": asked["first"], "last": asked["last"], "items": [told(row) for row in rows]}


@router.get(
    "/usage.csv",
    response=PROBLEMS,
    openapi_extra={"responses": {200: {"description": "The same as CSV.", "content": CSV}}},
)
def export_usage(request: HttpRequest, query: Query[UsageQuery]) -> HttpResponse:
    """The same, for a spreadsheet."""
    rows = usage_report(actor=actor_of(request), **query.asked())
    response = HttpResponse(as_csv([told(row) for row in rows]), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="usage.csv"'
    return response
