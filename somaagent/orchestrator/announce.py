"""What is said once everything is up: where to go, who one is there, and a request to paste."""

from __future__ import annotations

import json
import shlex

from .seeding import Credentials

QUESTION = {"input": "Hello! Who are you?", "stream": True}
PLACEHOLDER = "$SOMA_API_KEY"


def curl(public_url: str, api_key: str | None) -> str:
    """A request that streams an answer; with a placeholder where the key is not known any more."""
    key = f"'Authorization: Bearer {api_key}'" if api_key else f'"Authorization: Bearer {PLACEHOLDER}"'
    body = shlex.quote(json.dumps(QUESTION))
    address = shlex.quote(f"{public_url.rstrip('/')}/api/v1/turns")
    return f"curl -N -H {key} -H 'Content-Type: application/json' -d {body} {address}"


def lines(public_url: str, credentials: Credentials | None) -> list[str]:
    """The text, for a person. One-time secrets are in it when this start has made them."""
    text = ["", f"  Chat:      {public_url.rstrip('/')}/", f"  Admin:     {public_url.rstrip('/')}/admin/"]
    if credentials is not None and credentials.password and credentials.api_key:
        text += [
            f"  Operator:  {credentials.operator}",
            f"  Password:  {credentials.password}   (shown this once)",
            f"  API key:   {credentials.api_key}   (shown this once)",
        ]
    else:
        text += [
            "  The operator's password and the API key were shown by the start that made them.",
            "  For new ones: `make password`, `make api-key`.",
        ]
    key = credentials.api_key if credentials else None
    text += ["", "  Ask it something:", "", curl(public_url, key), "", "  Ctrl-C stops everything.", ""]
    return text
