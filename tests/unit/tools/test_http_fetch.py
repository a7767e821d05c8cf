"""A page of the internet as text; and every way of naming the inside of a network, refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web

from somaagent.embedded.addresses import loopback
from somaagent.errors import Kind
from somaagent.outbound import client
from somaagent.outbound.client import Outbound
from tests.unit.outbound.test_client import HERE, NAME, Names, serving
from tests.unit.tools.calling import call, fits, refused

PAGE = """<html><head><title>The page</title><script>alert(1)</script><style>b {}</style></head><body>
<h1>Head</h1><p>Some <b>bold</b> text, <a href="/more">more</a>.</p><table><tr><th>a</th><th>b</th></tr>
<tr><td>1</td><td>2</td></tr></table></body></html>"""


@pytest.fixture
async def outside() -> AsyncIterator[Callable[..., Outbound]]:
    """Makes the running loop's client: with these names, and with the networks that an operator allows."""
    made: list[Outbound] = []

    def of(*arguments: Any) -> Outbound:
        made.append(Outbound(*arguments))
        client._clients._made[asyncio.get_running_loop()] = made[-1]
        return made[-1]

    yield of
    for each in made:
        await each.close()


def answering(**facts: Any) -> Callable[[web.Request], Any]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(**facts)

    return answer


async def test_a_page_becomes_markdown_without_what_is_not_to_be_read(outside):
    outside(HERE)
    async with serving(answering(text=PAGE, content_type="text/html")) as visits:
        told = await call("http_fetch", url=visits.url("/page"))
    assert told.startswith(f"Status: 200\nURL: {visits.url('/page')}\nType: text/html\n\n")
    for text in ("title: The page", "# Head", "Some **bold** text, [more](/more).", "| 1 | 2 |"):
        assert text in told
    assert "alert" not in told
    assert visits[0].method == "GET"


async def test_text_is_as_it_is_whatever_its_status(outside):
    outside(HERE)
    for kind in ("text/plain", "application/json", "application/ld+json", "text/csv"):
        async with serving(answering(body=b'{"a": "\xc3\xa9"}', content_type=kind, status=404)) as visits:
            told = await call("http_fetch", url=visits.url())
        assert told == f'Status: 404\nURL: {visits.url()}\nType: {kind}\n\n{{"a": "é"}}'


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("text/plain; charset=iso-8859-1", "é".encode("latin-1")),
        ("text/plain; charset=utf-16", "é".encode("utf-16")),
        ("text/html", '<meta charset="windows-1252"><p>é'.encode("cp1252")),
        ("text/plain; charset=no-such", "é".encode()),
        ("text/plain; charset=idna", "é".encode()),
        ("text/plain; charset=unicode_escape", "é".encode()),
        ("text/plain; charset=zlib", "é".encode()),
    ],
)
async def test_encodings_of_texts_are_known_and_others_are_not_taken(outside, header, body):
    outside(HERE)
    async with serving(answering(body=body, headers={"Content-Type": header})) as visits:
        assert (await call("http_fetch", url=visits.url())).rstrip().endswith("é")


async def test_a_long_text_comes_in_parts(outside):
    outside(HERE)
    async with serving(answering(text="0123456789" * 4_500)) as visits:
        first = await call("http_fetch", url=visits.url())
        last = await call("http_fetch", url=visits.url(), start=40_000)
        beyond = await call("http_fetch", url=visits.url(), start=99_999)
    assert "Characters 0 to 20000 of 45000; the next part has start 20000\n" in first
    assert "Characters 40000 to 45000 of 45000\n" in last
    assert last.endswith("0123456789" * 500)
    assert beyond.endswith("(nothing)")


async def test_a_body_without_end_is_cut_and_says_so(outside):
    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 100_000)

    outside(HERE)
    async with serving(flood) as visits:
        assert "It is longer than 1000000 bytes" in await call("http_fetch", url=visits.url())


@pytest.mark.parametrize(
    "facts",
    [
        {"body": b"\x89PNG", "content_type": "image/png"},
        {"body": b"x", "content_type": "application/octet-stream"},
        {"body": b"x", "headers": {"Content-Type": "application/zip; name=text/plain"}},
        {"body": b"a\0b", "content_type": "text/plain"},
        {"body": b"\x1f\x8b", "headers": {"Content-Type": "text/plain", "Content-Encoding": "gzip"}},
    ],
)
async def test_what_is_no_text_is_refused(outside, facts):
    outside(HERE)
    async with serving(answering(**facts)) as visits:
        error = await refused("http_fetch", url=visits.url())
    assert (error.kind, error.code) == (Kind.UPSTREAM, "fetch_not_text")


@pytest.mark.parametrize("page", ["<div>" * 190_000, "<a><p>" * 160_000, "<!--" * 200_000, "<" * 900_000])
async def test_a_page_that_is_nested_or_broken_without_end_is_read(outside, page):
    outside(HERE)
    async with serving(answering(text=page, content_type="text/html")) as visits:
        assert "Status: 200" in await call("http_fetch", url=visits.url())


