"""Many tenants: what is different from ``settings.base``."""

from __future__ import annotations

from settings.base import *  # noqa: F403  a settings module is the base with a few names changed

MANY_TENANTS = True
# Browsers keep to HTTPS for a year once they have seen it.
SECURE_HSTS_SECONDS = 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = False
SECURE_HSTS_PRELOAD = False
