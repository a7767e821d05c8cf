"""Our metrics, each declared once, and the view that shows those of every process.

Several processes share them through files in the directory that ``PROMETHEUS_MULTIPROC_DIR`` names; the
variable has to be set before this module is imported. Without it, the metrics are those of one process.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
_LIVE_FILE = re.compile(r"gauge_live\w+_(\d+)\.db")
_VAULT_SECONDS = 10.0
_SHORT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LONG = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0)

TURNS = Counter("soma_turns_total", "Turns that ended, by their last state.", ["state"])
TURN_SECONDS = Histogram("soma_turn_seconds", "From a turn's claim to its end.", buckets=_LONG)
COMPLETIONS = Counter("soma_completions_total", "Chat completions that ended, by how.", ["state"])
COMPLETION_SECONDS = Histogram(
    "soma_completion_seconds", "From a chat completion's request to its end.", buckets=_LONG
)
EMBEDDINGS = Counter("soma_embeddings_total", "Requests for embeddings that ended, by how.", ["state"])
EMBEDDING_SECONDS = Histogram(
    "soma_embedding_seconds", "From a request for embeddings to its end.", buckets=_SHORT
)
FIRST_TOKEN_SECONDS = Histogram(
    "soma_first_token_seconds",
    "From a turn's submission, or a chat completion's request, to the first text of its answer.",
    buckets=_SHORT,
)
MODEL_TOKENS = Counter(
    "soma_model_tokens_total", "Tokens that models counted; kind: input, cached, output, reasoning.", ["kind"]
)
BUDGET_REFUSALS = Counter(
    "soma_budget_refusals_total",
    "Steps, and requests for some, that a budget stopped, by what it covers: tenant, user, api_key, agent.",
    ["covers"],
)
MODEL_RETRIES = Counter(
    "soma_model_retries_total", "Requests to a model that were sent again, by its profile.", ["profile"]
)
MODEL_FALLBACKS = Counter(
    "soma_model_fallbacks_total",
    "Times that a model failed and another was asked, by its profile.",
    ["profile"],
)
# The newest value counts, whichever process saw it: they share one breaker.
BREAKER_STATE = Gauge(
    "soma_breaker_state",
    "A circuit breaker that was ever open: 0 closed, 1 half-open, 2 open.",
    ["breaker"],
    multiprocess_mode="mostrecent",
)
BREAKER_OPENED = Counter("soma_breaker_opened_total", "Times that a circuit breaker opened.", ["breaker"])
BREAKER_REFUSED = Counter(
    "soma_breaker_refused_total", "Calls that an open circuit breaker did not let through.", ["breaker"]
)
RATE_LIMITED = Counter(
    "soma_rate_limited_total", "Calls that a rate limit of ours did not let through.", ["limit"]
)
SIGN_INS = Counter(
    "soma_sign_ins_total",
    "Attempts to sign in; how: password, provider, invitation; outcome: ok, refused, locked (too many).",
    ["how", "outcome"],
)
RATE_LIMIT_WAITS = Counter(
    "soma_rate_limit_waits_total", "Calls that waited for a rate limit of ours.", ["limit"]
)
RESILIENCE_STORE_ERRORS = Counter(
    "soma_resilience_store_errors_total",
    "Times that Valkey was away when a breaker or a rate limit needed it; what: breaker, rate_limit.",
    ["what"],
)
COMPACTIONS = Counter(
    "soma_compactions_total",
    "Times that a summary took the place of older messages; covers: conversation, steps.",
    ["covers"],
)
TOOL_CALLS = Counter("soma_tool_calls_total", "Calls of tools that ended, by how.", ["tool", "outcome"])
TOOL_SECONDS = Histogram("soma_tool_seconds", "How long calls of tools ran.", ["tool"], buckets=_LONG)
MCP_SERVED = Counter(
    "soma_mcp_served_total",
    "Calls by clients of MCP, of agents or tools, by what came of them.",
    ["kind", "outcome"],
)
TOOL_APPROVALS = Counter(
    "soma_tool_approvals_total", "Questions whether a call may run, by their answer.", ["answer"]
)
WEBHOOK_DELIVERIES = Counter(
    "soma_webhook_deliveries_total",
    "Attempts to deliver to a webhook; outcome: delivered, retried (another follows), failed (given up).",
    ["outcome"],
)
WEBHOOK_SECONDS = Histogram(
    "soma_webhook_seconds", "How long an attempt to deliver to a webhook took.", buckets=_SHORT
)
WEBHOOKS_DISABLED = Counter(
    "soma_webhooks_disabled_total", "Webhooks that were disabled: failing for days, or gone.", ["reason"]
)
OUTBOX_PUBLISHED = Counter(
    "soma_outbox_published_total", "Domain events that were published; sink: kafka, valkey.", ["sink"]
)
OUTBOX_FAILURES = Counter(
    "soma_outbox_failures_total",
    "Times that domain events could not be published; fault: unreachable, tls, authentication, "
    "authorization, configuration.",
    ["sink", "fault"],
)
OUTBOX_WAITING = Gauge(
    "soma_outbox_waiting",
    "Domain events that wait to be published, counted up to 10000.",
    multiprocess_mode="mostrecent",
)
OUTBOX_LAG_SECONDS = Gauge(
    "soma_outbox_lag_seconds",
    "Age of the oldest domain event that waits to be published.",
    multiprocess_mode="mostrecent",
)
AUDIT_WITHOUT_TENANT = Counter(
    "soma_audit_without_tenant_total",
    "What was done by or to somebody without a tenant: in the log, not in an audit.",
)
SCHEDULE_RUNS = Counter("soma_schedule_runs_total", "Times that schedules were due, by outcome.", ["outcome"])
SCHEDULE_LATENESS_SECONDS = Histogram(
    "soma_schedule_lateness_seconds", "From the time that a run was planned for to the run.", buckets=_LONG
)
POLICY_DECISIONS = Counter(
    "soma_policy_decisions_total", "Calls of tools that the policy judged.", ["effect"]
)
POLICY_FAILURES = Counter(
    "soma_policy_failures_total",
    "Questions that the policy gave no usable answer to, which denies; failure: input, policy, timed_out, "
    "unreachable, crashed, undefined, unintelligible.",
    ["engine", "failure"],
)
POLICY_SECONDS = Histogram(
    "soma_policy_seconds", "How long a question to the policy took.", ["engine"], buckets=_SHORT
)
MCP_LISTS = Counter(
    "soma_mcp_lists_total",
    "Times that an MCP server was asked for its tools; outcome: read, or the code of what went wrong.",
    ["outcome"],
)
MCP_LIST_SECONDS = Histogram(
    "soma_mcp_list_seconds", "How long an MCP server took to tell its tools, or to fail.", buckets=_SHORT
)
MCP_CALLS = Counter(
    "soma_mcp_calls_total",
    "Calls of tools of MCP servers; outcome: answered, or the code of what went wrong.",
    ["outcome"],
)
MCP_TOKENS = Counter(
    "soma_mcp_token_refreshes_total",
    "Times that a token was asked for; outcome: refreshed, failed.",
    ["outcome"],
)
# A process that died has no sessions any more.
MCP_SESSIONS = Gauge(
    "soma_mcp_sessions",
    "Sessions with MCP servers now; state: opening, open.",
    ["state"],
    multiprocess_mode="livesum",
)
MCP_BROKEN = Gauge(
    "soma_mcp_servers_broken",
    "MCP servers that are known to be broken, of all processes.",
    multiprocess_mode="mostrecent",
)
# A process that died has no streams any more, so its share must vanish with it.
STREAMS_OPEN = Gauge(
    "soma_streams_open", "Clients that follow a turn or a chat completion now.", multiprocess_mode="livesum"
)
STREAMS_CUT = Counter(
    "soma_streams_cut_total",
    "Open streams that were ended because their credential had: revoked, suspended …",
)
# Only the orchestrator knows; the newest value counts, whichever of its lives it is from.
SERVICE_UP = Gauge(
    "soma_service_up", "1 while a service is healthy.", ["service"], multiprocess_mode="mostrecent"
)
SERVICE_RESTARTS = Counter("soma_service_restarts_total", "Restarts of a service since boot.", ["service"])
SERVICE_CHECK_SECONDS = Histogram(
    "soma_service_check_seconds", "How long a service's health check took.", ["service"], buckets=_SHORT
)
# The process nearest to losing its access is the one to worry about. Labelled, because without a label each
# process that has no token would count as one with no time left.
VAULT_TOKEN_SECONDS_LEFT = Gauge(
    "soma_vault_token_seconds_left",
    "Until the first Vault token of a service runs out.",
    ["service"],
    multiprocess_mode="livemin",
)
VAULT_RENEWAL_FAILING = Gauge(
    "soma_vault_renewal_failing",
    "1 while a process of a service could not renew its Vault token.",
    ["service"],
    multiprocess_mode="livemax",
)


class VaultAccess(Protocol):
    """A process's access to Vault, as far as its metrics need it."""

    def token_seconds_left(self) -> float | None: ...

    def last_error(self) -> str: ...


