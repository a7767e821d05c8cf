"""How the scripted model server writes answers as Gemini, Groq and Mistral do, where they differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from tests.model_dialects import Answer, Completion

ROLES = {"user": "user", "model": "assistant"}


@dataclass
class Content(Answer):
    """Gemini's own protocol, ``streamGenerateContent``. Calls are complete, and signed."""

    pieces: str = ""

    @property
    def streams(self) -> bool:
        return self.request.match_info["call"].endswith(":streamGenerateContent")

    @staticmethod
    def key(request: web.Request) -> str | None:
        return request.headers.get("x-goog-api-key")

    def said(self) -> list[tuple[str, str]]:
        said = []
        for content in self.body["contents"]:
            results = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
            said += [("tool", result["response"].get("return_value", "")) for result in results] or [
                (ROLES[content["role"]], " ".join(part.get("text", "") for part in content["parts"]))
            ]
        return said

    async def send(self, parts: list[dict[str, Any]], **facts: Any) -> None:
        candidate = {"index": 0, "content": {"role": "model", "parts": parts}, **facts}
        chunk = {"candidates": [candidate], "usageMetadata": self.usage(), "responseId": "r-1"}
        await self.line(b"data: " + orjson.dumps(chunk))

    async def text(self, text: str) -> None:
        await self.send([{"text": text}])

    async def think(self, text: str) -> None:
        await self.send([{"text": text, "thought": True}])

    async def call(self, index: int, name: str, pieces: tuple[str, ...]) -> None:
        wanted = {"id": f"call_{index}", "name": name, "args": orjson.loads("".join(pieces))}
        await self.send([{"functionCall": wanted, "thoughtSignature": "c2lnbmVk"}])

    async def end(self, *, reason: str = "stop") -> None:
        await self.send([], finishReason="MAX_TOKENS" if reason == "length" else "STOP")
        await self.close()

    async def error(self, text: str) -> None:
        await self.line(b"data: " + orjson.dumps(self.error_body(text)))
        await self.close()

    def usage(self) -> dict[str, Any]:
        read = sum(len(text.split()) for _, text in self.said())
        return {"promptTokenCount": read, "candidatesTokenCount": self.written, "thoughtsTokenCount": 0}

    def entire(self, text: str) -> dict[str, Any]:
        content = {"role": "model", "parts": [{"text": text}]}
        candidate = {"index": 0, "content": content, "finishReason": "STOP"}
        return {"candidates": [candidate], "usageMetadata": self.usage()}

    def error_body(self, text: str) -> dict[str, Any]:
        return {"error": {"code": 500, "message": text, "status": "INTERNAL"}}

    def too_long_body(self) -> dict[str, Any]:
        text = "The input token count (9000) exceeds the maximum number of tokens allowed (8192)."
        return {"error": {"code": 400, "message": text, "status": "INVALID_ARGUMENT"}}


class Groq(Completion):
    """Tells what was used in a place of its own."""

    async def event(self, data: dict[str, Any]) -> None:
        usage = {"x_groq": {"id": "r-1", "usage": data["usage"]}} if data.get("usage") else {}
        await super().event({name: value for name, value in data.items() if name != "usage"} | usage)


class Mistral(Completion):
    """Its tool calls come whole."""

    async def call(self, index: int, name: str, pieces: tuple[str, ...]) -> None:
        function = {"name": name, "arguments": "".join(pieces)}
        await self.send({"tool_calls": [{"index": index, "id": f"call_{index}", "function": function}]})
