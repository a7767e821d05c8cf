"""How the scripted model server writes an answer: in OpenAI's chat completions or in Anthropic's messages."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson
from aiohttp import web

MODEL = "scripted"
CREATED = 1_790_000_000


@dataclass
class Answer(ABC):
    """One request being answered. A dialect says what a request holds and what each thing looks like."""

    request: web.Request
    body: dict[str, Any]
    written: int = 0
    response: web.StreamResponse | None = None

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))

    async def open(self, content_type: str = "text/event-stream") -> web.StreamResponse:
        if self.response is None:
            self.response = web.StreamResponse(headers={"Content-Type": content_type})
            await self.response.prepare(self.request)
        return self.response

    async def line(self, line: bytes) -> None:
        response = await self.open()
        await response.write(line + b"\n\n")

    async def words(self, text: str, pause: float = 0.0, limit: int | None = None) -> None:
        for word in re.findall(r"\s*\S+|\s+$", text)[:limit]:
            if pause:
                await asyncio.sleep(pause)
            self.written += 1
            await self.text(word)

    async def close(self) -> None:
        await (await self.open()).write_eof()

    def whole(self, text: str) -> None:
        self.written = len(text.split())
        self.response = web.json_response(self.entire(text))

    def fail(self, status: int, headers: dict[str, str]) -> None:
        error = self.error_body(f"told to fail, asked with {self.key(self.request)}")
        self.response = web.json_response(error, status=status, headers=headers)

    @staticmethod
    @abstractmethod
    def key(request: web.Request) -> str | None: ...

    @abstractmethod
    def said(self) -> list[tuple[str, str]]:
        """What the request holds: ``user``, ``assistant`` or ``tool``, and the text."""

    @abstractmethod
    async def text(self, text: str) -> None: ...

    @abstractmethod
    async def think(self, text: str) -> None: ...

    @abstractmethod
    async def call(self, index: int, name: str, pieces: tuple[str, ...]) -> None: ...

    @abstractmethod
    async def end(self, *, reason: str = "stop") -> None: ...

    @abstractmethod
    async def error(self, text: str) -> None: ...

    @abstractmethod
    def entire(self, text: str) -> dict[str, Any]: ...

    @abstractmethod
    def error_body(self, text: str) -> dict[str, Any]: ...

    @abstractmethod
    def too_long_body(self) -> dict[str, Any]: ...


def words_in(content: Any) -> str:
    """Content is a string, or a list of parts of which some are text."""
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content or () if "text" in part)


class Completion(Answer):
    """OpenAI's chat completions."""

    @staticmethod
    def key(request: web.Request) -> str | None:
        said = request.headers.get("Authorization")
        return said.removeprefix("Bearer ") if said else None

    def said(self) -> list[tuple[str, str]]:
        return [(message["role"], words_in(message.get("content"))) for message in self.body["messages"]]

    async def send(self, delta: dict[str, Any], reason: str | None = None) -> None:
        await self.event({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "usage": None})

    async def event(self, data: dict[str, Any]) -> None:
        frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": CREATED, "model": MODEL}
        event = frame | data
        await self.line(b"data: " + orjson.dumps(event))

    async def text(self, text: str) -> None:
        await self.send({"content": text})

    async def think(self, text: str) -> None:
        await self.send({"reasoning_content": text})

    async def call(self, index: int, name: str, pieces: tuple[str, ...]) -> None:
        start = {"name": name, "arguments": ""}
        await self.send({"tool_calls": [{"index": index, "id": f"call_{index}", "function": start}]})
        for piece in pieces:
            self.written += 1
            await self.send({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})

    async def end(self, *, reason: str = "stop") -> None:
        await self.send({}, reason)
        await self.event({"choices": [], "usage": self.usage()})
        await self.line(b"data: [DONE]")
        await self.close()

    async def error(self, text: str) -> None:
        await self.event(self.error_body(text))

    def usage(self) -> dict[str, Any]:
        read = sum(len(text.split()) for _, text in self.said())
        return {
            "prompt_tokens": read,
            "completion_tokens": self.written,
            "total_tokens": read + self.written,
            "prompt_tokens_details": {"cached_tokens": read // 2},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }

    def entire(self, text: str) -> dict[str, Any]:
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        body = {"id": "chatcmpl-1", "object": "chat.completion", "model": MODEL, "choices": [choice]}
        return body | {"usage": self.usage()}

    def error_body(self, text: str) -> dict[str, Any]:
        return {"error": {"message": text, "type": "server_error"}}

    def too_long_body(self) -> dict[str, Any]:
        said = {"message": "Please reduce the length of the messages.", "code": "context_length_exceeded"}
        return {"error": {"type": "invalid_request_error", "param": "messages", **said}}


@dataclass
class Message(Answer):
    """Anthropic's messages. ``block`` is the kind of the block that is being written, ``blocks`` how many
    were.
    """

    VERSION: ClassVar = "2023-06-01"
    block: str = ""
    blocks: int = 0

    @staticmethod
    def key(request: web.Request) -> str | None:
        return request.headers.get("x-api-key")

    def said(self) -> list[tuple[str, str]]:
        said = [("system", self.body["system"])] if "system" in self.body else []
        for message in self.body["messages"]:
            results = [part for part in message["content"] if part["type"] == "tool_result"]
            said += [("tool", result["content"]) for result in results] or [
                (message["role"], words_in(message["content"]))
            ]
        return said

    async def event(self, kind: str, **data: Any) -> None:
        if self.response is None and kind != "message_start":
            await self.event("message_start", message=self.frame() | {"content": [], "usage": self.usage()})
            await self.event("ping")
        event = orjson.dumps({"type": kind, **data})
        await self.line(b"event: " + kind.encode() + b"\ndata: " + event)

    async def write(self, kind: str, block: dict[str, Any], delta: dict[str, Any]) -> None:
        """A piece of a block; it is opened where the last one was of another kind."""
        if self.block != kind:
            await self.stop()
            await self.event("content_block_start", index=self.blocks, content_block=block)
            self.block = kind
        await self.event("content_block_delta", index=self.blocks, delta=delta)

    async def stop(self) -> None:
        if self.block == "thinking":
            signed = {"type": "signature_delta", "signature": f"signed {self.blocks}"}
            await self.event("content_block_delta", index=self.blocks, delta=signed)
        if self.block:
            await self.event("content_block_stop", index=self.blocks)
            self.block, self.blocks = "", self.blocks + 1

    async def text(self, text: str) -> None:
        await self.write("text", {"type": "text", "text": ""}, {"type": "text_delta", "text": text})

    async def think(self, text: str) -> None:
        block = {"type": "thinking", "thinking": "", "signature": ""}
        await self.write("thinking", block, {"type": "thinking_delta", "thinking": text})

    async def call(self, index: int, name: str, pieces: tuple[str, ...]) -> None:
        block = {"type": "tool_use", "id": f"call_{index}", "name": name, "input": {}}
        for piece in pieces:
            self.written += 1
            await self.write(f"call {index}", block, {"type": "input_json_delta", "partial_json": piece})

    async def end(self, *, reason: str = "stop") -> None:
        await self.stop()
        word = {"tool_calls": "tool_use", "stop": "end_turn", "length": "max_tokens"}[reason]
        delta = {"stop_reason": word, "stop_sequence": None}
        await self.event("message_delta", delta=delta, usage={"output_tokens": self.written})
        await self.event("message_stop")
        await self.close()

    async def error(self, text: str) -> None:
        await self.event("error", **self.error_body(text))

    def usage(self) -> dict[str, Any]:
        """What was cached is counted apart."""
        read = sum(len(text.split()) for _, text in self.said())
        cached = read // 2
        return {
            "input_tokens": read - cached,
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": self.written,
        }

    def frame(self) -> dict[str, Any]:
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "stop_reason": None}

    def entire(self, text: str) -> dict[str, Any]:
        content = [{"type": "text", "text": text}]
        return self.frame() | {"content": content, "stop_reason": "end_turn", "usage": self.usage()}

    def error_body(self, text: str) -> dict[str, Any]:
        return {"error": {"type": "api_error", "message": text}}

    def too_long_body(self) -> dict[str, Any]:
        said = "prompt is too long: 207791 tokens > 200000 maximum"
        return {"type": "error", "error": {"type": "invalid_request_error", "message": said}}
