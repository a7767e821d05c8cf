"""Every HTTP address."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from apps.chat.mcp.views import endpoint as mcp
from somaagent.api import api, openai_api
from somaagent.observability.metrics import view as metrics
from somaagent.web import fallback, health

urlpatterns = [
    path("api/v1/", api.urls),
    path("v1/health", health.health),
    path("v1/", openai_api.urls),
    path("mcp", mcp),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics),
    path("admin/", admin.site.urls),
    path("", include("apps.accounts.urls")),
    path("", include("apps.chat.urls")),
]

handler400 = fallback.bad_request
handler403 = fallback.forbidden
handler404 = fallback.missing
handler429 = fallback.too_many  # django-allauth looks for it by this name
handler500 = fallback.crashed
