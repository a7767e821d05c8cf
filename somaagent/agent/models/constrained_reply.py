"""A reply that is one JSON object, read while it is written: ``{"answer": …}`` or a call of a tool."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import orjson
from pydantic_core import from_json

from somaagent.agent.failures import garbled
from somaagent.agent.messages import ToolCall

# A reply is read again from its beginning each time that it has grown by this part of itself: the whole
# costs a bounded number of readings, and each piece of an answer of common length is passed on at once.
_PARTS = 1024
_BLANK = " \t\r\n"


class Reply:
    """The text that was received, and how much of the answer in it was passed on."""

    def __init__(self) -> None:
        self._written = ""
        self._begun = False
        self._read = 0
        self._told = 0

    def feed(self, text: str) -> str:
        """What these characters add to the answer; empty in a call of a tool. An escape that is cut in two
        waits for its end.
        """
        self._written += text
        self._check()
        grown = len(self._written) - self._read
        if grown * _PARTS < len(self._written):
            return ""
        self._read = len(self._written)
        try:
            value = from_json(self._written.encode(), allow_partial="trailing-strings")
        except ValueError:  # half a surrogate pair, say: the end decides
            return ""
        return self._news(value)

    def end(self, *, cut: bool) -> tuple[str, ToolCall | None]:
        """What is left of the answer, or the call. ``cut``: the model was stopped at its limit of tokens.

        Raises ``model_garbled``: it is no such object.
        """
        value = self._parsed(cut=cut)
        if "answer" in value or (cut and "name" not in value):
            return self._news(value), None
        name, arguments = value.get("name"), value.get("arguments")
        if not isinstance(name, str):
            raise garbled("its JSON is neither an answer nor a call of a tool")
        # A call that was cut off is not valid JSON, and the model is told so.
        whole = self._written.partition('"arguments"')[2].lstrip(_BLANK + ":")
        said = whole if cut else orjson.dumps({} if arguments is None else arguments).decode()
        return "", ToolCall(f"call_{uuid4().hex}", name, said)

    def _check(self) -> None:
        if self._begun or not (start := self._written.lstrip(_BLANK)):
            return
        self._begun = True
        if not start.startswith("{"):
            raise garbled("it is not the JSON that was asked for: its server does not keep to a JSON Schema")

    def _parsed(self, *, cut: bool) -> dict[str, Any]:
        try:
            if cut:
                value = from_json(self._written.encode() or b"{}", allow_partial="trailing-strings")
            else:
                value = json.loads(self._written)
        except ValueError:
            raise garbled("it is not the JSON that was asked for") from None
        if not isinstance(value, dict):
            raise garbled("it is not the JSON that was asked for")
        return value

    def _news(self, value: Any) -> str:
        answer = value.get("answer") if isinstance(value, dict) else None
        if not isinstance(answer, str):
            return ""
        # A grammar lets half a surrogate pair through; no text can hold one.
        answer = answer.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        news = answer[self._told :]
        self._told += len(news)
        return news
