"""The REST API: ``/api/v1``, its document and its error answers."""

from __future__ import annotations

from typing import Any

from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema

from apps.chat.api import router as chat
from apps.sessions.api import router as sessions
from somaagent import __version__, problems
from somaagent.web.health import router as health
from somaagent.web.security import Credential

PROBLEM = {"$ref": "#/components/schemas/Problem"}


class Api(NinjaAPI):
    """Ninja documents every answer as ``application/json``; problems have a type of their own."""

    def get_openapi_schema(self, **arguments: Any) -> OpenAPISchema:
        document = super().get_openapi_schema(**arguments)
        for operations in document["paths"].values():
            for operation in operations.values():
                for answer in operation["responses"].values():
                    _say_problem(answer)
        return document


def _say_problem(answer: dict[str, Any]) -> None:
    content = answer.get("content", {})
    if content.get("application/json", {}).get("schema") == PROBLEM:
        answer["content"] = {"application/problem+json": content["application/json"]}


api = Api(
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
