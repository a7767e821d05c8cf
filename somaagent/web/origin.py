"""Which pages may open a WebSocket, or speak with the MCP server."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlparse

from channels.security.websocket import OriginValidator
from django.conf import settings


class OwnOrigin(OriginValidator):  # type: ignore[misc]
    """Lets pages of the public URL and of the allowed hosts in, and programs, which send no origin.

    Browsers always send one (RFC 6455, section 10.2): a foreign page cannot use its visitor's cookie.
    """

    def __init__(self, application: Any) -> None:
        super().__init__(application, [settings.PUBLIC_URL, *settings.ALLOWED_HOSTS])

    def valid_origin(self, parsed_origin: Any) -> bool:
        try:
            return parsed_origin is None or bool(self.validate_origin(parsed_origin))
        except ValueError:  # its port is none
            return False


def is_own(origin: str | None) -> bool:
    """Whether an ``Origin`` header names a page of ours, or nobody sent one: the same rule for HTTP."""
    try:
        parsed = urlparse(origin) if origin is not None else None
    except ValueError:
        return False
    return bool(OwnOrigin(None).valid_origin(parsed))
