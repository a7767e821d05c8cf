"""The guarded client against real servers: where it goes, where it does not, and when it has had enough."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from somaagent.embedded.addresses import loopback
from somaagent.errors import SomaError
from somaagent.outbound.client import Answer, Outbound
from somaagent.outbound.connector import guarded_connector

HERE = [ip_network(f"{loopback()}/8", strict=False)]
NAME = "hook.example.org"


class Names(AbstractResolver):
    """A name server of the test's own: what each name is, one answer after another; the last one stays."""

    def __init__(self, **names: list[str]) -> None:
        self.names = {name.replace("_", "."): answers for name, answers in names.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        answers = self.names[host]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in answer.split()
        ]

    async def close(self) -> None:
        """There is nothing to close."""


class Visits(list[web.Request]):
    """A server and who came to it."""

    port = 0

    def url(self, path: str = "/", host: str = "") -> str:
        return f"http://{host or loopback()}:{self.port}{path}"


@asynccontextmanager
async def serving(answer: Callable[[web.Request], Any]) -> AsyncIterator[Visits]:
    visits = Visits()

    async def handle(request: web.Request) -> web.StreamResponse:
        visits.append(request)
        return await answer(request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    # It ends what it does for a client that left; with a time-out of zero it would wait for it, however long.
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, loopback(), 0)
    await site.start()
    visits.port = runner.addresses[0][1]
    try:
        yield visits
    finally:
        await runner.cleanup()


async def well(request: web.Request) -> web.Response:
    return web.Response(text="well", headers={"Set-Cookie": "a=b; Path=/"})


async def get(client: Outbound, url: str, **more: Any) -> Answer:
    return await client.fetch("GET", url, **{"seconds": 5, "most_bytes": 1000} | more)


@asynccontextmanager
async def client_of(*arguments: Any) -> AsyncIterator[Outbound]:
    client = Outbound(*arguments)
    try:
        yield client
    finally:
        await client.close()


async def refused(client: Outbound, url: str, **more: Any) -> SomaError:
    with pytest.raises(SomaError) as error:
        await get(client, url, **more)
    return error.value


async def test_an_allowed_network_is_reached_and_nothing_is_remembered(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    async with serving(well) as visits, client_of(HERE) as client:
        first, second = await get(client, visits.url("/a")), await get(client, visits.url("/b"))
    assert (first.status, first.body, first.truncated) == (200, b"well", False)
    assert second.url.endswith("/b")
    assert [visit.headers.get("Cookie") for visit in visits] == [None, None]


async def test_what_is_not_public_is_not_connected_to_by_address_or_by_name():
    names = Names(hook_example_org=[loopback()])
    async with serving(well) as visits, client_of([], names) as client:
        assert (await refused(client, visits.url())).code == "url_not_public"
        error = await refused(client, visits.url(host=NAME))
    assert error.code == "url_not_public"
    assert loopback() not in error.message
    assert visits == []


async def test_a_name_with_one_inner_address_among_public_ones_is_refused_whole():
    names = Names(hook_example_org=[f"93.184.216.34 {loopback()}"], six_example_org=["::ffff:7f00:1"])
    async with serving(well) as visits, client_of([], names) as client:
        for host in (NAME, "six.example.org"):
            assert (await refused(client, visits.url(host=host))).code == "url_not_public"
    assert visits == []


async def test_a_name_that_changes_its_address_is_asked_once_a_connection_and_checked_each_time():
    names = Names(hook_example_org=[loopback(), "10.0.0.1"])
    async with serving(well) as visits, client_of(HERE, names) as client:
        assert (await get(client, visits.url(host=NAME), headers={"Connection": "close"})).status == 200
        assert names.asked == [NAME]
        assert (await refused(client, visits.url(host=NAME))).code == "url_not_public"
    assert names.asked == [NAME, NAME]
    assert len(visits) == 1


async def test_the_last_gate_holds_without_the_others():
    connector = guarded_connector([])
    info = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (loopback(), 80))
    assert connector._socket_factory is not None
    with pytest.raises(OSError, match="not a public address"):
        connector._socket_factory(info)
    await connector.close()


async def test_redirects_are_told_not_followed_unless_asked_and_pass_the_same_gates():
    async def answer(request: web.Request) -> web.Response:
        to = {
            "/there": "/arrived",
            "/inside": "http://[::1]/",
            "/spelt": "http://2130706433/",
            "/file": "file:///etc/passwd",
            "/name": f"http://inner.example.org:{visits.port}/",
            "/round": "/round",
        }.get(request.path)
        return web.Response(status=302, headers={"Location": to}) if to else await well(request)

    names = Names(inner_example_org=["10.0.0.1"])
    async with serving(answer) as visits, client_of(HERE, names) as client:
        assert (await get(client, visits.url("/there"))).status == 302
        assert (await get(client, visits.url("/there"), redirects=1)).url.endswith("/arrived")
        posted = await client.fetch("POST", visits.url("/there"), seconds=5, most_bytes=10, redirects=3)
        assert posted.status == 302
        for path, code in {
            "/inside": "url_not_public",
            "/spelt": "url_invalid",
            "/file": "url_invalid",
            "/name": "url_not_public",
            "/round": "host_redirects",
        }.items():
            assert (await refused(client, visits.url(path), redirects=3)).code == code


async def test_headers_do_not_go_to_another_origin():
    async with serving(well) as second:

        async def onward(request: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": second.url("/on")})

        async with serving(onward) as first, client_of(HERE) as client:
            await get(client, first.url(), headers={"Authorization": "Bearer of-the-first"}, redirects=1)
    assert first[0].headers["Authorization"] == "Bearer of-the-first"
    assert "Authorization" not in second[0].headers


async def test_too_much_is_cut_and_too_long_is_ended():
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/slow":
            await asyncio.sleep(60)
        response = web.StreamResponse()
        await response.prepare(request)
        if request.path == "/drip":
            for _ in range(600):
                await response.write(b"x")
                await asyncio.sleep(0.1)
        await response.write(b"x" * 100_000)
        return response

    async with serving(answer) as visits, client_of(HERE) as client:
        answered = await get(client, visits.url("/much"))
        assert (len(answered.body), answered.truncated) == (1000, True)
        exact = await get(client, visits.url("/much"), most_bytes=100_000)
        assert (len(exact.body), exact.truncated) == (100_000, False)
        for path in ("/slow", "/drip"):
            assert (await refused(client, visits.url(path), seconds=0.3)).code == "host_timeout"


async def test_an_answer_that_is_packed_is_not_unpacked():
    async def bomb(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        response = web.Response(body=b"0" * 50_000_000)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with serving(bomb) as visits, client_of(HERE) as client:
        answered = await get(client, visits.url(), most_bytes=1_000_000)
    assert answered.headers["Content-Encoding"] == "gzip"
    assert len(answered.body) < 100_000


async def test_a_server_that_is_away_or_talks_nonsense_is_unreachable():
    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.write(b"what is this\r\n\r\n")
        request.transport.close()
        return web.Response()

    async with serving(hang_up) as visits, client_of(HERE) as client:
        assert (await refused(client, visits.url())).code == "host_unreachable"
        gone = visits.url()
    async with client_of(HERE) as client:
        error = await refused(client, gone)
        assert (error.code, loopback() in error.message) == ("host_unreachable", False)
        assert (await refused(client, "http://no-such-name.invalid/")).code == "host_unreachable"
