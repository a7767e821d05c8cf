"""The admin's form of a model profile: its key is typed once and never shown."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings

from somaagent.tenancy.admin_forms import TenantOwnedForm
from somaagent.tenancy.sealed_forms import removal_field, sealed_field, tell_whether_set

from . import keys
from .models import ModelProfile


class ModelProfileForm(TenantOwnedForm):
    """Sets, replaces and removes the profile's own key. An empty field leaves it as it is."""

    own_api_key = sealed_field("its own key")
    remove_own_api_key = removal_field("remove its own key")

    class Meta:
        model = ModelProfile
        fields = "__all__"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tell_whether_set(self.fields["own_api_key"], there=bool(self.instance.encrypted_key))

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
