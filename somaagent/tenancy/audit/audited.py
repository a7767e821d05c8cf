"""What operators change in the admin: an entry for each row that they add, change or delete."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.db.models import Model
from django.http import HttpRequest

from somaagent.observability.masking import MASK, is_secret_name
from somaagent.tenancy.actor import Actor

from .entries import Who, audit_entry_create, audit_without_tenant

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_VALUES = "_audited_values"


class AuditedAdmin:
    """For a ``ModelAdmin``: Django tells of each change here, in the transaction that makes it.

    ``audits_additions``: off where a service that makes the row writes the entry.
    """

    audits_additions = True

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        setattr(request, _VALUES, _values(form))
        return super().construct_change_message(request, form, formsets, add)  # type: ignore[misc]  # a ModelAdmin's

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        if self.audits_additions:
            _keep(request, obj, "created", message)
        return super().log_addition(request, obj, message)  # type: ignore[misc]  # a ModelAdmin's

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        _keep(request, obj, "changed", message)
        return super().log_change(request, obj, message)  # type: ignore[misc]  # a ModelAdmin's

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> Any:
        rows = list(queryset)
        for obj in rows:
            _keep(request, obj, "deleted", None)
        return super().log_deletions(request, rows)  # type: ignore[misc]  # a ModelAdmin's


def kind_of(obj: Model) -> str:
    """How entries name a row's kind: ``api_key`` for ``ApiKey``."""
    return _WORDS.sub("_", type(obj).__name__).lower()


def audit_by_operator(
    request: HttpRequest, *, action: str, target_type: str, target_id: object, facts: Mapping[str, Any]
) -> None:
    """An entry on what is done in the admin: in the operator's tenant, or in the log for who has none."""
    operator: Actor | None = getattr(request, "actor", None)
    by = Who(getattr(request.user, "pk", None), "admin")
    if operator is None:
        audit_without_tenant(by=by, action=action, target_type=target_type, target_id=target_id)
        return
    audit_entry_create(by=by, action=action, target_type=target_type, target_id=target_id, facts=facts)


def _keep(request: HttpRequest, obj: Model, what: str, message: Any) -> None:
    kind = kind_of(obj)
    facts = {"name": str(obj), "values": getattr(request, _VALUES, {}), "message": message}
    given = {name: value for name, value in facts.items() if value}
    audit_by_operator(request, action=f"{kind}.{what}", target_type=kind, target_id=obj.pk, facts=given)


def _values(form: Any) -> dict[str, Any]:
    """What was typed, by field; of a changed one, what was there before as well."""
    return {
        name: _value(form.fields[name], name, form.initial.get(name), form.cleaned_data.get(name))
        for name in form.changed_data
        if name in form.fields
    }


def _value(field: forms.Field, name: str, before: Any, now: Any) -> Any:
    if isinstance(field.widget, forms.PasswordInput) or is_secret_name(name):
        return MASK
    return {"from": _plain(before), "to": _plain(now)}


def _plain(value: Any) -> Any:
    """As a form's first value and its cleaned one look alike."""
    if isinstance(value, Model):
        return str(value.pk)
    if value is None or isinstance(value, bool | int | float | list | dict):
        return value
    return str(value)
