"""The site at ``/admin/``: signed in by the page's own form, every request in its operator's tenant."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from csp.decorators import csp_replace
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.templatetags.static import static
from django.urls import path, reverse
from django.utils import timezone
from unfold.sites import UnfoldAdminSite

from apps.accounts import choosing
from apps.accounts.access import placeless
from apps.accounts.places import password_change_url
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.models import Tenant
from somaagent.tenancy.scope import tenant_scope
from somaagent.web.authentication import SECOND_FACTOR_MISSING

from .operating.pages import PlatformPages
from .selectors import dashboard
from .tools import tools_page
from .usage import usage_csv, usage_page
from .usage_form import EACH, UsageForm, ranges

View = Callable[..., HttpResponseBase]
# The page's accent, in the shades that Unfold asks for: the hue stays, lightness goes from 97 % to 25 %.
SHADES = {"50": 97, "100": 94, "200": 88, "300": 80, "400": 70, "500": 60, "600": 51, "700": 45, "800": 39}
PRIMARY = {
    shade: f"oklch({lightness}% {0.19 if lightness < 75 else 0.06} 274)"  # noqa: PLR2004 pale shades take less colour
    for shade, lightness in (SHADES | {"900": 33, "950": 25}).items()
}

ACCOUNT_LINKS = [
    {"title": "Change password", "link": "/account/password/"},
    {"title": "Work in another organisation", "link": "/organisations/?next=/admin/"},
]
SEES_TOOLS = "tools.view_toolcallrecord"
SEES_USAGE = "tenancy.view_usagerecord"


class OperatorsSite(UnfoldAdminSite):  # type: ignore[misc]  # Unfold has no types
    """Unfold's site with changes: who gets in, what they see, the first page, pages of tools and usage."""

    index_title = "Overview"
    index_template = "platform_admin/index.html"

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        relaxed = csp_replace(settings.ADMIN_CONTENT_SECURITY_POLICY)
        guarded: View = super().admin_view(_in_operators_tenant(view), cacheable)
        return functools.wraps(view)(relaxed(guarded))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        """There is one sign-in. Who has signed in and still may not enter is told so."""
        if self.has_permission(request):
            return redirect("admin:index")
        if request.user.is_authenticated:
            raise PermissionDenied
        return redirect_to_login(request.GET.get("next") or request.path.removesuffix("login/"))

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        return redirect("own-password")

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        mark = static("chat/mark.svg")
        context = super().each_context(request)
        organisation = _organisation_of(request)
        return {
            **context,
            "colors": {**context["colors"], "primary": PRIMARY},
            "site_title": "SomaAgent",
            "site_header": "SomaAgent",
            "site_subheader": f"Admin of {organisation}" if organisation else "Admin",
            "account_links": ACCOUNT_LINKS,
            "site_icon": {"light": mark, "dark": mark},
            "site_favicons": [{"rel": "icon", "type": "image/svg+xml", "href": mark}],
        }

    def get_urls(self) -> list[Any]:
        return [
            path("tools/overview/", self.admin_view(self.tools), name="tools"),
            path("usage/", self.admin_view(self.usage), name="usage"),
            path("usage/usage.csv", self.admin_view(self.usage_csv), name="usage_csv"),
            *PlatformPages(self).urls(),
            *super().get_urls(),
        ]

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[dict[str, Any]]:
        """With the pages of tools and usage first among their lists, and those of the platform last."""
        found: list[dict[str, Any]] = super().get_app_list(request, app_label)
        pages = {
            "tools": (SEES_TOOLS, _entry("Tools and policy", "Overview", reverse("admin:tools"))),
            "tenancy": (SEES_USAGE, _entry("Usage", "Usage", reverse("admin:usage"))),
        }
        for app in found:
            permission, entry = pages.get(app["app_label"], ("", {}))
            if entry and request.user.has_perm(permission):
                app["models"].insert(0, entry)
        platform = PlatformPages(self).links(request) if app_label is None else []
        return [*found, _platform(platform)] if platform else found

    def tools(self, request: HttpRequest) -> TemplateResponse:
        """All tools of the operator's tenant, its MCP servers, and the policy."""
        if not request.user.has_perm(SEES_TOOLS):
            raise PermissionDenied
        actor = _actor_of(request)
        shown = tools_page(tenant_id=actor.tenant_id) if actor else None
        context = {**self.each_context(request), "title": "Tools and policy", "page": shown}
        return TemplateResponse(request, "platform_admin/tools.html", context)

    def usage(self, request: HttpRequest) -> TemplateResponse:
        """Charts and a table of what the operator's tenant used in the days that are asked for."""
        form = _usage_form(request)
        context = {
            **self.each_context(request),
            "title": "Usage",
            "page": usage_page(form) if form else None,
            "form": form,
            "each": dict(EACH)[form.cleaned_data["each"]] if form and form.is_valid() else "",
            "ranges": [(name, urlencode(query)) for name, query in ranges(timezone.now().date())],
        }
        return TemplateResponse(request, "platform_admin/usage.html", context)

    def usage_csv(self, request: HttpRequest) -> HttpResponseBase:
        """The same for a spreadsheet. What is wrong with the days, the page says."""
        form = _usage_form(request)
        text = usage_csv(form) if form else None
        if text is None:
            return redirect(f"{reverse('admin:usage')}?{request.GET.urlencode()}")
        response = HttpResponse(text, content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="usage.csv"'
        return response

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        shown = dashboard(may=request.user.has_perm) if _actor_of(request) else None
        response: TemplateResponse = super().index(request, {**(extra_context or {}), "dashboard": shown})
        return response


def _platform(pages: list[tuple[str, str]]) -> dict[str, Any]:
    """One of Django's app list that has no models: the first of its pages stands for it."""
    entries = [_entry(name, name, url) for name, url in pages]
    shown = {"name": "Platform", "app_label": "platform_admin", "app_url": pages[0][1]}
    return {**shown, "has_module_perms": True, "models": entries}


def _usage_form(request: HttpRequest) -> UsageForm | None:
    """What is asked. None for an operator without a membership, who has no tenant to ask about."""
    if not request.user.has_perm(SEES_USAGE):
        raise PermissionDenied
    return UsageForm(request.GET) if _actor_of(request) else None


def _entry(name: str, object_name: str, url: str) -> dict[str, Any]:
    """One of Django's app list that is no model."""
    perms = {"add": False, "change": False, "delete": False, "view": True}
    shown = {"name": name, "object_name": object_name, "perms": perms, "admin_url": url}
    return {**shown, "model": None, "add_url": None, "view_only": True}


def _actor_of(request: HttpRequest) -> Actor | None:
    """The operator's own membership. A bearer key opens no admin, whatever cookie comes with it."""
    actor: Actor | None = getattr(request, "actor", None)
    return actor if actor is not None and actor.via == "browser" else None


def _organisation_of(request: HttpRequest) -> str:
    """The name of the organisation that the operator works in; empty where they belong to none."""
    actor = _actor_of(request)
    return Tenant.objects.values_list("name", flat=True).get(id=actor.tenant_id) if actor else ""


def _in_operators_tenant(view: View) -> View:
    """Run ``view``, and render what it gives, as one transaction in the operator's tenant."""

    @functools.wraps(view)
    def scoped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if getattr(request.user, "password_is_one_time", False):
            return redirect(password_change_url(request.get_full_path()))
        if request.session.get(SECOND_FACTOR_MISSING):
            return redirect("mfa_index")
        if getattr(request, "place_lost", False):
            return placeless(request)
        actor = _actor_of(request)
        if actor:
            choosing.keep(request, actor)
        # Without a membership an operator sees what belongs to no tenant, and nothing else.
        with tenant_scope(actor.tenant_id) if actor else transaction.atomic():
            response = view(request, *args, **kwargs)
            if isinstance(response, TemplateResponse):
                # Its queries are asked when it is rendered: while the tenant is still known.
                response.render()
            return response

    return scoped
