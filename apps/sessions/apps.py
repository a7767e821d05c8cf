from __future__ import annotations

from django.apps import AppConfig


class SessionsConfig(AppConfig):
    """Conversations. Its label keeps clear of Django's own ``sessions``."""

    name = "apps.sessions"
    label = "agent_sessions"
    verbose_name = "Sessions"
