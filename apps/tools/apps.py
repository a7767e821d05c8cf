from __future__ import annotations

from django.apps import AppConfig


class ToolsConfig(AppConfig):
    """What agents may do: tools, the policy that judges each call, and the record of all calls."""

    name = "apps.tools"
    label = "tools"
    verbose_name = "Tools"

    def import_models(self) -> None:
        """Those of its packages as well."""
        super().import_models()
        from .mcp import models as mcp  # noqa: F401, PLC0415 apps are there only now
