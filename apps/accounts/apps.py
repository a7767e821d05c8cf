from __future__ import annotations

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """How people sign in. Its tables are django-allauth's."""

    name = "apps.accounts"
    verbose_name = "Signing in"
