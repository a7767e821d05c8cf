"""The admin's form of a model profile: its key is typed once and never shown."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminTextareaWidget

from somaagent.tenancy.admin_forms import TenantOwnedForm
from somaagent.tenancy.sealed_forms import removal_field, sealed_field, tell_whether_set

from . import keys
from .agents import STAYS_DEFAULT
from .models import MOST_TOOLS, TOOL_PATTERN, Agent, ModelProfile


class ModelProfileForm(TenantOwnedForm):
    """Sets, replaces and removes the profile's own key. An empty field leaves it as it is."""

    own_api_key = sealed_field("Its own key")
    remove_own_api_key = removal_field("Remove its own key")

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


class ToolNamesField(forms.CharField):
    """Names of tools and patterns of names, one a line; a list of them, each once, in the order written."""

    widget = UnfoldAdminTextareaWidget

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), "\n".join(_names(data or "")))

    def to_python(self, value: Any) -> Any:
        names = _names(value or "")
        for name in names:
            if not TOOL_PATTERN.fullmatch(name):
                raise forms.ValidationError(
                    f"“{name[:100]}” is no name of a tool: 64 letters, digits, “_” and “-” at most, and “*”."
                )
        if len(names) > MOST_TOOLS:
            raise forms.ValidationError(f"At most {MOST_TOOLS} lines: let “*” stand for some of them.")
        return names


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name for line in text.splitlines() if (name := line.strip())))


class AgentForm(TenantOwnedForm):
    tools = ToolNamesField(
        required=False, help_text="The tools that it may use, one a line; * stands for any characters."
    )

    class Meta:
        model = Agent
        fields = "__all__"

    def _get_validation_exclusions(self) -> set[str]:
        # A new default takes the place of the old one (see ``agents.agent_keep``): two are no error here.
        return super()._get_validation_exclusions() | {"is_default"}

    def clean_is_default(self) -> bool:
        chosen: bool = self.cleaned_data["is_default"]
        if self.initial.get("is_default") and not chosen:
            raise ValidationError(STAYS_DEFAULT)
        return chosen
