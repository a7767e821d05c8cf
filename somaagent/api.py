"""The REST API: ``/api/v1``, its document and its error answers."""

from __future__ import annotations

from ninja import NinjaAPI

from apps.chat.api import router as chat
from apps.sessions.api import router as sessions
from somaagent import __version__, problems
from somaagent.web.health import router as health
from somaagent.web.security import Credential

api = NinjaAPI(
    title="SomaAgent",
    version=__version__,
    description="A self-hosted platform for AI agents. Errors are application/problem+json (RFC 9457).",
    urls_namespace="api-1",
    auth=Credential(),
)
api.add_router("", health, auth=None)
api.add_router("", sessions)
api.add_router("/turns", chat)
problems.install(api)
