"""Every setting of SomaAgent, declared once: the reference for code, checks, examples and documentation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from settings import kinds
from settings.kinds import BOOLEAN, HOST, LIST, NETWORKS, PATH, PORT, TEXT, Kind
from settings.oidc import OIDC_PROVIDERS
from settings.stdio import STDIO_SERVERS

PREFIX = "SA01_"
PROJECT_ROOT = Path(__file__).resolve().parent.parent


class Mode(StrEnum):
    """How SomaAgent is deployed."""

    STANDALONE = "STANDALONE"
    SAAS = "SAAS"


BOTH = frozenset(Mode)
_WITH_SASL = (PREFIX + "KAFKA_SECURITY_PROTOCOL", ("SASL_PLAINTEXT", "SASL_SSL"))


@dataclass(frozen=True, slots=True)
class VaultKey:
    """Where a secret lives: KV v2 *path* under the mount, and its *key*; braces name another setting."""

    path: str
    key: str


@dataclass(frozen=True, slots=True)
class Example:
    """What the two ``.env.example`` files show."""

    standalone: str
    saas: str

    def of(self, mode: Mode) -> str:
        return self.saas if mode is Mode.SAAS else self.standalone


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting. It comes from the environment, or, if ``vault`` is given, from Vault and nowhere else.

    ``needed_for_auth`` names the kind of Vault login that makes an optional setting necessary.
    ``needed_with`` names another setting, and its values that do; a secret is looked up then alone.
    ``offered`` ones stand in the examples although they are optional.
    ``process_only`` settings steer the look-up itself and so cannot stand in the file that it reads.
    """

    name: str
    kind: Kind
    doc: str
    example: Example
    section: str
    required: bool = False
    default: object = None
    modes: frozenset[Mode] = field(default=BOTH)
    vault: VaultKey | None = None
    needed_for_auth: str | None = None
    needed_with: tuple[str, tuple[str, ...]] | None = None
    process_only: bool = False
    offered: bool = False

    @property
    def secret(self) -> bool:
        return self.vault is not None


class _Section:
    """Declares settings under one heading, keeping their order."""

    def __init__(self, title: str, into: list[Setting]) -> None:
        self._title = title
        self._into = into

    def add(self, name: str, kind: Kind, doc: str, example: str | tuple[str, str], **more: object) -> None:
        standalone, saas = (example, example) if isinstance(example, str) else example
        shown = Example(standalone, saas)
        self._into.append(
            Setting(name=PREFIX + name, kind=kind, doc=doc, example=shown, section=self._title, **more)  # type: ignore[arg-type]  # the dataclass checks the names
        )


def _deployment(s: _Section) -> None:
    s.add(
        "DEPLOYMENT_MODE",
        kinds.choice(*Mode),
        "How this installation is run: for one organisation, or for many.",
        ("STANDALONE", "SAAS"),
        required=True,
    )
    s.add(
        "ENV_FILE",
        PATH,
        "A file of NAME=value lines to read besides the process environment.",
        "/etc/somaagent/environment",
        process_only=True,
    )
    s.add(
        "DATA_DIR",
        PATH,
        "The folder that holds what this host keeps: state, logs, embedded servers' data.",
        "/var/lib/somaagent",
        default=PROJECT_ROOT / ".somaagent",
    )
    s.add("DEBUG", BOOLEAN, "Show Django's debug page for an error; never in SAAS.", "false", default=False)
    s.add(
        "LOG_LEVEL",
        kinds.choice("DEBUG", "INFO", "WARNING", "ERROR"),
        "The least severe level that is logged.",
        "INFO",
        default="INFO",
    )
    s.add(
        "OTLP_ENDPOINT",
        kinds.url("http", "https"),
        "The OpenTelemetry collector that traces are sent to; none are sent without it.",
        "http://collector:4318",
    )


