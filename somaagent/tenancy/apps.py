from __future__ import annotations

from django.apps import AppConfig


class TenancyConfig(AppConfig):
    name = "somaagent.tenancy"
    label = "tenancy"
    verbose_name = "Tenancy"

    def import_models(self) -> None:
        """Those of its packages as well."""
        super().import_models()
        from .budgets import models as budgets  # noqa: F401, PLC0415 apps are there only now
        from .ledger import models as ledger  # noqa: F401, PLC0415 as above

    def ready(self) -> None:
        from . import receivers  # noqa: F401, PLC0415 models are there only now
