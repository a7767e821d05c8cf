"""A model server that does what it is told: a real HTTP server that speaks OpenAI's chat completions,
Anthropic's messages (see ``tests.model_dialects``) and a few more (``tests.provider_dialects``).

What it does is written in the last user message, or in a script that ``POST /_script`` leaves for the next
requests:

``say: TEXT``                       streams TEXT word by word (so does any other message, as ``You said: …``)
``nul: TEXT``                       the same, with a NUL in place of each ``~``
``slow SECONDS: TEXT``              the same, with a pause before each word
``think: TEXT``                     some reasoning first, then TEXT
``mull``                            some reasoning, then the connection closes
``whole: TEXT``                     one JSON answer, though a stream was asked for
``calls: [{"name", "arguments"}]``  asks for tools; once their results are there, it repeats them
``ponder: [{"name", "arguments"}]``  the same, after some reasoning
``fail STATUS [SECONDS]``           a status, with Retry-After when SECONDS are given
``hang`` | ``hang after N``         writes nothing (more), and keeps the connection
``cut after N``                     closes the connection after N words
``long N``                          N characters, as fast as they go
``endless``                         characters, as fast as they are read, until nobody does
``garbage`` | ``noise`` | ``page``  events that are not JSON | bytes that are not HTTP | HTML
``plain: TEXT``                     the right events, called text/plain
``error: TEXT``                     an error object in the stream
``redirect``                        to another path
``limit: TEXT``                     TEXT, and then the limit of what it may write
``too long``                        refuses the conversation as longer than its context window

Embeddings (see ``tests.model_vectors``) know ``fail``, ``hang``, ``noise``, ``page`` and ``redirect`` too, as
the first of their texts.

Several of these, parted by lines that start with ``then ``, are for one model call each of an agent's run.
A request for a summary (its last message holds a ``<conversation>``) is answered with the words in it that
begin with ``#``: what must not be forgotten.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import re
import socket
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from tests import model_vectors
from tests.model_dialects import MODEL, Answer, Completion, Message
from tests.provider_dialects import Content, Groq, Mistral

MAX_BODY = 64 * 1024 * 1024
FOREVER = 3600.0


def loopback() -> str:
    return str(socket.getaddrinfo(None, 0, socket.AF_INET)[0][4][0])


def directive(said: list[tuple[str, str]]) -> str:
    """What the last user message tells this model call of a run to do."""
    last = max((i for i, (role, _) in enumerate(said) if role == "user"), default=-1)
    if last < 0:
        return "say: Nobody asked anything."
    if "<conversation>" in said[last][1]:
        return "say: In short: " + " ".join(dict.fromkeys(re.findall(r"#\w+", said[last][1])))
    steps = re.split(r"\nthen ", said[last][1])
    since = said[last + 1 :]
    number = sum(role == "assistant" for role, _ in since)
    if number >= len(steps):
        return "say: " + " | ".join(text for role, text in since if role == "tool")
    return str(steps[number].strip())


async def say(answer: Answer, text: str) -> None:
    if not answer.streams:
        await whole(answer, text)
        return
    await answer.words(text)
    await answer.end()


async def nul(answer: Answer, text: str) -> None:
    await say(answer, text.replace("~", "\x00"))


async def slow(answer: Answer, seconds: str, text: str) -> None:
    await answer.words(text, pause=float(seconds))
    await answer.end()


async def think(answer: Answer, text: str) -> None:
    for word in ("Let", " me", " see"):
        await answer.think(word)
    await say(answer, text)


async def mull(answer: Answer) -> None:
    await answer.think("Hm")
    await drop(answer)


async def whole(answer: Answer, text: str) -> None:
    answer.whole(text)


async def calls(answer: Answer, wanted: str) -> None:
    for index, call in enumerate(json.loads(wanted)):
        arguments = call["arguments"]
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        await answer.call(index, call["name"], (text[: len(text) // 2], text[len(text) // 2 :]))
    await answer.end(reason="tool_calls")


async def ponder(answer: Answer, wanted: str) -> None:
    await answer.think("Hm")
    await answer.think(" hm")
    await calls(answer, wanted)


async def fail(answer: Answer, status: str, seconds: str | None) -> None:
    answer.fail(int(status), {"Retry-After": seconds} if seconds else {})


async def hang(answer: Answer, after: str | None) -> None:
    if after is not None:
        await answer.words("word " * int(after), limit=int(after))
    await asyncio.sleep(FOREVER)


async def cut(answer: Answer, after: str) -> None:
    await answer.words("word " * int(after), limit=int(after))
    await drop(answer)


async def drop(answer: Answer) -> None:
    await answer.open()
    transport = answer.request.transport
    if transport is not None:
        transport.close()


async def long(answer: Answer, characters: str) -> None:
    for _ in range(int(characters) // 1000):
        await answer.text("x" * 1000)
    await answer.end()


async def endless(answer: Answer) -> None:
    while True:
        await answer.text("x" * 1000)


async def garbage(answer: Answer) -> None:
    await answer.line(b"data: {this is not JSON}")


async def noise(answer: Answer) -> None:
    transport = answer.request.transport
    if transport is not None:
        transport.write(b"\x00\x01 what is this \xff\r\n\r\n")
        transport.close()


async def page(answer: Answer) -> None:
    answer.response = web.Response(text="<html>Welcome!</html>", content_type="text/html")


async def plain(answer: Answer, text: str) -> None:
    await answer.open("text/plain")
    await say(answer, text)


async def limit(answer: Answer, text: str) -> None:
    await answer.words(text)
    await answer.end(reason="length")


async def too_long(answer: Answer) -> None:
    answer.response = web.json_response(answer.too_long_body(), status=400)


async def error(answer: Answer, text: str) -> None:
    await answer.error(text)


async def redirect(answer: Answer) -> None:
    answer.response = web.Response(status=307, headers={"Location": "/v1/elsewhere"})


PERFORM: tuple[tuple[re.Pattern[str], Callable[..., Awaitable[None]]], ...] = tuple(
    (re.compile(pattern, re.DOTALL), perform)
    for pattern, perform in (
        (r"say: ?(.*)", say),
        (r"nul: ?(.*)", nul),
        (r"slow ([\d.]+): ?(.*)", slow),
        (r"think: ?(.*)", think),
        (r"mull", mull),
        (r"whole: ?(.*)", whole),
        (r"calls: ?(.*)", calls),
        (r"ponder: ?(.*)", ponder),
        (r"fail (\d{3})(?: (\S.*))?", fail),
        (r"hang(?: after (\d+))?", hang),
        (r"cut after (\d+)", cut),
        (r"long (\d+)", long),
        (r"endless", endless),
        (r"plain: ?(.*)", plain),
        (r"garbage", garbage),
        (r"noise", noise),
        (r"page", page),
        (r"error: ?(.*)", error),
        (r"redirect", redirect),
        (r"limit: ?(.*)", limit),
        (r"too long", too_long),
    )
)


@dataclass
class Book:
    """What was asked, and what was told to do next."""

    key: str | None
    requests: list[dict[str, Any]] = field(default_factory=list)
    script: deque[str] = field(default_factory=deque)

    def speaking(self, dialect: type[Answer]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        return functools.partial(self.complete, dialect)

    async def complete(self, dialect: type[Answer], request: web.Request) -> web.StreamResponse:
        if self.key is not None and dialect.key(request) != self.key:
            return web.json_response({"error": {"message": "Incorrect API key"}}, status=401)
        body = orjson.loads(await request.read())
        answer = dialect(request, body)
        told = self.script.popleft() if self.script else directive(answer.said())
        entry = {"body": body, "told": told, "state": "open"}
        entry["authorization"] = request.headers.get("Authorization")
        entry["headers"] = dict(request.headers)
        entry["peer"] = str(request.transport and request.transport.get_extra_info("peername"))
        self.requests.append(entry)
        try:
            await perform(answer, told)
        except (asyncio.CancelledError, ConnectionError):
            entry["state"] = "disconnected"
            raise
        finally:
            entry["words"] = answer.written
        entry["state"] = "answered"
        return answer.response or web.Response(status=500)

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        """Vectors of the texts. The first text may be a command, as may the script's next line."""
        if self.key is not None and Completion.key(request) != self.key:
            return web.json_response({"error": {"message": "Incorrect API key"}}, status=401)
        body = orjson.loads(await request.read())
        told = self.script.popleft() if self.script else str(body["input"][0])
        entry = {"body": body, "told": told, "state": "open", "words": 0}
        entry["authorization"] = request.headers.get("Authorization")
        self.requests.append(entry)
        try:
            answer = await embedded(request, body, told)
        except (asyncio.CancelledError, ConnectionError):
            entry["state"] = "disconnected"
            raise
        entry["state"] = "answered"
        return answer

    async def list_models(self, request: web.Request) -> web.Response:
        del request
        return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    async def show(self, request: web.Request) -> web.Response:
        del request
        return web.json_response({"count": len(self.requests), "requests": self.requests})

    async def reset(self, request: web.Request) -> web.Response:
        del request
        self.requests.clear()
        self.script.clear()
        return web.json_response({})

    async def set_script(self, request: web.Request) -> web.Response:
        self.script.extend(orjson.loads(await request.read()))
        return web.json_response({})


