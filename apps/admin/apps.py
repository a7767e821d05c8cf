from __future__ import annotations

from django.apps import AppConfig


class AdminConfig(AppConfig):
    """What operators see and do. Its label keeps clear of Django's own ``admin``."""

    name = "apps.admin"
    label = "platform_admin"
    verbose_name = "Platform"
