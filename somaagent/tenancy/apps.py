from __future__ import annotations

from django.apps import AppConfig


class TenancyConfig(AppConfig):
    name = "somaagent.tenancy"
    label = "tenancy"
    verbose_name = "Tenancy"

    def import_models(self) -> None:
        """Those of its packages as well."""
        super().import_models()
        from .audit import models as audit  # noqa: F401, PLC0415 apps are there only now
        from .budgets import models as budgets  # noqa: F401, PLC0415 as above
        from .ledger import models as ledger  # noqa: F401, PLC0415 as above
        from .outbox import models as outbox  # noqa: F401, PLC0415 as above

    def ready(self) -> None:
        from . import receivers  # noqa: F401, PLC0415 models are there only now
        from .audit import receivers as audited  # noqa: F401, PLC0415 as above
