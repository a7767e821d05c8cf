from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin import apps as django_admin


class AdminConfig(AppConfig):
    """What operators see and do. Its label keeps clear of Django's own ``admin``."""

    name = "apps.admin"
    label = "platform_admin"
    verbose_name = "Platform"
    default = True


class OperatorsAdminConfig(django_admin.AdminConfig):
    """Django's admin, at our site: every request in its operator's tenant."""

    default = False
    default_site = "apps.admin.site.OperatorsSite"