def _gateway(s: _Section) -> None:
    s.add(
        "PUBLIC_URL",
        kinds.url("http", "https"),
        "The address under which browsers and clients reach the gateway.",
        ("http://agents.example.org:20080", "https://agents.example.org"),
        required=True,
    )
    s.add(
        "ALLOWED_HOSTS",
        LIST,
        "The host names that requests may be addressed to; the public URL's is one of them.",
        "agents.example.org",
        required=True,
    )
    s.add("GATEWAY_HOST", HOST, "The address that the gateway listens on.", "0.0.0.0", required=True)  # noqa: S104  the example is a container's, which is reached through its published port
    s.add("GATEWAY_PORT", PORT, "The port that the gateway listens on.", ("20080", "63080"), required=True)
    s.add(
        "GATEWAY_WORKERS", kinds.integer(1, 64), "How many gateway processes serve requests.", "2", default=2
    )
    s.add(
        "WORKER_CONCURRENCY",
        kinds.integer(1, 256),
        "How many background jobs a worker runs at a time.",
        "2",
        default=2,
    )
    s.add(
        "DRAIN_SECONDS",
        kinds.integer(0, 600),
        "How long running work may take to finish when a process is told to stop.",
        "20",
        default=20,
    )
    s.add(
        "SECURE_COOKIES",
        BOOLEAN,
        "Send cookies over HTTPS alone; false only where the public URL is plain HTTP.",
        ("false", "true"),
        default=True,
    )
    s.add(
        "BEHIND_TLS_PROXY",
        BOOLEAN,
        "A proxy in front ends TLS and sets X-Forwarded-Proto itself, so that header can be believed.",
        ("false", "true"),
        default=False,
    )
    s.add(
        "TRUSTED_PROXIES",
        kinds.integer(0, 10),
        "How many proxies in front add the address that they were asked from to X-Forwarded-For; attempts to "
        "sign in are counted by the address before them.",
        ("0", "1"),
        default=0,
    )


def _accounts(s: _Section) -> None:
    s.add(
        "MFA_REQUIRED",
        kinds.choice("nobody", "operators", "owners", "everybody"),
        "Who has to have a second factor to sign in with a password; owners: of a tenant, and operators too.",
        "operators",
        default="nobody",
    )
    s.add(
        "OIDC_PROVIDERS",
        OIDC_PROVIDERS,
        "Identity providers that people sign in with, as JSON or the path of a file; docs/sign-in.md.",
        '{"acme": {"name": "Acme", "issuer": "https://id.acme.example", "client_id": "somaagent", '
        '"tenant": "acme", "role": "member"}}',
    )


def _outbound(s: _Section) -> None:
    s.add(
        "OUTBOUND_ALLOWED_NETWORKS",
        NETWORKS,
        "Networks besides the public internet that webhooks, MCP servers and tenants' models may be in.",
        "10.20.30.0/24",
    )
    s.add(
        "MCP_STDIO_SERVERS",
        STDIO_SERVERS,
        "MCP servers that run as programs beside SomaAgent, as JSON or the path of a file; docs/mcp.md.",
        '{"files": {"command": ["/usr/local/bin/mcp-files", "/srv/files"], "tenants": ["default"]}}',
    )


def _database(s: _Section) -> None:
    s.add("DB_HOST", HOST, "The PostgreSQL server.", "postgres", required=True)
    s.add("DB_PORT", PORT, "Its port.", "5432", default=5432)
    s.add("DB_NAME", TEXT, "The database.", "somaagent", required=True)
    s.add(
        "DB_USER",
        TEXT,
        "The role that the application connects as; it owns nothing and obeys row-level security.",
        "somaagent_app",
        required=True,
    )
    s.add(
        "DB_OWNER_USER",
        TEXT,
        "The role that owns the tables; migrations run as it.",
        "somaagent_owner",
        required=True,
    )
    s.add("VALKEY_HOST", HOST, "The Valkey server.", "valkey", required=True)
    s.add("VALKEY_PORT", PORT, "Its port.", "6379", required=True)
    s.add("VALKEY_TLS", BOOLEAN, "Speak TLS to Valkey.", "false", default=False)


