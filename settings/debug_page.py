"""Django's debug page and error mails without a secret in them.

Django hides settings by their names. Here values are hidden too: a password in a local variable of psycopg,
in an exception's text, or in a request that repeats it, whatever its name.
"""

from __future__ import annotations

import re
from collections.abc import ItemsView
from types import FrameType
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.regex_helper import _lazy_re_compile
from django.utils.safestring import SafeString
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

from settings.secret import MASK


class MaskedFilter(SafeExceptionReporterFilter):
    """Hides variables that hold a known secret, and honours ``sensitive_variables`` also in DEBUG."""

    cleansed_substitute = MASK
    hidden_settings = _lazy_re_compile(
        "API|AUTH|TOKEN|KEY|SECRET|PASS|SIGNATURE|COOKIE|CREDENTIAL|DSN", flags=re.IGNORECASE
    )

    def is_active(self, request: HttpRequest | None) -> bool:
        """Always: Django's own filter stands back in DEBUG."""
        return True

    def get_traceback_frame_variables(
        self, request: HttpRequest | None, tb_frame: FrameType
    ) -> ItemsView[str, Any]:
        """The frame's variables; one with a secret in it is masked whole: the page cuts long ones."""
        variables = super().get_traceback_frame_variables(request, tb_frame)
        return {name: MASK if self._is_secret(name, value) else value for name, value in variables}.items()

    def _is_secret(self, name: str, value: Any) -> bool:
        if self.hidden_settings.search(name):
            return True
        try:
            text = repr(value)
        except Exception:  # noqa: BLE001  any object's repr may raise anything; what cannot be looked at is not shown
            return True
        return bool(settings.SECRETS.masked(text) != text)


class MaskedReporter(ExceptionReporter):
    """Takes known secrets out of the finished page, wherever on it they stand."""

    def get_traceback_html(self) -> SafeString:
        return SafeString(settings.SECRETS.masked(super().get_traceback_html()))

    def get_traceback_text(self) -> SafeString:
        return SafeString(settings.SECRETS.masked(super().get_traceback_text()))