def count_tokens(tokens: Mapping[str, int]) -> None:
    """Adds what a model's server counted, by kinds such as ``input_tokens``."""
    for kind, count in tokens.items():
        if count:
            MODEL_TOKENS.labels(kind=kind.removesuffix("_tokens")).inc(count)


def watch_vault(service: str, access: VaultAccess) -> None:
    """Keeps this process's Vault metrics up to date, from a thread that ends with the process."""

    def watch() -> None:
        while True:
            left = access.token_seconds_left()
            if left is not None:
                VAULT_TOKEN_SECONDS_LEFT.labels(service).set(left)
                VAULT_RENEWAL_FAILING.labels(service).set(bool(access.last_error()))
            time.sleep(_VAULT_SECONDS)

    threading.Thread(target=watch, name="vault-metrics", daemon=True).start()


def render(accept: str = "") -> tuple[bytes, str]:
    """The metrics of all processes as text, and its content type, in the format that ``accept`` asks for."""
    encode, content_type = choose_encoder(accept)
    directory = os.environ.get(DIRECTORY)
    if not directory:
        return encode(REGISTRY), content_type
    _forget_dead(Path(directory))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
    return encode(registry), content_type


async def view(request: HttpRequest) -> HttpResponse:
    """``/metrics``."""
    from django.http import HttpResponse  # noqa: PLC0415 - the orchestrator uses this module without Django

    body, content_type = await asyncio.to_thread(render, request.headers.get("Accept", ""))
    return HttpResponse(body, content_type=content_type)


def mark_dead(pid: int) -> None:
    """Forgets what counts only while its process lives. For the parent or supervisor of the process."""
    directory = os.environ.get(DIRECTORY)
    if directory:
        mark_process_dead(pid, path=directory)  # type: ignore[no-untyped-call]


def _forget_dead(directory: Path) -> None:
    """A process that was killed could not say goodbye, and perhaps nobody did it for it."""
    for file in directory.glob("gauge_live*.db"):
        found = _LIVE_FILE.fullmatch(file.name)
        if found and not psutil.pid_exists(int(found[1])):
            file.unlink(missing_ok=True)
