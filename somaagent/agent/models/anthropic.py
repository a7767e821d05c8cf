"""Models behind Anthropic's Messages API, and servers that speak it."""

from __future__ import annotations

from collections.abc import Sequence

from somaagent.agent.messages import ModelMessage
from somaagent.agent.models.adapter import Adapter
from somaagent.agent.models.messages_api import MessageReader, request_body
from somaagent.agent.ports import ModelSettings, ToolSchema

_VERSION = "2023-06-01"


class Anthropic(Adapter):
    """A ``ChatModel``. ``base_url`` ends where ``/v1/messages`` follows; the ``/v1`` may be part of it."""

    def _path(self, base: str) -> str:
        return f"{base.removesuffix('/v1')}/v1/messages"

    def _headers_for(self, api_key: str | None) -> dict[str, str]:
        return {"anthropic-version": _VERSION} | ({"x-api-key": api_key} if api_key else {})

    def _body(
        self, messages: Sequence[ModelMessage], tools: Sequence[ToolSchema], settings: ModelSettings
    ) -> bytes:
        return request_body(self._model, messages, tools, settings)

    def _reader(self) -> MessageReader:
        return MessageReader(self._model, self._key)
