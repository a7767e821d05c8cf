"""The admin of tools: Django looks for it in this module alone."""

from __future__ import annotations

from .mcp import admin as mcp  # noqa: F401 it registers itself
