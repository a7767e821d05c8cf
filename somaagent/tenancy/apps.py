from __future__ import annotations

from django.apps import AppConfig


class TenancyConfig(AppConfig):
    name = "somaagent.tenancy"
    label = "tenancy"
    verbose_name = "Tenancy"