async def test_a_page_that_keeps_its_reader_busy_ends(outside):
    """Paragraphs between the rows of a table: a browser's rules move each of them, past all the others."""
    outside(HERE)
    page = "<table>" + "<p>x" * 240_000
    async with serving(answering(text=page, content_type="text/html")) as visits:
        assert (await refused("http_fetch", url=visits.url())).code == "page_unreadable"


async def test_redirects_are_followed_and_counted(outside):
    async def answer(request: web.Request) -> web.Response:
        step = int(request.path[1:])
        return (
            web.Response(status=302, headers={"Location": f"/{step - 1}"})
            if step
            else web.Response(text="there")
        )

    outside(HERE)
    async with serving(answer) as visits:
        told = await call("http_fetch", url=visits.url("/5"))
        assert f"URL: {visits.url('/0')}\n" in told
        assert told.endswith("there")
        assert (await refused("http_fetch", url=visits.url("/6"))).code == "host_redirects"


SPELT = [
    "http://127.0.0.2/", "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://100.100.100.200/",
    "http://[::1]/", "http://[::ffff:127.0.0.2]/", "http://[::ffff:a9fe:a9fe]/", "http://[::127.0.0.2]/",
    "http://[64:ff9b::127.0.0.2]/", "http://[64:ff9b::a9fe:a9fe]/", "http://[fd00:ec2::254]/", "http://[fe80::1]/",
    "http://①②⑦.⓪.⓪.②/", "http://１２７.0.0.2/", "http://127。0。0。2/",
]  # fmt: skip
TRICKS = [
    "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/", "http://0/",
    "http://0x7f.0x0.0x0.0x1/", "http://127.0.0.2./", "http://%31%32%37.0.0.1/", "http://[fe80::1%25eth0]/",
    "http://example.org@127.0.0.2/", "http://127.0.0.2\\@example.org/", "http://user:password@example.org/",
    "file:///etc/passwd", "gopher://example.org/", "ftp://example.org/", "dict://example.org:11211/",
    "javascript:alert(1)", "data:text/plain,x", "//example.org/", "example.org", "http:///x", "http://example.org:0/",
    "http://exa mple.org/", "http://example.org/\r\nHost: inside",
]  # fmt: skip


@pytest.mark.parametrize(
    ("url", "code"), [(u, "url_not_public") for u in SPELT] + [(u, "url_invalid") for u in TRICKS]
)
async def test_the_inside_is_refused_in_every_spelling(outside, url, code):
    outside([])
    assert (await refused("http_fetch", url=url)).code == code


# The others are read as places at the server itself, or are no header.
REDIRECTABLE = re.compile("[a-z]+://[^/\r]+/[^\r]*$")


@pytest.mark.parametrize(
    "url", [*SPELT, *(url for url in TRICKS if re.search("://[^/]", url) and "\r" not in url)]
)
async def test_and_behind_a_redirect(outside, url):
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": url})

    outside([ip_network(loopback())])
    async with serving(answer) as visits:
        error = await refused("http_fetch", url=visits.url())
    assert error.code in ("url_not_public", "url_invalid")
    assert len(visits) == 1


async def test_a_name_of_the_inside_is_refused_and_its_address_is_not_told(outside):
    outside([], Names(hook_example_org=["10.20.30.40"], six_example_org=["93.184.216.34 ::ffff:10.20.30.40"]))
    for host in (NAME, "six.example.org"):
        error = await refused("http_fetch", url=f"http://{host}/")
        assert error.code == "url_not_public"
        assert "10.20" not in f"{error.message} {error.field}"


async def test_a_name_that_changes_its_address_gains_nothing(outside):
    """Its first answer is a server that redirects to the same name; its second is the inside."""

    async def again(request: web.Request) -> web.Response:
        url = f"http://{NAME}:{visits.port}/again"
        return web.Response(status=307, headers={"Location": url, "Connection": "close"})

    names = Names(hook_example_org=[loopback(), "169.254.169.254"])
    outside(HERE, names)
    async with serving(again) as visits:
        assert (await refused("http_fetch", url=visits.url(host=NAME))).code == "url_not_public"
    assert names.asked == [NAME, NAME]
    assert len(visits) == 1


async def test_a_host_that_is_away_is_told_without_its_address(outside):
    outside(HERE, Names(hook_example_org=[loopback()]))
    async with serving(answering(text="x")) as visits:
        gone = visits.url(host=NAME)
    error = await refused("http_fetch", url=gone)
    assert error.code == "host_unreachable"
    assert loopback() not in error.message


def test_arguments_of_another_kind_or_size_do_not_fit():
    for arguments in (
        {},
        {"url": 1},
        {"url": ""},
        {"url": "https://example.org/" + "x" * 2000},
        {"url": "https://example.org/", "start": -1},
        {"url": "https://example.org/", "start": "0"},
        {"url": "https://example.org/", "method": "POST"},
        {"url": "https://example.org/", "headers": {"Authorization": "x"}},
    ):
        assert not fits("http_fetch", arguments)
