"""The Content-Security-Policy header is django-csp's, whatever a view asks for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from csp.constants import HEADER
from csp.decorators import csp, csp_exempt, csp_replace, csp_update
from csp.exceptions import CSPNonceError
from csp.middleware import CSPMiddleware
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings

from somaagent.web.csp import ContentSecurityPolicy

View = Callable[[HttpRequest], HttpResponse]


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("plain")


def failing(request: HttpRequest) -> HttpResponse:
    return HttpResponse("not here", status=404)


def with_header(request: HttpRequest) -> HttpResponse:
    return HttpResponse("its own", headers={HEADER: "default-src 'none'"})


def with_nonce(request: HttpRequest) -> HttpResponse:
    request._csp_nonce = "told"  # type: ignore[attr-defined]
    return HttpResponse(str(request.csp_nonce))  # type: ignore[attr-defined]


VIEWS = {
    "nothing": plain,
    "nothing, with an error": failing,
    "a header of its own": with_header,
    "a nonce": with_nonce,
    "more": csp_update({"img-src": "https://images.example"})(plain),
    "something else": csp_replace({"img-src": "https://images.example"})(plain),
    "all else": csp({"default-src": "'none'"})(plain),
    "no policy": csp_exempt()(plain),
}


def policy(middleware: type[CSPMiddleware], view: View) -> set[str]:
    header = middleware(view)(RequestFactory().get("/")).headers.get(HEADER, "")
    return {directive.strip() for directive in header.split(";")}


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_the_header_is_the_one_of_django_csp(view: View, debug: bool):
    with override_settings(DEBUG=debug):
        assert policy(ContentSecurityPolicy, view) == policy(CSPMiddleware, view)


def test_a_nonce_that_comes_too_late_is_refused():
    request = RequestFactory().get("/")
    ContentSecurityPolicy(plain)(request)
    with pytest.raises(CSPNonceError):
        str(request.csp_nonce)  # type: ignore[attr-defined]
