"""Our messages, tools and settings as pydantic-ai's, and its events and failures as ours.

Importing this takes seconds: ``somaagent.agent.models.pydantic_ai`` does it, in a thread.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import orjson
from pydantic_ai.messages import (
    BinaryContent,
    ImageUrl,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    PartDeltaEvent,
    PartStartEvent,
    SystemPromptPart,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)
from pydantic_ai.messages import ModelMessage as TheirMessage
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings as TheirSettings
from pydantic_ai.tools import ToolDefinition

from somaagent.agent import failures, tokens
from somaagent.agent.content import File, Image, Part, Reasoning, Text
from somaagent.agent.messages import ModelMessage, ToolCall, Usage
from somaagent.agent.models.providers import Provider
from somaagent.agent.ports import (
    FinishChunk,
    ModelChunk,
    ModelSettings,
    ReasoningChunk,
    TextChunk,
    ToolCallChunk,
    ToolSchema,
)

PROTOCOL = "pydantic_ai"
_REASONS = {"tool_call": "tool_calls"}
_EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")
_DETAILED = ("groq", "mistral")


def conversation_of(messages: Sequence[ModelMessage], provider: Provider, model: str) -> list[TheirMessage]:
    """Raises ``model_refused_request`` for what the provider cannot be shown."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    conversation: list[TheirMessage] = []
    for message in messages:
        if message.role == "assistant":
            if parts := _said(message, model):
                conversation.append(ModelResponse(parts=parts, provider_name=provider.name))
            continue
        asked = _asked(message, names, provider)
        if conversation and isinstance(last := conversation[-1], ModelRequest):
            conversation[-1] = ModelRequest(parts=[*last.parts, asked])
        else:
            conversation.append(ModelRequest(parts=[asked]))
    return conversation


def _asked(message: ModelMessage, names: Mapping[str, str], provider: Provider) -> ModelRequestPart:
    if message.role == "system":
        return SystemPromptPart(message.text)
    if message.role == "tool":
        call_id = message.tool_call_id or ""
        return ToolReturnPart(names.get(call_id, "unknown"), message.text, tool_call_id=call_id)
    if not message.parts:
        return UserPromptPart(message.text)
    return UserPromptPart([_shown(part, provider) for part in message.parts])


def _shown(part: Part, provider: Provider) -> UserContent:
    match part:
        case Text():
            return part.text
        case File():
            return BinaryContent(base64.b64decode(part.content), media_type=part.media_type)
        case Image():
            return _image(part, provider)


def _image(image: Image, provider: Provider) -> UserContent:
    detail = {"detail": image.detail} if image.detail else None
    if image.detail not in (None, "auto") and provider.name not in _DETAILED:
        raise failures.refused_request(f"{provider.title} knows no detail of an image")
    if image.content is not None and image.media_type is not None:
        content = base64.b64decode(image.content)
        return BinaryContent(content, media_type=image.media_type, vendor_metadata=detail)
    if image.url is None or not provider.takes_addresses:
        raise failures.refused_request(
            f"{provider.title} fetches no images: send the image itself, not its address"
        )
    return ImageUrl(image.url, vendor_metadata=detail)


def _said(message: ModelMessage, model: str) -> list[ModelResponsePart]:
    parts: list[ModelResponsePart] = [
        ThinkingPart(piece.text, **piece.native) for piece in message.reasoning if piece.of(PROTOCOL, model)
    ]
    if message.text:
        parts.append(TextPart(message.text))
    for call in message.tool_calls:
        noted = (call.native or {}).get(PROTOCOL, {})
        parts.append(ToolCallPart(call.name, call.arguments or "{}", call.id, **noted))
    return parts


def parameters_of(tools: Sequence[ToolSchema], settings: ModelSettings) -> ModelRequestParameters:
    definitions = [
        ToolDefinition(
            name=tool.name,
            parameters_json_schema=dict(tool.parameters),
            description=tool.description,
            strict=tool.strict,
        )
        for tool in tools
    ]
    form = settings.response_format
    if form is None or form["type"] == "text":
        return ModelRequestParameters(function_tools=definitions)
    if form["type"] != "json_schema":
        raise failures.refused_request("this provider needs a JSON Schema to answer in JSON")
    wanted = form["json_schema"]
    return ModelRequestParameters(
        function_tools=definitions,
        output_mode="native",
        allow_text_output=False,
        output_object=OutputObjectDefinition(
            wanted.get("schema") or {},
            wanted.get("name"),
            wanted.get("description"),
            wanted.get("strict"),
        ),
    )


