"""What the journeys of programs written for OpenAI's API have in common."""

from __future__ import annotations

import json
from typing import Any

AGENT = "assistant"
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a town.",
    "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
    "strict": False,
}


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def key_that_only_reads() -> str:
    from somaagent.tenancy.models import Tenant  # noqa: PLC0415 - Django is not configured before
    from tests import factories  # noqa: PLC0415 - as above

    reader = factories.person("reader", Tenant.objects.order_by("id")[0])
    return factories.key_of(reader, scopes=["read"])


def another_tenant(model_url: str) -> tuple[str, str]:
    """The slug of its agent, which has to be terse, and a key of its owner."""
    from apps.sessions import services  # noqa: PLC0415 - Django is not configured before
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above
    from tests import factories  # noqa: PLC0415 - as above

    other = factories.organisation("rivals", model_url=model_url)
    with tenant_scope(other.tenant.id):
        services.agent_ensure(
            tenant_id=other.tenant.id,
            slug="rival",
            name="Rival",
            instructions="Be terse.",
            model_profile=other.agent.model_profile,
        )
    return "rival", factories.key_of(other.owner)


def embedding_profile(model_url: str, slug: str, **facts: Any) -> None:
    """A model profile of the first tenant that gives embeddings."""
    from apps.sessions import services  # noqa: PLC0415 - Django is not configured before
    from somaagent.tenancy.models import Tenant  # noqa: PLC0415 - as above
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - as above

    tenant = Tenant.objects.order_by("id")[0]
    with tenant_scope(tenant.id):
        services.model_profile_ensure(
            tenant_id=tenant.id,
            slug=slug,
            name=slug.title(),
            kind="embedding",
            base_url=model_url,
            model="vectors",
            **{"max_retries": 0, "breaker_failures": 0} | facts,
        )


def asks_for_weather(*towns: str) -> str:
    return "calls: " + json.dumps([{"name": "weather", "arguments": {"town": town}} for town in towns])


def outputs_of(response: Any) -> list[Any]:
    """What the caller's function gives for each call of a response."""
    calls = [item for item in response.output if item.type == "function_call"]
    return [
        {
            "type": "function_call_output",
            "call_id": call.call_id,
            "output": f"{json.loads(call.arguments)['town']}: fair",
        }
        for call in calls
    ]


def told(gateway: Any) -> list[list[dict[str, Any]]]:
    """What the model was told, request by request."""
    return [request["body"]["messages"] for request in gateway.model.requests()]
