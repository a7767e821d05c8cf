"""Fields of the admin's forms for secrets: typed once, sealed into their row, never shown."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.validators import RegexValidator
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldBooleanSwitchWidget

# What a header can carry (RFC 9110, 5.5, without spaces), and long enough to be masked in logs.
KEY = RegexValidator(r"^[\x21-\x7e]{8,500}$", "A key has 8 to 500 characters and no spaces.")
TOKEN = RegexValidator(r"^[\x21-\x7e]{8,8000}$", "A token has 8 to 8000 characters and no spaces.")


def sealed_field(label: str, validator: RegexValidator = KEY) -> forms.CharField:
    """An empty one leaves what is there as it is."""
    return forms.CharField(
        label=label,
        required=False,
        validators=[validator],
        widget=UnfoldAdminPasswordWidget(render_value=False, attrs={"autocomplete": "new-password"}),
    )


def removal_field(label: str) -> forms.BooleanField:
    return forms.BooleanField(label=label, required=False, widget=UnfoldBooleanSwitchWidget())


def tell_whether_set(field: Any, *, there: bool) -> None:
    field.help_text = "One is set. Type another to replace it." if there else "None is set."
