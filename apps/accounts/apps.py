from __future__ import annotations

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """How people sign in. Its tables are django-allauth's."""

    name = "apps.accounts"
    verbose_name = "Signing in"

    def ready(self) -> None:
        from . import audited  # noqa: F401, PLC0415 models are there only now
