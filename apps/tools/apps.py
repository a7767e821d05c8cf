from __future__ import annotations

from django.apps import AppConfig


class ToolsConfig(AppConfig):
    """What agents may do: tools, the policy that judges each call, and the record of all calls."""

    name = "apps.tools"
    label = "tools"
    verbose_name = "Tools"
