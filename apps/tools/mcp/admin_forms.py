"""The admin's form of an MCP server: its secrets are typed once and never shown."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings

from somaagent.errors import SomaError
from somaagent.outbound.addresses import allowed_url
from somaagent.tenancy.admin_forms import TenantOwnedForm
from somaagent.tenancy.sealed_forms import TOKEN, removal_field, sealed_field, tell_whether_set

from . import keys
from .models import Authentication, McpServer, McpToken


class McpServerForm(TenantOwnedForm):
    """Sets, replaces and removes the server's secrets. The admin stores the refresh token after the row."""

    own_secret = sealed_field("Its own key or client secret")
    remove_own_secret = removal_field("Remove its own key or client secret")
    refresh_token = sealed_field("Refresh token", TOKEN)

    class Meta:
        model = McpServer
        fields = "__all__"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tell_whether_set(self.fields["own_secret"], there=bool(self.instance.encrypted_secret))
        has_token = McpToken.objects.filter(server_id=self.instance.pk).exclude(encrypted_refresh="").exists()
        tell_whether_set(self.fields["refresh_token"], there=has_token)

    def clean_url(self) -> str:
        return self._allowed("url")

    def clean_token_url(self) -> str:
        return self._allowed("token_url") if self.cleaned_data["token_url"] else ""

    def _allowed(self, name: str) -> str:
        url: str = self.cleaned_data[name]
        try:
            allowed_url(url, settings.OUTBOUND_ALLOWED_NETWORKS)
        except SomaError as error:
            raise forms.ValidationError(error.message) from error
        return url

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        typed, remove = cleaned.get("own_secret"), cleaned.get("remove_own_secret")
        if typed and remove:
            raise forms.ValidationError({"own_secret": "Either type one or remove the one that is there."})
        stays = bool(self.instance.encrypted_secret) and not remove
        if cleaned.get("secret_name") and (typed or stays):
            raise forms.ValidationError(
                {"secret_name": "It has a secret of its own: remove that, or leave this empty."}
            )
        if cleaned.get("refresh_token") and cleaned.get("authentication") != Authentication.REFRESH_TOKEN:
            raise forms.ValidationError({"refresh_token": "Only OAuth with a refresh token has one."})
        if not self.errors:
            self._seal(typed, remove)
        return cleaned

    def _seal(self, typed: str | None, remove: bool | None) -> None:
        if remove:
            self.instance.encrypted_secret = ""
        if not typed:
            return
        row = self.instance
        try:
            row.encrypted_secret = keys.sealed(
                typed, tenant_id=row.tenant_id, purpose=keys.SERVER_SECRET, row_id=row.pk
            )
        except settings.SECRETS.Error as error:
            raise forms.ValidationError({"own_secret": f"It cannot be kept now: {error}"}) from error
