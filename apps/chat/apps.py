from __future__ import annotations

from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "apps.chat"
    label = "chat"
    verbose_name = "Chat"

    def import_models(self) -> None:
        """Those of its packages as well."""
        super().import_models()
        from .webhooks import models  # noqa: F401, PLC0415 apps are there only now

    def ready(self) -> None:
        from . import receivers  # noqa: F401, PLC0415 models are there only now
