"""One organisation: ``settings.base`` as it is, which is closed where a mode opens something."""

from __future__ import annotations

from settings.base import *  # noqa: F403  a settings module is the base with a few names changed
