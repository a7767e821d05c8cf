"""What goes wrong with an MCP server: codes, sentences, and what each says of the server.

Sentences are ours and name the server by its slug. What a server says of itself is in none of them, but where
it tells that its tool failed (``mcp_tool_failed``).
"""

from __future__ import annotations

from somaagent.errors import Kind, SomaError
from somaagent.resilience.breaker import Verdict

# Away, silent, failing, flooding or not making sense; a key that it refuses makes it just as useless.
BROKEN = frozenset(
    {
        "mcp_unreachable",
        "mcp_not_public",
        "mcp_timeout",
        "mcp_failed",
        "mcp_ended",
        "mcp_flood",
        "mcp_garbled",
        "mcp_refused_key",
        "mcp_token_refused",
        "mcp_secret_missing",
        "mcp_program_missing",
    }
)
_ANSWERED = frozenset({"mcp_tool_failed", "mcp_refused_call", "mcp_asks_back"})


def failed(code: str, message: str, *, retry_after: float | None = None) -> SomaError:
    kind = Kind.UNAVAILABLE if retry_after is not None else Kind.UPSTREAM
    return SomaError(kind, code, message, retry_after=retry_after)


def of_host(slug: str, error: SomaError) -> SomaError:
    """The guarded client's failure, as one of this server's."""
    codes = {
        "url_not_public": "mcp_not_public",
        "url_invalid": "mcp_not_public",
        "host_timeout": "mcp_timeout",
        "host_flood": "mcp_flood",
        "host_packed": "mcp_garbled",
    }
    if error.code.startswith("mcp_"):
        return error
    return failed(codes.get(error.code, "mcp_unreachable"), f"The MCP server {slug}: {error.message}")


def timed_out(slug: str, seconds: float) -> SomaError:
    return failed("mcp_timeout", f"The MCP server {slug} did not answer within {seconds:g} s.")


def judge(error: Exception) -> Verdict:
    """What an outcome says of the server. What is our own fault says nothing."""
    code = error.code if isinstance(error, SomaError) else ""
    if code in BROKEN:
        return Verdict.FAILED
    return Verdict.ANSWERED if code in _ANSWERED else Verdict.UNKNOWN