async def embedded(request: web.Request, body: dict[str, Any], told: str) -> web.StreamResponse:
    """What ``tests.model_vectors`` answers, unless it was told to fail, hang, or write something else."""
    for pattern, action in PERFORM:
        found = pattern.fullmatch(told)
        if found and action in (fail, hang, noise, page, redirect):
            answer = Completion(request, body)
            await action(answer, *found.groups())
            return answer.response or web.Response(status=500)
    return web.json_response(model_vectors.answer(body, told))


async def perform(answer: Answer, told: str) -> None:
    for pattern, action in PERFORM:
        if found := pattern.fullmatch(told):
            await action(answer, *found.groups())
            return
    await say(answer, f"You said: {told}")


def application(key: str | None = None) -> web.Application:
    book = Book(key)
    app = web.Application(client_max_size=MAX_BODY)
    app.add_routes(
        [
            web.get("/v1/models", book.list_models),
            web.post("/v1/chat/completions", book.speaking(Completion)),
            web.post("/openai/v1/chat/completions", book.speaking(Groq)),
            web.post("/mistral/v1/chat/completions", book.speaking(Mistral)),
            web.post("/v1/embeddings", book.embeddings),
            web.post("/v1/messages", book.speaking(Message)),
            web.post("/v1beta/models/{call}", book.speaking(Content)),
            web.get("/_requests", book.show),
            web.post("/_reset", book.reset),
            web.post("/_script", book.set_script),
        ]
    )
    return app


@asynccontextmanager
async def serve(key: str | None = None, port: int = 0) -> AsyncIterator[str]:
    """Runs the server in this event loop; gives its address, without the ``/v1``."""
    runner = web.AppRunner(application(key), handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, loopback(), port)
    await site.start()
    try:
        host, bound = runner.addresses[0][:2]
        yield f"http://{host}:{bound}"
    finally:
        await runner.cleanup()


@contextmanager
def process(key: str | None = None, module: str = "tests.model_server") -> Iterator[str]:
    """Runs the server in a process of its own; gives its address, without the ``/v1``.

    ``module`` is what is run: any that prints ``{"url": …}`` as its first line.
    """
    command = [sys.executable, "-m", module, "--port", "0", *(["--key", key] if key else [])]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield json.loads(child.stdout.readline())["url"]
    finally:
        child.terminate()
        child.wait(10)


async def main(port: int, key: str | None) -> None:
    async with serve(key, port) as url:
        sys.stdout.write(json.dumps({"url": url}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A scripted model server")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key")
    chosen = parser.parse_args()
    try:
        asyncio.run(main(chosen.port, chosen.key))
    except KeyboardInterrupt:
        sys.exit(0)
