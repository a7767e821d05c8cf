"""One organisation. Nothing is different from ``settings.base``, which is closed where a mode opens something;
capabilities that are go here.
"""

from __future__ import annotations

from settings.base import *  # noqa: F403  a settings module is the base with a few names changed
