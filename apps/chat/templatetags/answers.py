"""What templates need to show an answer."""

from __future__ import annotations

from django import template
from django.utils.safestring import SafeString, mark_safe

from apps.chat.rendering import to_html

register = template.Library()


@register.filter
def markdown(text: str) -> SafeString:
    """A model's Markdown as HTML."""
    return mark_safe(to_html(text))  # noqa: S308 it was sanitised there
