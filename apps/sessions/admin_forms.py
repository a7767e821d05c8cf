"""The admin's form of a model profile: its key is typed once and never shown."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.core.validators import RegexValidator
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldBooleanSwitchWidget

from somaagent.tenancy.admin_forms import TenantOwnedForm

from . import keys
from .models import ModelProfile

# What a header can carry (RFC 9110, 5.5, without spaces), and long enough to be masked in logs.
_KEY = RegexValidator(r"^[\x21-\x7e]{8,500}$", "A key has 8 to 500 characters and no spaces.")


class ModelProfileForm(TenantOwnedForm):
    """Sets, replaces and removes the profile's own key. An empty field leaves it as it is."""

    own_api_key = forms.CharField(
        label="its own key",
        required=False,
        validators=[_KEY],
        widget=UnfoldAdminPasswordWidget(render_value=False, attrs={"autocomplete": "new-password"}),
    )
    remove_own_api_key = forms.BooleanField(
        label="remove its own key", required=False, widget=UnfoldBooleanSwitchWidget
    )

    class Meta:
        model = ModelProfile
        fields = "__all__"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        there = bool(self.instance.encrypted_key)
        self.fields["own_api_key"].help_text = (
            "One is set. Type another to replace it." if there else "None is set."
        )

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        typed, remove = cleaned.get("own_api_key"), cleaned.get("remove_own_api_key")
        if typed and remove:
            raise forms.ValidationError({"own_api_key": "Either type a key or remove the one that is there."})
        stays = bool(self.instance.encrypted_key) and not remove
        if cleaned.get("secret_name") and (typed or stays):
            raise forms.ValidationError(
                {"secret_name": "It has a key of its own: remove that, or leave this empty."}
            )
        if not self.errors:
            self._seal(typed, remove)
        return cleaned

    def _seal(self, typed: str | None, remove: bool | None) -> None:
        if remove:
            self.instance.encrypted_key = ""
        if not typed:
            return
        try:
            self.instance.encrypted_key = keys.sealed(self.instance, typed)
        except settings.SECRETS.Error as error:
            raise forms.ValidationError({"own_api_key": f"It cannot be kept now: {error}"}) from error
