"""MCP servers that a tenant may use, and the tokens of those that want OAuth."""

from __future__ import annotations

from typing import ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models

from apps.tools.tool import Risk
from somaagent.tenancy.fields import TenantOwned

SLUG = RegexValidator(r"^[a-z][a-z0-9-]{0,31}\Z", "Small letters, digits and hyphens, 32 at most.")
SECRET_NAME = RegexValidator(r"^mcp/[a-z0-9][a-z0-9-]{0,62}\Z", "Write it as mcp/<name>.")
HEADER = RegexValidator(r"^[A-Za-z][A-Za-z0-9-]{0,63}\Z", "The name of a header, such as X-API-Key.")
SECONDS = [MinValueValidator(0.1), MaxValueValidator(600)]
MOST_TOOLS = 500
MOST_CHARACTERS = 1_000_000


class Authentication(models.TextChoices):
    """How a server knows who asks."""

    NONE = "none", "It does not ask"
    KEY = "key", "An API key"
    CLIENT_CREDENTIALS = "client_credentials", "OAuth: client credentials"
    REFRESH_TOKEN = "refresh_token", "OAuth: a refresh token"


RISKS = [(risk.value, risk.value) for risk in Risk]
OAUTH = (Authentication.CLIENT_CREDENTIALS, Authentication.REFRESH_TOKEN)


class McpServer(TenantOwned):
    """A server of the Model Context Protocol that is reached by streamable HTTP.

    Its secret is the API key, or with OAuth the client's: ``encrypted_secret`` is sealed (``keys``),
    ``secret_name`` is where Vault keeps it; there is one of the two, or none.
    """

    slug = models.CharField(max_length=32, validators=[SLUG], help_text="Its tools are named <slug>__<tool>.")
    name = models.CharField(max_length=200)
    url = models.CharField("URL", max_length=2000, help_text="For example https://mcp.example.org/mcp")
    enabled = models.BooleanField(default=True)
    authentication = models.CharField(
        max_length=32, choices=Authentication.choices, default=Authentication.NONE
    )
    key_header = models.CharField(
        max_length=64,
        default="Authorization",
        validators=[HEADER],
        help_text="Where an API key is sent: Authorization (as “Bearer KEY”), or another header (as it is).",
    )
    secret_name = models.CharField(
        max_length=80,
        blank=True,
        validators=[SECRET_NAME],
        help_text="Where Vault keeps its API key or client secret, for example mcp/github.",
    )
    encrypted_secret = models.TextField(blank=True, default="", editable=False)
    token_url = models.CharField("token URL", max_length=2000, blank=True)
    client_id = models.CharField("client id", max_length=500, blank=True)
    scope = models.CharField(max_length=1000, blank=True, help_text="Scopes, with spaces between them.")
    needs_approval = models.BooleanField(
        default=True, help_text="Somebody has to approve each call of its tools."
    )
    risk = models.CharField(max_length=16, choices=RISKS, default=Risk.MEDIUM.value)
    trusts_annotations = models.BooleanField(
        "believes its hints",
        default=False,
        help_text="Whether a call may be repeated because the server says that its tool is idempotent.",
    )
    connect_seconds = models.FloatField(
        default=10, validators=SECONDS, help_text="To connect, and for each part of its list of tools."
    )
    call_seconds = models.FloatField(default=30, validators=SECONDS, help_text="For a call, all in all.")
    most_tools = models.PositiveIntegerField(
        default=64, validators=[MinValueValidator(1), MaxValueValidator(MOST_TOOLS)]
    )
    most_characters = models.PositiveIntegerField(
        default=20_000,
        validators=[MinValueValidator(100), MaxValueValidator(MOST_CHARACTERS)],
        help_text="Of a result, the rest is cut off.",
    )

    class Meta:
        ordering: ClassVar = ["name"]
        verbose_name = "MCP server"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "slug"], name="mcp_server_slug"),
            models.CheckConstraint(
                condition=models.Q(secret_name="") | models.Q(encrypted_secret=""),
                name="mcp_server_one_secret",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def uses_oauth(self) -> bool:
        return self.authentication in OAUTH

    def clean(self) -> None:
        super().clean()
        if self.uses_oauth and not (self.token_url and self.client_id):
            missing = "client_id" if self.token_url else "token_url"
            raise ValidationError({missing: "OAuth needs the token URL and the client id."})


class McpToken(TenantOwned):
    """What an authorization server gave for one MCP server. Tokens are sealed; ``version`` counts them.

    Who refreshes has set ``refreshing_until`` by a conditional UPDATE, and nobody else refreshes before then.
    ``error`` is why the last attempt failed, at ``failed_at``.
    """

    server = models.OneToOneField(McpServer, on_delete=models.CASCADE, related_name="token")
    encrypted_access = models.TextField(blank=True, default="", editable=False)
    encrypted_refresh = models.TextField(blank=True, default="", editable=False)
    expires_at = models.DateTimeField(
        null=True, help_text="From then on it is not sent any more. Empty: not said."
    )
    version = models.PositiveIntegerField(default=0)
    refreshing_until = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=64, blank=True, default="")

    class Meta:
        ordering: ClassVar = ["-id"]
        verbose_name = "MCP token"

    def __str__(self) -> str:
        return f"Token of {self.server_id}"
