"""Forms of the admin: rows of the operator's tenant, users with one-time passwords, API keys."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from unfold.forms import AdminPasswordChangeForm, UserChangeForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from somaagent.errors import SomaError

from . import services
from .models import ApiKey, Membership, Scope, Tenant, User, default_scopes
from .users import is_last_operator, last_operator


class TenantForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in its stubs only
    """A tenant; a new one only where there is room for it."""

    class Meta:
        model = Tenant
        fields = ["name", "slug", "requests_per_minute"]

    def clean(self) -> dict[str, Any]:
        if self.instance._state.adding:  # noqa: SLF001 Django documents it
            try:
                services.room_for_tenant()
            except SomaError as refused:
                raise forms.ValidationError(refused.message, code=refused.code) from refused
        cleaned: dict[str, Any] = super().clean() or {}
        return cleaned


class TenantOwnedForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in its stubs only
    """A row of the operator's tenant, set before the row is checked: names are unique in a tenant."""

    tenant_id: UUID | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance._state.adding:  # noqa: SLF001 Django documents it
            self.instance.tenant_id = self.tenant_id

    def _get_validation_exclusions(self) -> set[str]:
        return {name for name in super()._get_validation_exclusions() if name != "tenant"}  # type: ignore[misc]


class ApiKeyForm(TenantOwnedForm):
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices, initial=default_scopes, widget=UnfoldAdminCheckboxSelectMultipleWidget
    )

    class Meta:
        model = ApiKey
        fields = ["user", "name", "scopes", "expires_at", "requests_per_minute"]

    def clean_user(self) -> User:
        user: User = self.cleaned_data["user"]
        if not Membership.objects.filter(user=user).exists():
            raise forms.ValidationError("This user is no member of your tenant: make a membership first.")
        return user

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        user = cleaned.get("user")
        if Scope.OPERATE in cleaned.get("scopes", ()) and user is not None and not user.is_staff:
            self.add_error("scopes", "Only keys of operators operate the platform.")
        return cleaned


class ChangedUserForm(UserChangeForm):  # type: ignore[misc]  # Unfold has no types
    """A user as an operator changes them. One operator who may do everything is always left."""

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        was = User.objects.filter(
            pk=self.instance.pk, is_staff=True, is_superuser=True, is_active=True
        ).exists()
        stays = all(cleaned.get(name, True) for name in ("is_staff", "is_superuser"))
        if was and not stays and is_last_operator(self.instance):
            raise forms.ValidationError(last_operator().message, code="last_operator")
        return cleaned


class HandedOutPasswordForm(AdminPasswordChangeForm):  # type: ignore[misc]  # Unfold has no types
    """A password that an operator chose for somebody else: that somebody changes it at the next sign-in."""

    def save(self, commit: bool = True) -> User:
        self.user.password_is_one_time = True
        user: User = super().save(commit)
        return user