def _vault(s: _Section) -> None:
    s.add(
        "VAULT_ADDR",
        kinds.url("http", "https"),
        "The address of Vault or OpenBao.",
        "http://openbao:8200",
        required=True,
    )
    s.add(
        "VAULT_AUTH",
        kinds.choice("approle", "kubernetes", "token_file"),
        "How this process logs in to Vault.",
        "approle",
        required=True,
    )
    s.add(
        "VAULT_ROLE_ID",
        TEXT,
        "The application's AppRole.",
        "5ac9d3b2-6a6a-4f0e-9d5c-0c6f3b9b7f10",
        needed_for_auth="approle",
    )
    s.add(
        "VAULT_SECRET_ID_FILE",
        PATH,
        "The file that holds that AppRole's secret id.",
        "/run/secrets/somaagent/app.secret-id",
        needed_for_auth="approle",
    )
    s.add(
        "VAULT_KUBERNETES_ROLE",
        TEXT,
        "The role of the Kubernetes login.",
        "somaagent",
        needed_for_auth="kubernetes",
    )
    s.add(
        "VAULT_TOKEN_FILE",
        PATH,
        "The file that holds a token.",
        "/run/secrets/somaagent/token",
        needed_for_auth="token_file",
    )
    s.add(
        "VAULT_CA_FILE",
        PATH,
        "The certificate authority that signed Vault's certificate; the system's if not set.",
        "/etc/somaagent/vault-ca.pem",
    )
    s.add("VAULT_NAMESPACE", TEXT, "The namespace that holds the secrets.", "platform/agents")
    s.add("VAULT_MOUNT", TEXT, "The KV v2 mount that holds the secrets.", "somaagent", default="somaagent")
    s.add(
        "VAULT_BOOT_SECONDS",
        kinds.integer(0, 600),
        "How long a boot waits for a Vault that is unreachable or sealed.",
        "15",
        default=15,
    )
    s.add(
        "VAULT_OWNER_ROLE_ID",
        TEXT,
        "The AppRole of the process that migrates the database.",
        "b7c0a1de-41c8-4a53-8f5e-2f1d8f6e9a42",
        offered=True,
    )
    s.add(
        "VAULT_OWNER_SECRET_ID_FILE",
        PATH,
        "The file that holds that AppRole's secret id.",
        "/run/secrets/somaagent/owner.secret-id",
        offered=True,
    )
    s.add(
        "VAULT_OPERATOR_TOKEN_FILE",
        PATH,
        "The file that holds an operator's token; `secret`, `bootstrap_vault` and `rotate_tenant_key` "
        "read it.",
        "/root/.somaagent-operator-token",
    )


