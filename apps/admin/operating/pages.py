"""The operators' pages of the platform: services and settings."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import path, reverse

from .platform import SEES_PLATFORM, by_section, services, settings_in_force

COLOURS = {
    "up": "success",
    "done": "success",
    "healthy": "success",
    "degraded": "warning",
    "unhealthy": "danger",
    "down": "danger",
    "failed": "danger",
}
SERVICE_COLUMNS = ("Service", "State", "Since", "Restarts", "Last check", "Last error")
SETTING_COLUMNS = ("Setting", "Value", "Source", "What it is")


class PlatformPages:
    """For the site: where the pages are, and who finds them."""

    def __init__(self, site: AdminSite) -> None:
        self._site = site

    def urls(self) -> list[Any]:
        view = self._site.admin_view
        return [
            path("platform/services/", view(self.services), name="services"),
            path("platform/settings/", view(self.settings), name="settings"),
        ]

    def links(self, request: HttpRequest) -> list[tuple[str, str]]:
        """Name and address of each, for those who may see them."""
        if not _may_see(request):
            return []
        return [("Services", reverse("admin:services")), ("Settings", reverse("admin:settings"))]

    def services(self, request: HttpRequest) -> TemplateResponse:
        """How every service is, as the orchestrator recorded it last."""
        found = services()
        rows = [(state, COLOURS.get(state.health.state.value, "warning")) for state in found.states]
        status = found.record.status.value
        context = {"found": found, "rows": rows, "columns": SERVICE_COLUMNS, "colour": COLOURS[status]}
        return self._page(request, "Services", "services", context)

    def settings(self, request: HttpRequest) -> TemplateResponse:
        """Every setting with its source; of secrets whether they are set."""
        words = request.GET.get("q", "")[:200]
        facts = settings_in_force(words=words)
        context = {
            "sections": by_section(facts), "count": len(facts), "words": words, "columns": SETTING_COLUMNS,
        }  # fmt: skip
        return self._page(request, "Settings", "settings", context)

    def _page(self, request: HttpRequest, title: str, name: str, shown: dict[str, Any]) -> TemplateResponse:
        if not _may_see(request):
            raise PermissionDenied
        context = {**self._site.each_context(request), "title": title, **shown}
        return TemplateResponse(request, f"platform_admin/{name}.html", context)


def _may_see(request: HttpRequest) -> bool:
    return bool(request.user.has_perm(SEES_PLATFORM))
