"""What the API of model profiles takes and gives. Keys are never given; prices are decimal strings."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from django.core.exceptions import ValidationError
from django.utils.crypto import salted_hmac
from ninja import Schema
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StrictBool,
    StrictInt,
    StringConstraints,
)

from somaagent.money import decimal_text
from somaagent.tenancy.sealed_forms import KEY
from somaagent.web.bodies import PartialBody
from somaagent.web.text import Slug, Text, Title

from .models import PRICES, ModelKind, ModelProfile, Protocol, ReasoningEffort, ToolCalls


def _usable(key: SecretStr) -> SecretStr:
    try:
        if key.get_secret_value():
            KEY(key.get_secret_value())
    except ValidationError as error:
        raise ValueError(error.message) from None
    return key


Name = Annotated[Title, Field(min_length=1)]
ModelName = Annotated[
    Text,
    StringConstraints(min_length=1, max_length=200),
    Field(description="Its name at that server; with the protocol pydantic_ai PROVIDER:NAME."),
]
Seconds = Annotated[float, Field(strict=True, allow_inf_nan=False, description="0.1 to 3600.")]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Price = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6})?$"),
    Field(description="Of a million tokens, as a decimal string. Null: not known.", examples=["2.50"]),
]
PriceTold = Annotated[str | None, BeforeValidator(decimal_text)]


class ModelProfileFacts(PartialBody):
    """What may be said of a model profile; what is left out stays, or is as usual."""

    model_config = ConfigDict(use_enum_values=True)
    nullable = frozenset(
        {"api_key", "dimensions", "context_tokens", "temperature", "thinking_tokens", "requests_per_minute",
         "fallback", *PRICES}
    )  # fmt: skip

    protocol: Protocol | None = None
    base_url: Annotated[
        Annotated[Text, StringConstraints(max_length=500)] | None,
        Field(
            description="What stands before /chat/completions, or api.anthropic.com's; a public address. "
            "Empty with pydantic_ai: the provider's own."
        ),
    ] = None
    api_key: Annotated[
        Annotated[SecretStr, AfterValidator(_usable)] | None,
        Field(
            description="8 to 500 characters without spaces; sealed, never given back. Null or empty: none.",
            json_schema_extra={"writeOnly": True},
        ),
    ] = None
    public_only: Annotated[
        StrictBool | None, Field(description="False takes an operator of the platform. True where left out.")
    ] = None
    kind: Annotated[ModelKind | None, Field(description="chat: answers.")] = None
    dimensions: StrictInt | None = None
    max_output_tokens: StrictInt | None = None
    context_tokens: Annotated[StrictInt | None, Field(description="Null: not known.")] = None
    temperature: Annotated[Number | None, Field(description="0 to 2. Null: the server's own.")] = None
    tool_calls: ToolCalls | None = None
    reasoning_effort: Annotated[
        ReasoningEffort | Literal[""] | None, Field(description="Empty: the model's own choice.")
    ] = None
    thinking_tokens: StrictInt | None = None
    connect_seconds: Seconds | None = None
    first_token_seconds: Seconds | None = None
    idle_seconds: Seconds | None = None
    max_retries: StrictInt | None = None
    max_retry_wait_seconds: Annotated[Number | None, Field(description="0 to 600.")] = None
    breaker_failures: Annotated[StrictInt | None, Field(description="0: it is always asked.")] = None
    breaker_seconds: Seconds | None = None
    requests_per_minute: Annotated[StrictInt | None, Field(description="Null: no limit of ours.")] = None
    fallback: Annotated[Slug | None, Field(description="The profile that answers in its place.")] = None
    input_price: Price | None = None
    cached_price: Price | None = None
    output_price: Price | None = None
    reasoning_price: Price | None = None

    def facts(self) -> dict[str, Any]:
        """What was said, as services take it."""
        given = self.model_dump(exclude_unset=True, exclude={"slug"})
        prices = {name: Decimal(given[name]) for name in PRICES if given.get(name) is not None}
        if self.api_key is not None:
            given["api_key"] = self.api_key.get_secret_value()
        return given | prices


class ModelProfileIn(ModelProfileFacts):
    slug: Slug
    name: Name
    model: ModelName

    def fingerprint(self) -> str:
        """The request, for telling it from another one: nothing can be told of its key from this."""
        key = self.api_key.get_secret_value() if self.api_key else ""
        return salted_hmac("model_profile", self.model_dump_json() + key, algorithm="sha256").hexdigest()


class ModelProfilePatch(ModelProfileFacts):
    """What is left out stays."""

    name: Name | None = None
    model: ModelName | None = None


class ModelProfileOut(Schema):
    id: UUID
    slug: str
    name: str
    protocol: str
    base_url: str
    api_key: Annotated[
        Literal["own", "vault"] | None,
        Field(description="Where the key is: with this profile, or where the operators keep theirs."),
    ]
    public_only: bool
    model: str
    kind: str
    dimensions: int | None
    max_output_tokens: int
    context_tokens: int | None
    temperature: float | None
    tool_calls: str
    reasoning_effort: str
    thinking_tokens: int | None
    connect_seconds: float
    first_token_seconds: float
    idle_seconds: float
    max_retries: int
    max_retry_wait_seconds: float
    breaker_failures: int
    breaker_seconds: float
    requests_per_minute: int | None
    fallback: str | None
    input_price: PriceTold
    cached_price: PriceTold
    output_price: PriceTold
    reasoning_price: PriceTold

    @staticmethod
    def resolve_fallback(profile: ModelProfile) -> str | None:
        return profile.fallback.slug if profile.fallback else None

    @staticmethod
    def resolve_api_key(profile: ModelProfile) -> str | None:
        if profile.encrypted_key:
            return "own"
        return "vault" if profile.secret_name else None
