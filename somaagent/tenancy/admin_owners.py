"""The admin takes no tenant's last owner, and says so where it is tried: at the field, or before deleting."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django import forms
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest

from .admin_forms import TenantOwnedForm
from .models import Membership, Role
from .owners import left_without_owner


class KeepsOwnersForm(TenantOwnedForm):
    """A membership: whose role, and who."""

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        changed = [name for name in self.changed_data if name in {"role", "user"}]
        if changed and not self.instance._state.adding and self.initial.get("role") == Role.OWNER:  # noqa: SLF001 Django documents it
            before = Membership.objects.get(pk=self.instance.pk)
            left = left_without_owner(leaving=[before.user_id], tenant_id=before.tenant_id)
            if left:
                self.add_error(changed[0], _sentence(left))
        return cleaned


class KeepsOwnersFormSet(BaseInlineFormSet):  # type: ignore[type-arg]  # generic in its stubs only
    """The membership on a user's page, which can be deleted there."""

    def clean(self) -> None:
        super().clean()
        for form in self.deleted_forms:
            member = form.instance
            if member.role == Role.OWNER:
                left = left_without_owner(leaving=[member.user_id], tenant_id=member.tenant_id)
                if left:
                    raise forms.ValidationError(_sentence(left))


class KeepsOwners:
    """For a ``ModelAdmin``: who would be a tenant's last owner is protected, one by one or many at once."""

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, Any, Any, list[Any]]:
        rows = list(objs)
        deleted, counts, lacking, protected = super().get_deleted_objects(objs, request)  # type: ignore[misc]  # a ModelAdmin's
        left = left_without_owner(**self.leaving_with(rows)) if rows else []
        return deleted, counts, lacking, [*protected, *(_of(name) for name in left)]

    def leaving_with(self, rows: Iterable[Any]) -> dict[str, Any]:
        """What ``left_without_owner`` is asked: whole users, of all their tenants."""
        return {"leaving": [row.pk for row in rows]}


class KeepsOwnersOfTenant(KeepsOwners):
    """The same for memberships, which are all of one tenant."""

    def leaving_with(self, rows: Iterable[Membership]) -> dict[str, Any]:
        owners = [row for row in rows if row.role == Role.OWNER]
        tenant_id: UUID | None = owners[0].tenant_id if owners else None
        return {"leaving": [row.user_id for row in owners], "tenant_id": tenant_id}


def _of(name: str) -> str:
    return f"the last owner of {name} who can act: make somebody else an owner first"


def _sentence(tenants: list[str]) -> str:
    return f"{', '.join(tenants)} would have no owner left who can act: make somebody else an owner first."
