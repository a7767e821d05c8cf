"""``manage.py runserver``: over ASGI, by daphne.

Daphne's own app is not installed: it would bring Twisted into every process.
"""

from __future__ import annotations

from daphne.management.commands.runserver import Command

__all__ = ["Command"]
