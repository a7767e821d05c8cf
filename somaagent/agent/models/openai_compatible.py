"""Models behind any server that speaks OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Sequence

from somaagent.agent.messages import ModelMessage
from somaagent.agent.models.adapter import Adapter
from somaagent.agent.models.chat_completions import CompletionReader, request_body
from somaagent.agent.models.connection import Timeouts
from somaagent.agent.ports import ModelSettings, ToolSchema

__all__ = ["OpenAICompatible", "Timeouts"]

_OPENAI = ("api.openai.com", ".openai.azure.com")


class OpenAICompatible(Adapter):
    """A ``ChatModel``. ``base_url`` ends where ``/chat/completions`` follows, mostly in ``/v1``."""

    def _path(self, base: str) -> str:
        return f"{base}/chat/completions"

    def _headers_for(self, api_key: str | None) -> dict[str, str]:
        return {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def _body(
        self, messages: Sequence[ModelMessage], tools: Sequence[ToolSchema], settings: ModelSettings
    ) -> bytes:
        limit = "max_completion_tokens" if self._is_openai() else "max_tokens"
        return request_body(self._model, messages, tools, settings, limit=limit)

    def _is_openai(self) -> bool:
        """OpenAI's own models that reason refuse the older word for the limit; other servers may know no
        newer one.
        """
        return (self._url.host or "").endswith(_OPENAI)

    def _reader(self) -> CompletionReader:
        return CompletionReader(self._model, self._key)
