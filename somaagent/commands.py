"""What the commands of ``manage.py`` have in common."""

from __future__ import annotations

from django.core.management.base import BaseCommand


class PlatformCommand(BaseCommand):
    """A command that begins at once: Django's checks import every page, which takes as long as all else.

    They look at the code, which CI has them do (``manage.py check``); settings look at what is configured.
    """

    requires_system_checks = ()
