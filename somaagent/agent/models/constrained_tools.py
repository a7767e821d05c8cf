"""Tools for models that know none: the model answers in JSON that its server holds to a schema.

One object is either the answer or one call of a tool; the answer is passed on while it is written. Needs a
server that keeps to ``response_format: json_schema`` (llama.cpp, vLLM, LM Studio, Ollama).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace

from somaagent.agent.failures import refused_request
from somaagent.agent.messages import ModelMessage, ToolCall
from somaagent.agent.models.constrained_reply import Reply
from somaagent.agent.models.constrained_schema import chosen_tools, format_of, instructions_for
from somaagent.agent.ports import (
    ChatModel,
    FinishChunk,
    ModelChunk,
    ModelSettings,
    TextChunk,
    ToolCallChunk,
    ToolSchema,
)


class ConstrainedTools:
    """A ``ChatModel`` with tools, over one without."""

    def __init__(self, model: ChatModel) -> None:
        self._model = model

    async def stream(
        self,
        messages: Sequence[ModelMessage],
        *,
        tools: Sequence[ToolSchema] = (),
        settings: ModelSettings,
    ) -> AsyncGenerator[ModelChunk, None]:
        """As the model's own, with at most one tool call; none after the same one twice.

        Raises ``model_garbled`` where the server does not keep to the schema, ``model_refused_request`` for
        tools and another form of answer at once.
        """
        offered, may_answer = chosen_tools(tools, settings.tool_choice)
        if may_answer and _repeats(messages):
            offered = []
        plain = replace(settings, tool_choice=None, parallel_tool_calls=None)
        if not offered:
            chunks = self._model.stream(_as_text(messages), settings=plain)
        else:
            if settings.response_format not in (None, {"type": "text"}):
                raise refused_request("this model has its tools as JSON, and takes no other form beside them")
            form = format_of(offered, may_answer=may_answer)
            told = _told(messages, instructions_for(offered, may_answer=may_answer))
            constrained = self._model.stream(told, settings=replace(plain, response_format=form))
            chunks = _understood(constrained)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk


async def _understood(chunks: AsyncGenerator[ModelChunk, None]) -> AsyncGenerator[ModelChunk, None]:
    reply = Reply()
    async with aclosing(chunks):
        async for chunk in chunks:
            if isinstance(chunk, TextChunk):
                if text := reply.feed(chunk.text):
                    yield TextChunk(text)
            elif isinstance(chunk, FinishChunk):
                for last in _ending(reply, chunk):
                    yield last
            else:
                yield chunk


def _ending(reply: Reply, finish: FinishChunk) -> Iterator[ModelChunk]:
    text, call = reply.end(cut=finish.reason == "length")
    if text:
        yield TextChunk(text)
    if call is not None:
        yield ToolCallChunk(call)
        finish = replace(finish, reason="tool_calls" if finish.reason == "stop" else finish.reason)
    yield finish


def _repeats(messages: Sequence[ModelMessage]) -> bool:
    """Whether the model has just had the result of a call that it made twice. Small models go on like that:
    what is left to them is the answer.
    """
    calls = [(call.name, call.arguments) for message in messages for call in message.tool_calls]
    return messages[-1].role == "tool" and calls[-2:-1] == calls[-1:]


def _told(messages: Sequence[ModelMessage], instructions: str) -> list[ModelMessage]:
    """The conversation as text, and after the first instructions those on the tools."""
    first, *others = _as_text(messages)
    if first.role != "system":
        return [ModelMessage("system", instructions), first, *others]
    return [ModelMessage("system", f"{first.text}\n\n{instructions}"), *others]


def _as_text(messages: Sequence[ModelMessage]) -> list[ModelMessage]:
    """Calls of tools and their results, said in words that a model without tools can read."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    return [_plain(message, names) for message in messages]


def _plain(message: ModelMessage, names: dict[str, str]) -> ModelMessage:
    if message.role == "tool":
        name = names.get(message.tool_call_id or "", "the tool")
        return ModelMessage("user", f"Result of {name}: {message.text}")
    if not message.tool_calls:
        return message
    said = [message.text] if message.text else []
    said += [_written(call) for call in message.tool_calls]
    return ModelMessage(message.role, "\n".join(said), reasoning=message.reasoning)


def _written(call: ToolCall) -> str:
    return f'{{"name": "{call.name}", "arguments": {call.arguments or "{}"}}}'
