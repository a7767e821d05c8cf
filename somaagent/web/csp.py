"""The Content-Security-Policy header."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from csp.constants import HEADER
from csp.middleware import CheckableLazyObject, CSPMiddleware
from csp.utils import build_policy
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase


class ContentSecurityPolicy(CSPMiddleware):
    """django-csp's, with the header of answers that ask for nothing of their own built once.

    It would build that anew for each answer, and twice: also what is only reported, which we do not use.
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        self._usual = build_policy()

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if settings.DEBUG or hasattr(request, "_csp_nonce") or _has_own(response):
            return super().process_response(request, response)
        response.headers.setdefault(HEADER, self._usual)
        # As django-csp does: a nonce from now on would be in no header.
        request.csp_nonce = CheckableLazyObject(self._csp_nonce_post_response)  # type: ignore[attr-defined]
        return response


def _has_own(response: HttpResponseBase) -> bool:
    """Whether the view asked for a policy of its own, or for none (``csp.decorators``)."""
    return any(name.startswith("_csp_") for name in vars(response))
