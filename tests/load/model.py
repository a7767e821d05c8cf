"""A model server that costs next to nothing: chat completions of 50 tokens, encoded beforehand.

It is what SomaAgent is measured against, so it has no router, no log and no encoding while it answers; but
it writes each token by itself, as model servers do. The last user message says what it answers:

``answer N``        the Nth text, as fast as it goes
``hold N SECONDS``  the same, a token each SECONDS and over again, until ``POST /_release``
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys

import orjson
import uvloop
from aiohttp import web

from tests.model_server import loopback

TOKENS = 50
TEXTS = 16
_ASKED = re.compile(rb"\b(answer|hold) (\d+)(?: (\d+(?:\.\d+)?))?")
_HEADERS = {"Content-Type": "text/event-stream"}


def tokens_of(number: int) -> list[str]:
    """The tokens of a text: no two texts share one, so that an answer to somebody else is noticed."""
    return [f"{' ' if place else ''}n{number % TEXTS}w{place}" for place in range(TOKENS)]


def text_of(number: int) -> str:
    return "".join(tokens_of(number))


def _event(delta: dict[str, str], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return _line({"choices": [choice], "usage": None})


def _line(facts: dict[str, object]) -> bytes:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "lean", **facts}
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


_USAGE = {"prompt_tokens": 10, "completion_tokens": TOKENS, "total_tokens": 10 + TOKENS}
_END = [_event({}, "stop"), _line({"choices": [], "usage": _USAGE}), b"data: [DONE]\n\n"]
_TOKENS = [[_event({"content": token}) for token in tokens_of(number)] for number in range(TEXTS)]


class LeanModel:
    """The one handler of all requests."""

    def __init__(self) -> None:
        self._released = asyncio.Event()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/_release":
            self._released.set()
            return web.Response()
        asked = _ASKED.findall(await request.read())
        if not asked:
            return web.Response(status=400, text="Say “answer N” or “hold N SECONDS”.")
        what, number, pause = asked[-1]
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        pieces = _TOKENS[int(number) % TEXTS]
        if what == b"hold":
            await self._hold(response, pieces, float(pause or 1))
        else:
            for piece in pieces:
                await response.write(piece)
        for piece in _END:
            await response.write(piece)
        return response

    async def _hold(self, response: web.StreamResponse, pieces: list[bytes], pause: float) -> None:
        place = 0
        while not self._released.is_set():
            await response.write(pieces[place % TOKENS])
            place += 1
            try:
                async with asyncio.timeout(pause):
                    await self._released.wait()
            except TimeoutError:
                continue


async def main(port: int) -> None:
    server = web.Server(LeanModel().answer, access_log=None, handler_cancellation=True)
    runner = web.ServerRunner(server, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, loopback(), port, backlog=1024).start()
    host, bound = runner.addresses[0][:2]
    sys.stdout.write(json.dumps({"url": f"http://{host}:{bound}"}) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A model server that costs next to nothing")
    parser.add_argument("--port", type=int, default=0)
    try:
        uvloop.run(main(parser.parse_args().port))
    except KeyboardInterrupt:
        sys.exit(0)
