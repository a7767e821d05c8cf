"""Agents, the models that they speak with, and their conversations with users."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator, URLValidator
from django.db import models

from somaagent.agent.models.providers import UnknownProvider, provider_of
from somaagent.errors import SomaError
from somaagent.outbound.addresses import allowed_url
from somaagent.tenancy.fields import IdempotentCreate, TenantOwned, tenant_without_index

SECRET_NAME = RegexValidator(r"^models/[a-z0-9][a-z0-9-]{0,62}$", "Write it as models/<name>.")
SECONDS = [MinValueValidator(0.1), MaxValueValidator(3600)]
PRICES = ("input_price", "cached_price", "output_price", "reasoning_price")
# For a million tokens: in whichever currency, more is a slip of the pen.
MOST_PRICE = 100_000
MOST_RETRIES = 10
MOST_FALLBACKS = 4
MOST_REQUESTS = 100_000
LEAST_CONTEXT = 512
# What an agent may name: a tool, or ``*`` for any characters of its name.
TOOL_PATTERN = re.compile(r"[A-Za-z0-9_*-]{1,64}")
MOST_TOOLS = 200


class Protocol(models.TextChoices):
    OPENAI_COMPATIBLE = "openai_compatible", "OpenAI-compatible"
    ANTHROPIC = "anthropic", "Anthropic"
    PYDANTIC_AI = "pydantic_ai", "A provider's own (Gemini, Mistral, Groq …)"


class ToolCalls(models.TextChoices):
    NATIVE = "native", "The server's own"
    CONSTRAINED = "constrained", "As constrained JSON"


class ReasoningEffort(models.TextChoices):
    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


class ModelKind(models.TextChoices):
    CHAT = "chat", "answers"
    EMBEDDING = "embedding", "embeddings"


def _price(verbose_name: str, help_text: str) -> models.DecimalField[Any, Any]:
    return models.DecimalField(
        verbose_name,
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(MOST_PRICE)],
        help_text=help_text,
    )


class ModelProfile(TenantOwned, IdempotentCreate):
    """A way to reach a model. Prices are for a million tokens, in whatever currency its operator pays.

    What has a key of the operator's (``secret_name``), or reaches their network (not ``public_only``), is the
    operators' to change.
    """

    slug = models.SlugField(max_length=63)
    name = models.CharField(max_length=200)
    protocol = models.CharField(max_length=32, choices=Protocol.choices, default=Protocol.OPENAI_COMPATIBLE)
    base_url = models.CharField(
        "base URL",
        max_length=500,
        blank=True,
        validators=[URLValidator(schemes=["http", "https"])],
        help_text="For example https://api.openai.com/v1 or https://api.anthropic.com",
    )
    public_only = models.BooleanField(
        "public addresses only",
        default=False,
        db_default=False,
        help_text="It is reached at public addresses alone, and the organisation's owners and admins may "
        "change it. Profiles that they make are always so.",
    )
    model = models.CharField(
        max_length=200,
        help_text="The model's name at that server. In a provider's own protocol: google:NAME, for example.",
    )
    secret_name = models.CharField(
        max_length=80,
        blank=True,
        validators=[SECRET_NAME],
        help_text="Where Vault keeps its API key, for example models/openai. Empty: the server needs none.",
    )
    encrypted_key = models.TextField(
        blank=True,
        db_default="",
        default="",
        editable=False,
        help_text="A key of the tenant's own, sealed (see ``keys``).",
    )
    kind = models.CharField(
        "what it gives",
        max_length=16,
        choices=ModelKind.choices,
        default=ModelKind.CHAT,
        db_default=ModelKind.CHAT,
        help_text="Answers, for agents; or embeddings: vectors that tell how near texts are in meaning.",
    )
    dimensions = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Of embeddings: how many numbers a vector has. Empty: as many as come.",
    )
    max_output_tokens = models.PositiveIntegerField(default=1024, validators=[MinValueValidator(1)])
    context_tokens = models.PositiveIntegerField(
        "context window",
        null=True,
        blank=True,
        validators=[MinValueValidator(LEAST_CONTEXT)],
        help_text="Tokens that it reads and writes at once. Empty: not known.",
    )
    temperature = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(2)],
        help_text="Empty: the server's own.",
    )
    tool_calls = models.CharField(
        max_length=16,
        choices=ToolCalls.choices,
        default=ToolCalls.NATIVE,
        db_default=ToolCalls.NATIVE,
        help_text="Constrained JSON gives tools to a model without; its server must take a JSON Schema.",
    )
    reasoning_effort = models.CharField(
        max_length=16,
        blank=True,
        default="",
        db_default="",
        choices=ReasoningEffort.choices,
        help_text="How hard it thinks before it answers. Empty: its own choice. Models take different ones.",
    )
    thinking_tokens = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1024)],
        help_text="For older models of Anthropic: the most tokens of thought, fewer than those of an answer.",
    )
    connect_seconds = models.FloatField(default=5, validators=SECONDS, help_text="To open a connection.")
    first_token_seconds = models.FloatField(default=60, validators=SECONDS, help_text="To the first token.")
    idle_seconds = models.FloatField(default=30, validators=SECONDS, help_text="Between two tokens.")
    max_retries = models.PositiveSmallIntegerField(
        default=2,
        validators=[MaxValueValidator(MOST_RETRIES)],
        help_text="How often it is asked again when it is busy, failing or away. 0: never.",
    )
    max_retry_wait_seconds = models.FloatField(
        default=10,
        validators=[MinValueValidator(0), MaxValueValidator(600)],
        help_text="The longest wait before it is asked again. A server that wants more is not asked again.",
    )
    breaker_failures = models.PositiveSmallIntegerField(
        default=5,
        db_default=5,
        validators=[MaxValueValidator(1000)],
        help_text="So many failures in a row, and it is not asked for a while. 0: it is always asked.",
    )
    breaker_seconds = models.FloatField(
        default=30,
        db_default=30,
        validators=SECONDS,
        help_text="How long it is not asked. Then one request tries whether it is well again.",
    )
    requests_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_REQUESTS)],
        help_text="One above it waits as long as a retry may, and fails then. Empty: no limit of ours.",
    )
    fallback = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="stands_in_for",
        help_text="The profile that answers in its place when it fails before its first token.",
    )
    input_price = _price("input", "For a million tokens that it reads.")
    cached_price = _price("cached input", "For those of them that its server had kept.")
    output_price = _price("output", "For a million tokens that it writes.")
    reasoning_price = _price("reasoning", "For those of them that are reasoning.")

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "slug"], name="model_profile_slug"),
            models.UniqueConstraint(fields=["tenant", "idempotency_key"], name="model_profile_made_once"),
            models.CheckConstraint(
                # An absent price passes: a check refuses only what is false, and NULL makes it unknown.
                condition=models.Q(*((f"{price}__gte", 0) for price in PRICES)),
                name="model_profile_prices_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(*((f"{price}__lte", MOST_PRICE) for price in PRICES)),
                name="model_profile_prices_not_absurd",
            ),
            models.CheckConstraint(
                condition=models.Q(secret_name="") | models.Q(encrypted_key=""),
                name="model_profile_one_key",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        self._check_window()
        self._check_reach()
        self._check_protocol()
        self._check_kind()
        self._check_chain()

    def _check_window(self) -> None:
        if self.context_tokens and self.max_output_tokens > self.context_tokens // 2:
            raise ValidationError(
                {"max_output_tokens": "At most half of the context window: the rest is for what it reads."}
            )

    def _check_protocol(self) -> None:
        """What each protocol needs, and what it has no word for."""
        wrong: list[tuple[str, str]] = []
        address_needed = True
        if self.protocol == Protocol.PYDANTIC_AI:
            try:
                address_needed = not provider_of(self.model)[0].address
            except UnknownProvider as error:
                wrong.append(("model", str(error)))
            if not (self.secret_name or self.encrypted_key):
                wrong.append(("secret_name", "Every provider asks for a key."))
        if address_needed and not self.base_url:
            wrong.append(("base_url", "Say where its server is."))
        if self.thinking_tokens is not None and self.protocol != Protocol.ANTHROPIC:
            wrong.append(("thinking_tokens", "Only Anthropic's protocol counts them."))
        if wrong:
            raise ValidationError(dict(wrong))

    def _check_reach(self) -> None:
        """The words of an address that is to be public; where its name leads is seen when it is asked."""
        if not self.public_only:
            return
        if self.protocol == Protocol.PYDANTIC_AI:
            self._check_providers_own()
        elif self.base_url:
            try:
                allowed_url(self.base_url, settings.OUTBOUND_ALLOWED_NETWORKS)
            except SomaError as refused:
                raise ValidationError({"base_url": refused.message}) from refused

    def _check_providers_own(self) -> None:
        """Clients of providers connect by themselves: to an address that nobody typed."""
        try:
            provider = provider_of(self.model)[0]
        except UnknownProvider as error:
            raise ValidationError({"model": str(error)}) from error
        if "://" in self.model:  # some take one for the address to ask
            raise ValidationError({"model": "Write the model's name, not an address."})
        if not provider.address:
            message = f"{provider.title} has no one address: an operator has to connect it."
            raise ValidationError({"model": message})
        if self.base_url:
            message = f"Leave it empty: at public addresses only, {provider.title} is reached at its own."
            raise ValidationError({"base_url": message})

    def _check_kind(self) -> None:
        if faults := self._faults_of_kind():
            raise ValidationError(faults)

    def _check_chain(self) -> None:
        chain = self.chain()
        following = chain[-1].fallback
        if following in chain:
            raise ValidationError({"fallback": f"“{following}” would stand in for itself."})
        if following is not None:
            raise ValidationError({"fallback": f"At most {MOST_FALLBACKS} may follow one another."})

    def _faults_of_kind(self) -> dict[str, str]:
        """By field, what does not go with answers, or with embeddings."""
        if not self.gives_embeddings:
            faults = {"dimensions": "Only embeddings have dimensions."} if self.dimensions else {}
            if self.fallback is not None and self.fallback.gives_embeddings:
                faults["fallback"] = f"“{self.fallback}” gives embeddings: it cannot answer."
            return faults
        faults = {}
        if self.protocol != Protocol.OPENAI_COMPATIBLE:
            faults["protocol"] = "Embeddings come by the OpenAI-compatible protocol alone."
        if self.fallback is not None:
            faults["fallback"] = "Vectors of different models cannot be compared: none stands in for another."
        if self.agents.exists() or self.stands_in_for.exists():
            faults["kind"] = "Agents, or profiles that it stands in for, need its answers."
        return faults

    @property
    def gives_embeddings(self) -> bool:
        return self.kind == ModelKind.EMBEDDING

    def chain(self) -> list[ModelProfile]:
        """This profile and those that stand in for it, in order: at most ``MOST_FALLBACKS``, and none of
        them twice, whatever the rows say.
        """
        chain = [self]
        while len(chain) <= MOST_FALLBACKS:
            following = chain[-1].fallback
            if following is None or following in chain:
                break
            chain.append(following)
        return chain


class Agent(TenantOwned, IdempotentCreate):
    """Who answers: instructions and a model profile."""

    slug = models.SlugField(max_length=63)
    name = models.CharField(max_length=200)
    instructions = models.TextField(blank=True, help_text="What the model is told before the conversation.")
    model_profile = models.ForeignKey(ModelProfile, on_delete=models.PROTECT, related_name="agents")
    is_default = models.BooleanField(default=False, help_text="Answers where no agent is named.")
    # The database has a default too: rows are made by older code while a new version is rolled out.
    tools = ArrayField(
        models.CharField(max_length=64),
        default=list,
        db_default=[],
        blank=True,
        help_text="The tools that it may use, by name; * stands for any characters.",
    )

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "slug"], name="agent_slug"),
            models.UniqueConstraint(fields=["tenant", "idempotency_key"], name="agent_made_once"),
            models.UniqueConstraint(
                fields=["tenant"], condition=models.Q(is_default=True), name="agent_one_default_a_tenant"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        if self.model_profile_id is not None and self.model_profile.gives_embeddings:
            message = f"“{self.model_profile}” gives embeddings: choose a profile that answers."
            raise ValidationError({"model_profile": message})


class Session(TenantOwned, IdempotentCreate):
    """A conversation between a user and an agent: a tree of messages, of which one branch is active."""

    tenant = tenant_without_index(by_parent=True)
    # Without an index of its own: ``session_created_once`` begins with it.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="sessions")
    title = models.CharField(max_length=200, blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)
    # Django would collect what hangs on a message level by level, and a conversation is all depth. Messages
    # go with their session, all at once; the database checks the references when they are gone.
    # Of this one it does not: each turn changes it, and whoever takes a message away holds the session.
    active_message = models.ForeignKey(
        "Message",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        help_text="The last message of the active branch.",
    )

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(
                fields=["tenant", "user", "-id"],
                condition=models.Q(archived_at__isnull=True),
                name="session_active_of_user",
            ),
            models.Index(
                fields=["tenant", "user", "-id"],
                condition=models.Q(archived_at__isnull=False),
                name="session_archived_of_user",
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["user", "tenant", "idempotency_key"], name="session_created_once"
            ),
        ]

    def __str__(self) -> str:
        return self.title or f"Session {self.id}"


class MessageRole(models.TextChoices):
    USER = "user"
    ASSISTANT = "assistant"


class Message(TenantOwned):
    """What one side said. ``complete`` is false for an answer that was stopped or cut off.

    ``parent`` is what was said before it. Messages with one parent are alternatives: an edited question, an
    answer given anew. ``summary`` is of what was said up to and with it, where that became too long to be
    read: an agent goes on from there.
    """

    tenant = tenant_without_index(by_parent=True)
    # Without an index of its own: ``message_of_session`` begins with it.
    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="messages", db_index=False)
    parent = models.ForeignKey(
        "self", on_delete=models.DO_NOTHING, null=True, blank=True, related_name="replies"
    )
    role = models.CharField(max_length=16, choices=MessageRole.choices)
    text = models.TextField()
    complete = models.BooleanField(default=True)
    # The database has a default too: rows are made by older code while a new version is rolled out.
    summary = models.TextField(blank=True, default="", db_default="")

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["session", "-id"], name="message_of_session"),
            models.Index(
                fields=["session"], condition=models.Q(parent__isnull=True), name="message_first_of_session"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role}: {self.text[:60]}"
