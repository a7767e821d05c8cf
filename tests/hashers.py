"""Django's own password hasher with few iterations."""

from __future__ import annotations

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class QuickHasher(PBKDF2PasswordHasher):
    """As safe as a password that everybody may read in these tests."""

    iterations = 1_000
