"""What adapters of all protocols share: one request, its time-outs, its answer, and how it fails.

A protocol adds its path, its headers, the body of a request and the reader of an answer.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, closing

import aiohttp
from yarl import URL

from somaagent.agent import failures
from somaagent.agent.messages import ModelMessage
from somaagent.agent.models.answers import AnswerReader, Written
from somaagent.agent.models.connection import Connection, Timeouts
from somaagent.agent.models.refusals import refusal
from somaagent.agent.models.session import post
from somaagent.agent.models.sse import EventParser
from somaagent.agent.ports import ModelChunk, ModelSettings, ToolSchema
from somaagent.errors import SomaError
from somaagent.outbound.addresses import NotPublic

_LAST_WORDS_SECONDS = 5.0
_REFUSAL_SECONDS = 5.0
_REFUSAL_BYTES = 65_536
OK = 200
_HEADERS = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}


class Server(ABC):
    """A model server at an address, with a key and time-outs: how a request is opened and refused.

    ``api_key`` goes into the request and nowhere else. Raises ``ModelError`` with a code of
    ``somaagent.agent.failures``.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key: str | None,
        session: aiohttp.ClientSession,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        max_response_bytes: int = 32 * 1024 * 1024,
    ) -> None:
        base = _address(base_url)
        self._url = base.with_path(self._path(base.path.rstrip("/")), keep_query=True)
        self._model = model
        self._key = api_key
        self._headers = _HEADERS | self._headers_for(_usable(api_key) if api_key else None)
        self._session = session
        self._timeouts = timeouts
        self._max_bytes = max_response_bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self._model!r})"

    @abstractmethod
    def _path(self, base: str) -> str:
        """Where requests go, from the path of the base URL, which does not end in a slash."""

    @abstractmethod
    def _headers_for(self, api_key: str | None) -> dict[str, str]:
        """The protocol's own headers, with the key where there is one."""

    async def _open(self, body: bytes, until: float) -> aiohttp.ClientResponse:
        connect = self._timeouts.connect
        try:
            async with asyncio.timeout_at(until):
                return await post(self._session, self._url, body, self._headers, connect=connect)
        except aiohttp.ConnectionTimeoutError:
            raise failures.unreachable(f"no connection in {connect:g} seconds") from None
        except TimeoutError:
            raise self._late() from None
        except aiohttp.ClientResponseError:
            raise failures.garbled("it is not HTTP") from None
        except aiohttp.ClientConnectorCertificateError:
            raise failures.unreachable("its certificate is not trusted") from None
        except aiohttp.ClientConnectorError as error:
            raise _unconnected(error) from None
        except aiohttp.ServerDisconnectedError:
            raise failures.unreachable("it closed the connection without an answer") from None
        except (aiohttp.ClientError, OSError):
            raise failures.unreachable("it accepts no connection") from None

    async def _refusal(self, response: aiohttp.ClientResponse) -> SomaError:
        until = asyncio.get_running_loop().time() + _REFUSAL_SECONDS
        try:
            with closing(Connection(response, max_bytes=_REFUSAL_BYTES)) as connection:
                body = await connection.receive_all(until)
        except SomaError:  # the status says enough
            body = b""
        return refusal(response.status, response.headers, body, model=self._model, secret=self._key)

    def _late(self) -> SomaError:
        return failures.timed_out(f"The model wrote nothing for {self._timeouts.first_token:g} seconds.")