def _turns(s: _Section) -> None:
    s.add(
        "TURN_TIMEOUT_SECONDS",
        kinds.integer(1, 86_400),
        "How long a turn may take in all.",
        "600",
        default=600,
    )
    s.add(
        "TURN_LEASE_SECONDS",
        kinds.integer(5, 3_600),
        "How long a turn waits for a host that has fallen silent before another takes it over.",
        "30",
        default=30,
    )
    s.add(
        "APPROVAL_SECONDS",
        kinds.integer(5, 30 * 24 * 3_600),
        "How long a call of a tool waits for somebody to approve it before its turn goes on without.",
        "28800",
        default=28_800,
    )
    s.add(
        "SWEEP_SECONDS",
        kinds.integer(1, 300),
        "How often the scheduler looks for what has come due: lost turns, schedules, webhooks to try again.",
        "10",
        default=10,
    )
    s.add(
        "KAFKA_BOOTSTRAP",
        TEXT,
        "The Kafka servers that domain events are published to; a stream in Valkey without it.",
        "kafka:9092",
    )
    s.add("KAFKA_TOPIC", TEXT, "The topic there.", "somaagent.events", default="somaagent.events")
    s.add(
        "KAFKA_SECURITY_PROTOCOL",
        kinds.choice("PLAINTEXT", "SSL", *_WITH_SASL[1]),
        "How Kafka is spoken to: encrypted (SSL), with a user name (SASL), both, or neither.",
        "SASL_SSL",
        default="PLAINTEXT",
    )
    s.add(
        "KAFKA_CA_FILE",
        PATH,
        "The certificate authority that signed Kafka's certificate; the system's if not set.",
        "/etc/somaagent/kafka-ca.pem",
    )
    s.add(
        "KAFKA_SASL_MECHANISM",
        kinds.choice("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"),
        "How the user name and password are shown to Kafka.",
        "SCRAM-SHA-512",
        default="SCRAM-SHA-512",
    )
    s.add("KAFKA_USERNAME", TEXT, "Our user at Kafka.", "somaagent", needed_with=_WITH_SASL)
    s.add(
        "OUTBOX_DAYS",
        kinds.integer(1, 365),
        "How many days published events are kept, so that they can be published again.",
        "7",
        default=7,
    )
    s.add(
        "MESSAGE_MAX_CHARS",
        kinds.integer(1, 10_000_000),
        "The longest message that is taken, in characters.",
        "200000",
        default=200_000,
    )
    s.add(
        "LOCAL_MODEL_URL",
        kinds.url("http", "https"),
        "The OpenAI-compatible address of a model that runs beside SomaAgent.",
        "http://model:8080/v1",
    )


def _policy(s: _Section) -> None:
    s.add(
        "POLICY_DIR",
        PATH,
        "The folder of the Rego policies that judge calls of tools; read once by each process.",
        "/etc/somaagent/policy",
        default=PROJECT_ROOT / "policy",
    )
    s.add(
        "OPA_URL",
        kinds.url("http", "https"),
        "The OPA server that judges calls of tools; they are judged beside each process without it.",
        "http://opa:8181",
    )
    s.add(
        "POLICY_TIMEOUT_SECONDS",
        kinds.integer(1, 60),
        "How long a policy may take over one question; a call that is not judged by then is denied.",
        "2",
        default=2,
    )


def _secrets(s: _Section) -> None:
    s.add(
        "SECRET_KEY",
        TEXT,
        "Signs sessions and tokens.",
        "",
        required=True,
        vault=VaultKey("core", "secret_key"),
    )
    s.add(
        "VALKEY_PASSWORD",
        TEXT,
        "Valkey's password.",
        "",
        required=True,
        vault=VaultKey("core", "valkey_password"),
    )
    s.add(
        "DB_PASSWORD",
        TEXT,
        "The password of the role that this process connects to the database as.",
        "",
        required=True,
        vault=VaultKey("database/{SA01_DB_USER}", "password"),
    )
    s.add(
        "KAFKA_PASSWORD",
        TEXT,
        "The password of our user at Kafka.",
        "",
        vault=VaultKey("core", "kafka_password"),
        needed_with=_WITH_SASL,
    )


def _declare() -> tuple[Setting, ...]:
    settings: list[Setting] = []
    _deployment(_Section("Deployment", settings))
    _gateway(_Section("Gateway and worker", settings))
    _accounts(_Section("Signing in", settings))
    _outbound(_Section("Requests to the outside", settings))
    _database(_Section("Database and Valkey", settings))
    _vault(_Section("Vault", settings))
    _turns(_Section("Turns", settings))
    _policy(_Section("Policy of tools", settings))
    _secrets(_Section("Secrets", settings))
    return tuple(settings)


REGISTRY: tuple[Setting, ...] = _declare()


def by_name(registry: Iterable[Setting] = REGISTRY) -> dict[str, Setting]:
    """The settings of *registry*, findable by name."""
    return {setting.name: setting for setting in registry}
