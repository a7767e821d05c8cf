"""Signing in and out, and one's own password."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.views import LoginView, LogoutView, RedirectURLMixin
from django.http import HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import FormView

from somaagent.tenancy import services as tenancy
from somaagent.tenancy.models import User

from .access import password_change_url

UNKNOWN = (
    "This name and password do not belong together. Mind capitals, and that the account may be disabled."
)


class SignInForm(AuthenticationForm):
    error_messages = {"invalid_login": UNKNOWN, "inactive": UNKNOWN}


class SignIn(LoginView):
    """Django's own view: as slow for a name that does not exist, and on to a safe ``next`` only."""

    template_name = "account/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def get_success_url(self) -> str:
        then = super().get_success_url()
        user = cast("User", self.request.user)
        return password_change_url(then) if user.password_is_one_time else then


class SignOut(LogoutView):
    """POST only."""


class OwnPasswordForm(PasswordChangeForm):
    """The old password, and a new one twice."""

    def clean_new_password1(self) -> str:
        new: str = self.cleaned_data["new_password1"]
        if new and self.user.check_password(new):
            raise forms.ValidationError("This is the password that you have: choose another one.")
        return new


@method_decorator([never_cache, login_required], name="dispatch")
class OwnPassword(RedirectURLMixin, FormView):  # type: ignore[type-arg]  # generic in its stubs only
    """Choose another password. A one-time password leads here, and nowhere else."""

    template_name = "account/password.html"
    form_class = OwnPasswordForm
    next_page = "/"

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "user": self.request.user}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        then = self.get_redirect_url()
        return super().get_context_data(**kwargs, next=then)

    def form_valid(self, form: OwnPasswordForm) -> HttpResponse:
        user = cast("User", self.request.user)
        tenancy.user_set_password(user=user, password=form.cleaned_data["new_password1"])
        update_session_auth_hash(self.request, user)
        return super().form_valid(form)
