"""``/api/v1/audit``: who did what in the caller's organisation."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from somaagent.problems import PROBLEMS
from somaagent.tenancy.audit import selectors
from somaagent.tenancy.audit.models import AuditEntry
from somaagent.web.pagination import Page, PageQuery, page_of
from somaagent.web.request import actor_of
from somaagent.web.security import in_tenant_of_actor
from somaagent.web.text import Moment, Text

router = Router(tags=["audit"])
router.add_decorator(in_tenant_of_actor)


class AuditFilter(Schema):
    """Entries that have all that is given."""

    action: Text | None = Field(
        None, max_length=100, description="One action, or all on a kind of thing: `api_key.*`."
    )
    user_id: UUID | None = Field(None, description="Who did it.")
    target_type: Text | None = Field(None, max_length=64)
    target_id: Text | None = Field(None, max_length=64)
    since: Moment | None = Field(None, description="From this moment on.")
    until: Moment | None = Field(None, description="Before this moment.")


class AuditEntryOut(Schema):
    id: UUID
    number: Annotated[int, Field(ge=1)] = Field(
        description="Counts the organisation's entries, without gaps."
    )
    created_at: datetime
    user_id: UUID | None = Field(description="Who did it; null where nobody was signed in.")
    via: str = Field(description="`browser`, `api_key`, `schedule`, `admin` or `command`.")
    request_id: str
    action: str
    target_type: str
    target_id: str
    facts: dict[str, Any] = Field(description="What else is told of it. Secrets are masked.")
    digest: str = Field(description="SHA-256 over this entry and the digest of the one before it, in hex.")

    @staticmethod
    def resolve_digest(entry: AuditEntry) -> str:
        return bytes(entry.digest).hex()


@router.get("/audit", response={200: Page[AuditEntryOut], **PROBLEMS}, summary="Who did what")
def list_entries(request: HttpRequest, page: Query[PageQuery], wanted: Query[AuditFilter]) -> Any:
    """For owners and admins: the organisation's entries, newest first."""
    found = selectors.entry_list(actor=actor_of(request), **wanted.model_dump())
    return page_of(found, page)
