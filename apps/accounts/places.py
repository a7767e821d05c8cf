"""Addresses that other rooms send people to."""

from __future__ import annotations

from django.utils.http import urlencode


def password_change_url(then: str) -> str:
    """Where a one-time password is changed, and where to go on after that."""
    return f"/account/password/?{urlencode({'next': then})}"