def settings_of(model: Model, settings: ModelSettings, tools: Sequence[ToolSchema]) -> TheirSettings:
    """Raises ``model_refused_request`` for a wish that the provider would be asked without."""
    if settings.thinking_tokens is not None:
        raise failures.refused_request("this provider counts no thinking tokens; say how hard to think")
    chosen: dict[str, Any] = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_tokens": settings.max_output_tokens,
        "stop_sequences": list(settings.stop) or None,
        "seed": settings.seed,
        "presence_penalty": settings.presence_penalty,
        "frequency_penalty": settings.frequency_penalty,
        "parallel_tool_calls": settings.parallel_tool_calls if tools else None,
        "tool_choice": _choice(settings.tool_choice) if tools else None,
        "thinking": _thinking(settings.reasoning_effort),
    }
    said = {name: value for name, value in chosen.items() if value is not None}
    if unknown := sorted(said.keys() & set(model.unsupported_settings)):
        raise failures.refused_request(f"this provider knows no {unknown[0]}")
    # Who asks again, and when, is for the profile to say; ours are the wrappers that do.
    if "max_retries" not in model.unsupported_settings:
        said["max_retries"] = 0
    return cast("TheirSettings", said)


def _choice(choice: str | Mapping[str, Any] | None) -> str | list[str] | None:
    return [choice["function"]["name"]] if isinstance(choice, Mapping) else choice


def _thinking(effort: str | None) -> str | bool | None:
    if effort is None or effort in _EFFORTS:
        return effort
    if effort == "none":
        return False
    raise failures.refused_request(f"how hard to think is one of none, {', '.join(_EFFORTS)}")


def chunks_of(event: Any) -> Iterator[ModelChunk]:
    """The text and reasoning in one event."""
    if isinstance(event, PartStartEvent):
        if isinstance(event.part, TextPart) and event.part.content:
            yield TextChunk(event.part.content)
        elif isinstance(event.part, ThinkingPart) and event.part.content:
            yield ReasoningChunk(event.part.content)
    elif isinstance(event, PartDeltaEvent):
        if isinstance(event.delta, TextPartDelta) and event.delta.content_delta:
            yield TextChunk(event.delta.content_delta)
        elif isinstance(event.delta, ThinkingPartDelta) and event.delta.content_delta:
            yield ReasoningChunk(event.delta.content_delta)


def ending_of(response: ModelResponse, model: str) -> Iterator[ModelChunk]:
    """The calls and the finish of a whole answer. Raises ``model_cut_off`` where it is none."""
    reason = response.finish_reason
    if reason is None:
        raise failures.cut_off()
    if reason == "error":
        raise failures.failed("it stopped with an error")
    calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
    for part in calls:
        yield ToolCallChunk(_call(part))
    said = "tool_calls" if calls and reason == "stop" else _REASONS.get(reason, reason)
    yield FinishChunk(said, _usage(response), reasoning=_reasoning(response, model))


def _call(part: ToolCallPart) -> ToolCall:
    arguments = part.args if isinstance(part.args, str) else orjson.dumps(part.args or {}).decode()
    noted = _noted(part)
    return ToolCall(part.tool_call_id, part.tool_name, arguments, {PROTOCOL: noted} if noted else None)


def _reasoning(response: ModelResponse, model: str) -> tuple[Reasoning, ...]:
    return tuple(
        Reasoning(
            part.content,
            PROTOCOL,
            model,
            _noted(part) | ({"signature": part.signature} if part.signature else {}),
        )
        for part in response.parts
        if isinstance(part, ThinkingPart)
    )


def _noted(part: ToolCallPart | ThinkingPart) -> dict[str, Any]:
    """What the provider wants back with a part."""
    noted = {
        "id": part.id,
        "provider_name": part.provider_name,
        "provider_details": part.provider_details,
    }
    return {name: value for name, value in noted.items() if value is not None}


def _usage(response: ModelResponse) -> Usage:
    usage = response.usage
    details = usage.details
    return Usage(
        input_tokens=tokens.told(usage.input_tokens),
        cached_tokens=tokens.told(usage.cache_read_tokens),
        output_tokens=tokens.told(usage.output_tokens),
        reasoning_tokens=tokens.told(details.get("reasoning_tokens") or details.get("thoughts_tokens")),
    )
