"""The forms of signing in."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import LoginForm
from django import forms
from django.contrib.auth.forms import PasswordChangeForm, UserCreationForm

from somaagent.tenancy.models import User


class SignInForm(LoginForm):  # type: ignore[misc]  # allauth has no types
    """allauth's. On the wire its field is ``username``, which is what password managers look for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs.pop("placeholder", None)
            field.help_text = ""
        self.fields["login"].widget.attrs |= {"autofocus": True, "autocapitalize": "none"}

    def add_prefix(self, field_name: str) -> str:
        return "username" if field_name == "login" else str(super().add_prefix(field_name))


class OwnPasswordForm(PasswordChangeForm):
    """The old password, and a new one twice."""

    def clean_new_password1(self) -> str:
        new: str = self.cleaned_data["new_password1"]
        if new and self.user.check_password(new):
            raise forms.ValidationError("This is the password that you have: choose another one.")
        return new


class AccountForm(UserCreationForm):  # type: ignore[type-arg]  # generic in its stubs only
    """An account of one's own: a name that nobody has in any spelling, an address, a password twice."""

    email = forms.EmailField(label="E-mail address", max_length=254)

    class Meta:
        model = User
        fields = ("username", "email")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.help_text = ""
        self.fields["username"].widget.attrs |= {"autocapitalize": "none", "autocomplete": "username"}
        self.fields["email"].widget.attrs["autocomplete"] = "email"
