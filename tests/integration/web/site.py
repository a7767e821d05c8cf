"""A small site of the tests' own: a view of each kind, and what they saw."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import connection
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import SimpleTemplateResponse
from django.urls import path
from django.utils.decorators import sync_and_async_middleware
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI
from opentelemetry import trace

from somaagent.tenancy.pool import database, tenant_transaction
from somaagent.tenancy.scope import tenant_scope
from somaagent.web import fallback
from somaagent.web.request import actor_of
from somaagent.web.security import Credential

COUNT = "SELECT count(*) FROM tenancy_membership"
EXCEPTIONS = {
    "missing": Http404("by hand"),
    "forbidden": PermissionDenied("by hand"),
    "suspicious": SuspiciousOperation("by hand"),
    "crash": RuntimeError("by hand"),
}

seen: list[str] = []
begun = asyncio.Event()
mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="nothing")


def _facts(request: HttpRequest) -> dict[str, Any]:
    before = mark.get()
    mark.set(request.GET.get("mark", "nothing"))
    return {
        "thread": threading.current_thread().name,
        "in_loop": asyncio._get_running_loop() is not None,
        "mark_before": before,
        "method": request.method,
        "path": request.path,
        "query": request.GET.dict(),
        "cookies": request.COOKIES,
        "scheme": request.scheme,
        "host": request.get_host(),
        "header": request.headers.get("X-Story"),
        "trace": trace.format_trace_id(trace.get_current_span().get_span_context().trace_id),
    }


def _dressed(response: HttpResponse) -> HttpResponse:
    response["X-Of-View"] = "grüezi"
    response.set_cookie("first", "1", httponly=True)
    response.set_cookie("second", "2")
    return response


def plain(request: HttpRequest) -> HttpResponse:
    return _dressed(JsonResponse(_facts(request)))


async def coroutine(request: HttpRequest) -> HttpResponse:
    return _dressed(JsonResponse(_facts(request)))


def raising(request: HttpRequest, kind: str) -> HttpResponse:
    raise EXCEPTIONS[kind]


async def raising_coroutine(request: HttpRequest, kind: str) -> HttpResponse:
    raise EXCEPTIONS[kind]


def scope(request: HttpRequest) -> HttpResponse:
    seen_here = request.scope  # type: ignore[attr-defined]  # an ASGIRequest's
    names = sorted(name.decode() for name, _ in seen_here["headers"])
    query = seen_here["query_string"].decode()
    return JsonResponse({"query": query, "headers": names, "client": seen_here["client"][0]})


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    return JsonResponse(_uploaded(request))


@csrf_exempt
async def upload_coroutine(request: HttpRequest) -> HttpResponse:
    return JsonResponse(_uploaded(request))


def _uploaded(request: HttpRequest) -> dict[str, Any]:
    if not request.FILES:
        return {"size": len(request.body), "digest": hashlib.sha256(request.body).hexdigest()}
    file = request.FILES["file"]
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    return {"size": file.size, "digest": digest.hexdigest(), "name": file.name, "note": request.POST["note"]}


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(_lines())


def _lines() -> Iterator[bytes]:
    try:
        for number in range(10):
            with connection.cursor() as cursor:
                cursor.execute("SELECT %s", [number])
                yield b"%d " % cursor.fetchone()
    finally:
        seen.append("stream closed")


async def stream_coroutine(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(_lines_of_coroutine(10))


def endless_iterator(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(_endless_lines())


def _endless_lines() -> Iterator[bytes]:
    try:
        while True:
            time.sleep(0.001)
            yield threading.current_thread().name.encode()
    finally:
        seen.append(f"closed in {threading.current_thread().name}")


def endless_of_plain(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(_lines_of_coroutine(1_000_000))


async def endless(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(_lines_of_coroutine(1_000_000))


async def _lines_of_coroutine(count: int) -> AsyncIterator[bytes]:
    try:
        for number in range(count):
            yield b"%d " % number
            await asyncio.sleep(0.001)
    finally:
        seen.append("stream closed")


async def patient(request: HttpRequest) -> HttpResponse:
    begun.set()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        seen.append("view cancelled")
        raise
    return HttpResponse("too late")


class _Noticed(BytesIO):
    def close(self) -> None:
        seen.append("file closed")
        super().close()


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(_Noticed(b"x" * 200_000), filename="x.bin", as_attachment=True)


def template(request: HttpRequest) -> SimpleTemplateResponse:
    return SimpleTemplateResponse(engines["django"].from_string("{{ word }}"), {"word": "from the view"})


async def template_coroutine(request: HttpRequest) -> SimpleTemplateResponse:
    return template(request)


def leave_a_tenant(request: HttpRequest) -> HttpResponse:
    with tenant_scope(request.GET["tenant"]), connection.cursor() as cursor:  # type: ignore[arg-type]
        cursor.execute(COUNT)
        assert cursor.fetchone() == (1,)
        raise RuntimeError("in the tenant's transaction")


async def leave_a_tenant_coroutine(request: HttpRequest) -> HttpResponse:
    async with tenant_transaction(request.GET["tenant"]) as mine:  # type: ignore[arg-type]
        assert await (await mine.execute(COUNT)).fetchone() == (1,)
        raise RuntimeError("in the tenant's transaction")


def look(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute(COUNT)
        return JsonResponse({"rows": cursor.fetchone()[0], "open": connection.in_atomic_block})


async def look_coroutine(request: HttpRequest) -> HttpResponse:
    async with database() as mine:
        row = await (await mine.execute(COUNT)).fetchone()
        assert row is not None
        return JsonResponse({"rows": row[0], "open": False})


class Both(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return JsonResponse(_facts(request))


api = NinjaAPI(urls_namespace="lanes", docs_url=None, openapi_url=None)


@api.get("/things")
def things(request: HttpRequest) -> dict[str, Any]:
    return _facts(request)


@api.post("/things")
async def things_made(request: HttpRequest) -> dict[str, Any]:
    return _facts(request)


class _Noted(Credential):
    """Says in which thread the API asks who calls."""

    def __call__(self, request: HttpRequest) -> Any:
        seen.append(f"asked in {threading.current_thread().name}")
        return super().__call__(request)


@api.get("/mine", auth=_Noted())
async def mine(request: HttpRequest) -> dict[str, Any]:
    return {"user": str(actor_of(request).user_id)}


def noting(name: str) -> Any:
    """A middleware that says when it is passed, and by which hook."""

    @sync_and_async_middleware
    def middleware(get_response: Any) -> Any:
        if iscoroutinefunction(get_response):

            async def passed_in_loop(request: HttpRequest) -> HttpResponse:
                seen.append(f"{name} before")
                response = await get_response(request)
                seen.append(f"{name} after")
                return response

            return passed_in_loop

        def passed(request: HttpRequest) -> HttpResponse:
            seen.append(f"{name} before")
            response = get_response(request)
            seen.append(f"{name} after")
            return response

        return passed

    return middleware


outer, inner = noting("outer"), noting("inner")

urlpatterns = [
    path("plain", plain, name="plain"),
    path("coroutine", coroutine, name="coroutine"),
    path("plain/raise/<str:kind>", raising),
    path("coroutine/raise/<str:kind>", raising_coroutine),
    path("plain/scope", scope),
    path("plain/upload", upload),
    path("coroutine/upload", upload_coroutine),
    path("plain/stream", stream),
    path("coroutine/stream", stream_coroutine),
    path("plain/endless", endless_of_plain),
    path("coroutine/endless", endless),
    path("plain/endless-iterator", endless_iterator),
    path("coroutine/patient", patient),
    path("plain/file", file),
    path("plain/template", template),
    path("coroutine/template", template_coroutine),
    path("plain/leave", leave_a_tenant),
    path("coroutine/leave", leave_a_tenant_coroutine),
    path("plain/look", look),
    path("coroutine/look", look_coroutine),
    path("class", Both.as_view()),
    path("v1/", api.urls),
]
handler400 = fallback.bad_request
handler403 = fallback.forbidden
handler404 = fallback.missing
handler500 = fallback.crashed
