"""The providers that are reached through pydantic-ai: their names, addresses and clients.

A client has the key and the address that it is given and nothing of the environment. What makes one is
imported when it is called: seconds, so never on the way of a boot or in an event loop.
"""

from __future__ import annotations

import functools
import re
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from pydantic_ai.models import Model

_BEDROCK_HOST = re.compile(r"bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.")


class UnknownProvider(ValueError):  # noqa: N818 - it is named for what was read
    """A model name that names no provider that we know."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How to reach one model: its name there, the address, the key, seconds to open a connection."""

    model: str
    base_url: str
    api_key: str
    connect_seconds: float


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider. ``address``: where it is unless a profile says otherwise (empty: a profile has to).

    ``package``: what has to be installed. ``takes_addresses``: it fetches images from their addresses by
    itself; for the others pydantic-ai would, and it must not.
    """

    name: str
    title: str
    address: str
    package: str
    make: Callable[[Reach, AsyncExitStack], Model]
    takes_addresses: bool = False


def provider_of(model: str) -> tuple[Provider, str]:
    """The provider and the model's name there, from ``provider:name``. Raises ``UnknownProvider``."""
    name, colon, rest = model.partition(":")
    provider = PROVIDERS.get(name)
    if not colon or not rest or provider is None:
        known = ", ".join(f"{each}:NAME" for each in PROVIDERS)
        raise UnknownProvider(f"Write the model as one of {known}.")
    return provider, rest


@functools.cache
def _tls() -> ssl.SSLContext:
    """Reading the trusted certificates takes longer than the rest of a client together."""
    return ssl.create_default_context()


class _Closable(Protocol):
    async def aclose(self) -> None: ...


C = TypeVar("C", bound=_Closable)


def _client(make: Callable[..., C], reach: Reach, stack: AsyncExitStack) -> C:
    """A client of httpx or of httpx2, whichever the provider's package takes; the stack closes it."""
    # Seconds to connect, to read, to write, to wait for a connection: the adapter ends what takes too long.
    client = make(verify=_tls(), trust_env=False, timeout=(reach.connect_seconds, None, None, None))
    stack.push_async_callback(client.aclose)
    return client


# ruff: noqa: PLC0415 - each of these imports takes a second or more


def _google(reach: Reach, stack: AsyncExitStack) -> Model:
    import httpx2
    from pydantic_ai.models.google import GoogleModel
    from pydantic_ai.providers.google import GoogleProvider

    client = _client(httpx2.AsyncClient, reach, stack)
    provider = GoogleProvider(api_key=reach.api_key, base_url=reach.base_url, http_client=client)
    return GoogleModel(reach.model, provider=provider)


def _mistral(reach: Reach, stack: AsyncExitStack) -> Model:
    import httpx2
    from pydantic_ai.models.mistral import MistralModel
    from pydantic_ai.providers.mistral import MistralProvider

    client = _client(httpx2.AsyncClient, reach, stack)
    provider = MistralProvider(api_key=reach.api_key, base_url=reach.base_url, http_client=client)
    return MistralModel(reach.model, provider=provider)


def _groq(reach: Reach, stack: AsyncExitStack) -> Model:
    import httpx
    from pydantic_ai.models.groq import GroqModel
    from pydantic_ai.providers.groq import GroqProvider

    client = _client(httpx.AsyncClient, reach, stack)
    provider = GroqProvider(api_key=reach.api_key, base_url=reach.base_url, http_client=client)
    return GroqModel(reach.model, provider=provider)


def _cohere(reach: Reach, stack: AsyncExitStack) -> Model:
    import httpx
    from cohere import AsyncClientV2
    from pydantic_ai.models.cohere import CohereModel
    from pydantic_ai.providers.cohere import CohereProvider

    client = _client(httpx.AsyncClient, reach, stack)
    cohere = AsyncClientV2(api_key=reach.api_key, base_url=reach.base_url, httpx_client=client)
    return CohereModel(reach.model, provider=CohereProvider(cohere_client=cohere))


def _huggingface(reach: Reach, stack: AsyncExitStack) -> Model:
    from huggingface_hub import AsyncInferenceClient
    from pydantic_ai.models.huggingface import HuggingFaceModel
    from pydantic_ai.providers.huggingface import HuggingFaceProvider

    client = AsyncInferenceClient(api_key=reach.api_key, base_url=reach.base_url)
    stack.push_async_callback(client.close)
    return HuggingFaceModel(
        reach.model, provider=HuggingFaceProvider(hf_client=client, api_key=reach.api_key)
    )


def _bedrock(reach: Reach, stack: AsyncExitStack) -> Model:
    """With a Bedrock API key. The region is the one in the address."""
    from pydantic_ai.models.bedrock import BedrockConverseModel
    from pydantic_ai.providers.bedrock import BedrockProvider

    region = _BEDROCK_HOST.search(reach.base_url)
    provider = BedrockProvider(
        api_key=reach.api_key,
        base_url=reach.base_url,
        region_name=region[1] if region else "us-east-1",
        aws_connect_timeout=reach.connect_seconds,
    )
    stack.callback(provider.client.close)
    return BedrockConverseModel(reach.model, provider=provider)


PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            "google", "Gemini", "https://generativelanguage.googleapis.com", "google-genai", make=_google
        ),
        Provider("groq", "Groq", "https://api.groq.com", "groq", make=_groq, takes_addresses=True),
        Provider(
            "mistral", "Mistral", "https://api.mistral.ai", "mistralai", make=_mistral, takes_addresses=True
        ),
        Provider("bedrock", "Amazon Bedrock", "", "boto3", make=_bedrock),
        Provider("cohere", "Cohere", "https://api.cohere.com", "cohere", make=_cohere),
        Provider(
            "huggingface",
            "Hugging Face",
            "https://router.huggingface.co/v1",
            "huggingface-hub",
            make=_huggingface,
        ),
    )
}
