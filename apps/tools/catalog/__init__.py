"""The built-in tools: each module of this package has one, as ``TOOL``. Nothing else names it."""
