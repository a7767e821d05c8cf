"""The admin of tools: Django looks for it in this module alone."""

from __future__ import annotations

from . import record_admin  # noqa: F401 it registers itself
from .mcp import admin as mcp  # noqa: F401 as above
