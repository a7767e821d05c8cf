"""Numbers in templates of the admin."""

from __future__ import annotations

from django import template

from apps.admin import numbers

register = template.Library()
register.filter("short", numbers.short)
register.filter("whole", numbers.whole)
register.filter("money", numbers.money)
register.filter("change", numbers.change)


@register.filter
def words(name: str) -> str:
    """A name of the API's as people write it: awaiting_approval, awaiting approval."""
    return name.replace("_", " ")
