"""Which operator asks."""

from __future__ import annotations

from django.http import HttpRequest

from somaagent.tenancy.operators import Operator, operator_by
from somaagent.web.request import actor_of


def operator_of(request: HttpRequest, permission: str) -> Operator:
    """Raises ``scope_missing`` or ``operator_only`` (see ``require_operator``)."""
    return operator_by(actor_of(request), permission)
