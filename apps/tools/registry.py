"""The tools that come with SomaAgent: every module of ``apps.tools.catalog``, and nothing that lists them."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType, ModuleType

from . import catalog
from .tool import Tool


@functools.cache
def built_in() -> Mapping[str, Tool]:
    """The tools by name. Read once, on first use; what a tool needs to run is imported when it runs."""
    return tools_of(catalog)


def tools_of(package: ModuleType) -> Mapping[str, Tool]:
    """The tools of a package's modules, by name.

    Raises ``TypeError`` for a module without a ``TOOL``, ``ValueError`` for a name that comes twice.
    """
    found: dict[str, Tool] = {}
    for each in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        tool = getattr(importlib.import_module(f"{package.__name__}.{each.name}"), "TOOL", None)
        if not isinstance(tool, Tool):
            raise TypeError(
                f"{package.__name__}.{each.name} has no TOOL: every module of the package is one."
            )
        if tool.name in found:
            raise ValueError(
                f"Two tools are named {tool.name}: {package.__name__}.{each.name} has the second."
            )
        found[tool.name] = tool
    return MappingProxyType(found)
