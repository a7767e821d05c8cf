"""Libraries that speak through httpx2 pass the same gates as everybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from aiohttp import web

from somaagent.errors import SomaError
from somaagent.outbound.client import Outbound
from somaagent.outbound.httpx_transport import GuardedTransport
from tests.unit.outbound.test_client import HERE, NAME, Names, Visits, client_of, serving, well


@asynccontextmanager
async def library_of(guarded: Outbound, most_bytes: int = 1000) -> AsyncIterator[httpx2.AsyncClient]:
    transport = GuardedTransport(guarded, most_bytes=most_bytes)
    async with httpx2.AsyncClient(transport=transport, timeout=None, follow_redirects=True) as library:
        yield library


async def refused(library: httpx2.AsyncClient, url: str) -> str:
    with pytest.raises(SomaError) as error:
        await library.get(url)
    return error.value.code


async def test_what_is_not_public_is_reached_neither_by_address_nor_by_name_nor_by_redirect():
    async def onward(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"http://inner.example.org:{visits.port}/"})

    # The name's second answer is another one than its first: what was looked at is what is connected to.
    names = Names(hook_example_org=["10.0.0.1"], inner_example_org=["10.0.0.2", "8.8.8.8"])
    async with serving(onward) as visits, client_of(HERE, names) as guarded, library_of(guarded) as library:
        assert await refused(library, "http://10.0.0.1/") == "url_not_public"
        assert await refused(library, "http://[::ffff:169.254.169.254]/") == "url_not_public"
        assert await refused(library, "http://2130706433/") == "url_invalid"
        assert await refused(library, f"http://{NAME}/") == "url_not_public"
        assert await refused(library, visits.url()) == "url_not_public"
        assert len(visits) == 1


async def test_a_request_arrives_as_it_was_made_and_an_answer_as_it_was_given():
    async def echo(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(
            status=201, body=await request.read(), headers={"X-Seen": request.headers["X-Sent"]}
        )

    async with serving(echo) as visits, client_of(HERE) as guarded, library_of(guarded) as library:
        answer = await library.post(visits.url("/a?b=c"), content=b"body", headers={"X-Sent": "1"})
        assert (answer.status_code, answer.content, answer.headers["X-Seen"]) == (201, b"body", "1")
        assert visits[0].path_qs == "/a?b=c"


async def test_too_much_and_what_is_packed_is_not_read():
    async def answer(request: web.Request) -> web.Response:
        response = web.Response(body=b"0" * 100_000)
        if request.path == "/packed":
            response.enable_compression(web.ContentCoding.gzip)
        return response

    async with serving(answer) as visits, client_of(HERE) as guarded, library_of(guarded) as library:
        assert await refused(library, visits.url("/much")) == "host_flood"
        assert await refused(library, visits.url("/packed")) == "host_packed"


async def test_who_is_away_is_unreachable():
    async with serving(well) as visits:
        gone = Visits()
        gone.port = visits.port
    async with client_of(HERE) as guarded, library_of(guarded) as library:
        assert await refused(library, gone.url()) == "host_unreachable"
