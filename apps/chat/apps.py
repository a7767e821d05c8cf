from __future__ import annotations

from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "apps.chat"
    label = "chat"
    verbose_name = "Chat"

    def import_models(self) -> None:
        """Those of its packages as well."""
        super().import_models()
        from .schedules import models as schedules  # noqa: F401, PLC0415 apps are there only now
        from .webhooks import models as webhooks  # noqa: F401, PLC0415 as above

    def ready(self) -> None:
        from . import receivers  # noqa: F401, PLC0415 models are there only now
