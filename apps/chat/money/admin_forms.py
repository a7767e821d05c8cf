"""Forms for budgets."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget

from apps.sessions import selectors as sessions
from somaagent.tenancy.admin_forms import TenantOwnedForm
from somaagent.tenancy.budgets.models import Budget, Covers
from somaagent.tenancy.models import ApiKey, Membership


class BudgetForm(TenantOwnedForm):
    """A new budget. ``whom`` says what it covers: the tenant, or one of its users, keys or agents."""

    whom = forms.ChoiceField(label="Covers", widget=UnfoldAdminSelectWidget)

    class Meta:
        model = Budget
        fields = ("name", "measure", "period", "amount")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        members = Membership.objects.select_related("user").order_by("user__username")
        keys = ApiKey.objects.filter(revoked_at=None).order_by("name")
        self.fields["whom"].choices = [  # type: ignore[attr-defined]  # a ChoiceField
            (Covers.TENANT.value, "The tenant"),
            ("Users", [(f"{Covers.USER.value} {one.user_id}", str(one.user)) for one in members]),
            ("API keys", [(f"{Covers.API_KEY.value} {one.id}", str(one)) for one in keys]),
            ("Agents", [(f"{Covers.AGENT.value} {one.id}", str(one)) for one in sessions.agent_list()]),
        ]

    def clean_whom(self) -> str:
        """Set before the row is checked: there is one such budget at most."""
        whom: str = self.cleaned_data["whom"]
        covers, _, subject = whom.partition(" ")
        self.instance.covers = covers
        self.instance.subject_id = UUID(subject) if subject else None
        return whom

    def _get_validation_exclusions(self) -> set[str]:
        return super()._get_validation_exclusions() - {"covers", "subject_id"}


class ChangedBudgetForm(TenantOwnedForm):
    class Meta:
        model = Budget
        fields = ("name", "amount")
