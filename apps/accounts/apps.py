from __future__ import annotations

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """How people sign in. Its tables are django-allauth's."""

    name = "apps.accounts"
    verbose_name = "Signing in"

    def ready(self) -> None:
        from . import (  # noqa: PLC0415 models are there only now
            audited,  # noqa: F401 its receivers
            endings,  # noqa: F401 as above
        )