class Adapter(Server):
    """A ``ChatModel`` behind HTTP. Raises ``ModelError`` with a code of ``somaagent.agent.failures``."""

    @abstractmethod
    def _body(
        self, messages: Sequence[ModelMessage], tools: Sequence[ToolSchema], settings: ModelSettings
    ) -> bytes:
        """The JSON of a streaming request."""

    @abstractmethod
    def _reader(self) -> AnswerReader: ...

    async def stream(
        self,
        messages: Sequence[ModelMessage],
        *,
        tools: Sequence[ToolSchema] = (),
        settings: ModelSettings,
    ) -> AsyncGenerator[ModelChunk, None]:
        """Asks and streams the answer; a server that does not stream is read whole. Closing ends the
        connection.
        """
        body = self._body(messages, tools, settings)
        first = asyncio.get_running_loop().time() + self._timeouts.first_token
        response = await self._open(body, first)
        try:
            if response.status != OK:
                raise await self._refusal(response)
            reader = self._reader()
            try:
                with closing(Connection(response, max_bytes=self._max_bytes)) as connection:
                    kind = response.content_type
                    async with aclosing(self._read(connection, kind, reader, first)) as chunks:
                        async for chunk in chunks:
                            yield chunk
            except failures.ModelError as error:
                error.begun = reader.begun
                raise
        finally:
            response.close()

    def _read(
        self, connection: Connection, kind: str, reader: AnswerReader, first: float
    ) -> AsyncGenerator[ModelChunk, None]:
        if kind == "text/event-stream":
            return self._read_stream(connection, reader, first)
        if kind == "application/json":
            return self._read_whole(connection, reader, first)
        raise failures.garbled(f"its type is {kind!r}")

    async def _read_stream(
        self, connection: Connection, reader: AnswerReader, first: float
    ) -> AsyncGenerator[ModelChunk, None]:
        parser = EventParser()
        while not reader.complete and (received := await self._receive(connection, reader, first)):
            for chunk in _gathered(parser.feed(received), reader):
                yield chunk
        for chunk in _tail(parser, reader):
            yield chunk
        for last in reader.end():
            yield last
        await connection.drain()

    async def _receive(self, connection: Connection, reader: AnswerReader, first: float) -> bytes:
        """The next piece; empty when nothing that matters will come."""
        try:
            return await connection.receive(self._until(reader, first))
        except SomaError as error:
            if reader.finished:  # the answer is whole; only its usage or its end mark is missing
                return b""
            if error.code == "model_timeout" and not reader.begun:
                raise self._late() from None
            raise

    async def _read_whole(
        self, connection: Connection, reader: AnswerReader, first: float
    ) -> AsyncGenerator[ModelChunk, None]:
        try:
            answer = await connection.receive_all(first)
        except SomaError as error:
            raise self._late() if error.code == "model_timeout" else error from None
        for chunk in _gathered([answer], reader):
            yield chunk
        if not reader.finished and not reader.begun:
            raise failures.garbled("it holds no answer")
        for last in reader.end():
            yield last

    def _until(self, reader: AnswerReader, first: float) -> float:
        """When the next piece has to be here."""
        if not reader.begun and not reader.finished:
            return first
        idle = self._timeouts.idle
        now = asyncio.get_running_loop().time()
        return now + (min(idle, _LAST_WORDS_SECONDS) if reader.finished else idle)


def _gathered(events: Sequence[bytes], reader: AnswerReader) -> Iterator[Written]:
    """What these events hold."""
    error: SomaError | None = None
    try:
        for event in events:
            reader.read(event)
    except SomaError as raised:  # what came before it is said first
        error = raised
    yield from reader.written()
    if error is not None:
        raise error


def _tail(parser: EventParser, reader: AnswerReader) -> Iterator[Written]:
    """What is left when the connection ended; it may be half an event."""
    if reader.complete:
        return
    try:
        yield from _gathered(parser.close(), reader)
    except SomaError as error:
        if reader.finished:
            return
        raise failures.cut_off() if error.code == "model_garbled" else error from None
    if not reader.finished:
        raise failures.cut_off() if parser.events else failures.garbled("it holds no event")


def _unconnected(error: aiohttp.ClientConnectorError) -> SomaError:
    if isinstance(error.os_error, NotPublic):
        return failures.not_public()
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return failures.unreachable("its name is not known")
    return failures.unreachable("it accepts no connection")


def _address(base_url: str) -> URL:
    try:
        url = URL(base_url)
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host or url.user or url.password:
        raise failures.failure(
            "model_unreachable",
            "The profile's address is not a plain http or https address. An operator has to correct it.",
        )
    return url


def _usable(api_key: str) -> str:
    if not (api_key.isascii() and api_key.isprintable()) or " " in api_key:
        raise failures.failure(
            "model_refused_key",
            "The model's secret holds characters that no key has. An operator has to set it again.",
        )
    return api_key
