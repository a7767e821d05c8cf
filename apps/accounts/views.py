"""Signing in and out, and one's own password. The flows are django-allauth's, the pages ours."""

from __future__ import annotations

from typing import Any, cast

from allauth.account.signals import password_changed
from allauth.account.views import LoginView, ReauthenticateView
from django.conf import settings
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LogoutView, RedirectURLMixin
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import FormView

from somaagent import valkey
from somaagent.tenancy import services as tenancy
from somaagent.tenancy.models import User
from somaagent.tenancy.selectors import actor_by_user
from somaagent.web import fallback

from .adapter import TOO_MANY
from .forms import OwnPasswordForm, SignInForm

TOO_MANY_REQUESTS = 429
# The longest that somebody has to wait after their own failures: see ACCOUNT_RATE_LIMITS.
WAIT_SECONDS = 300


class SignIn(LoginView):  # type: ignore[misc]  # allauth has no types
    """As slow for a name that does not exist, and on to a safe ``next`` only."""

    template_name = "account/sign_in.html"
    form_class = SignInForm

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Where attempts cannot be counted nobody signs in: 503, in words."""
        try:
            return cast("HttpResponseBase", super().dispatch(request, *args, **kwargs))
        except valkey.ERRORS as error:
            return fallback.store_away_page(request, error)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), "providers": settings.OIDC_PROVIDERS}

    def form_invalid(self, form: SignInForm) -> HttpResponse:
        response: HttpResponse = super().form_invalid(form)
        if form.has_error("__all__", TOO_MANY):
            response.status_code = TOO_MANY_REQUESTS
            response["Retry-After"] = str(WAIT_SECONDS)
        return response


class Again(ReauthenticateView):  # type: ignore[misc]  # allauth has no types
    """One's password once more, before something that matters."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return cast("HttpResponseBase", super().dispatch(request, *args, **kwargs))
        except valkey.ERRORS as error:
            return fallback.store_away_page(request, error)


class SignOut(LogoutView):
    """POST only."""


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
        # With a one-time password a user is no actor yet.
        by = actor_by_user(user.pk)
        tenancy.user_set_password(user=user, password=form.cleaned_data["new_password1"], by=by)
        # Every session dies with the old password (``endings``); this one goes on under a new key.
        update_session_auth_hash(self.request, user)
        password_changed.send(sender=User, request=self.request, user=user)
        return super().form_valid(form)
