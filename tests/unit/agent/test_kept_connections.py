"""A connection that was kept, and that its server closed."""

from __future__ import annotations

import asyncio

import pytest

from somaagent.agent.failures import ModelError
from tests.unit.agent.conftest import Bench, text_of
from tests.unit.agent.raw import raw_server

ANSWER = b'data: {"choices":[{"delta":{"content":"Done."},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


async def request(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    await reader.readexactly(int(length.partition(b":")[2]))


class Forgetful:
    """Says of each connection that it keeps it, and ends it when the next request comes by it."""

    def __init__(self, *, thinks: float = 0) -> None:
        self.thinks = thinks
        self.connections = self.requests = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await request(reader)
        self.requests += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(ANSWER), ANSWER))
        await request(reader)
        self.requests += 1
        await asyncio.sleep(self.thinks)
        writer.close()


async def test_what_is_asked_by_a_connection_that_is_closed_is_asked_by_another(bench: Bench):
    server = Forgetful()
    async with raw_server(server) as url:
        answers = [text_of(await bench.ask("anything", base_url=url)) for _ in range(4)]
    assert answers == ["Done."] * 4
    # Each question but the first met a closed door before.
    assert (server.connections, server.requests) == (4, 7)


async def test_a_server_that_had_begun_to_work_is_not_asked_again(bench: Bench):
    server = Forgetful(thinks=1.2)
    async with raw_server(server) as url:
        await bench.ask("anything", base_url=url)
        with pytest.raises(ModelError) as raised:
            await bench.ask("anything", base_url=url)
    assert raised.value.code == "model_unreachable"
    assert (server.connections, server.requests) == (1, 2)


async def test_a_new_connection_that_is_closed_is_the_answer(bench: Bench):
    connections: list[asyncio.StreamWriter] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await request(reader)
        writer.close()

    async with raw_server(handler) as url:
        with pytest.raises(ModelError, match="closed the connection without an answer"):
            await bench.ask("anything", base_url=url)
    assert len(connections) == 1


async def test_the_local_model_is_asked_again_and_again(bench: Bench, embedded: str):
    """Its server closes what it says that it keeps; no question may fail of that."""
    asked = {"base_url": embedded, "model": "local", "api_key": "sk-local"}
    answers = [text_of(await bench.ask(f"Count to {number}.", **asked)) for number in range(2, 10)]
    assert all(answers)
