"""``session_search``: what its user and the agents said to each other before."""

from __future__ import annotations

import re

from django.db import OperationalError
from psycopg.errors import QueryCanceled

from apps.sessions.search import MOST_MESSAGES, Found, messages_found
from apps.tools.tool import Arguments, Caller, Label, Risk, Tool
from somaagent.errors import Kind, SomaError, invalid
from somaagent.tenancy.scripts import perform

MOST_WORDS = 8
LONGEST = 200
SNIPPET = 400
_BEFORE = 120


async def run(caller: Caller, arguments: Arguments) -> str:
    words = _words(arguments["query"])
    script = messages_found(
        user_id=caller.user_id,
        words=words,
        without=caller.session_id,
        most=arguments.get("limit", 5),
    )
    try:
        found = await perform(caller.tenant_id, script)
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        message = "The search took too long and was stopped: use fewer or longer words."
        raise SomaError(Kind.UNAVAILABLE, "session_search_stopped", message) from error
    if not found:
        return (
            f"Nothing found in earlier sessions (up to {MOST_MESSAGES} messages, from the last session on)."
        )
    return "\n\n".join(_told(each, words) for each in found)


def _words(query: str) -> list[str]:
    words = list(dict.fromkeys(word.lower() for word in re.findall(r"\w{2,}", query)))[:MOST_WORDS]
    if not words:
        raise invalid("query", "Give words of at least two letters.", code="session_search_empty")
    return words


def _told(found: Found, words: list[str]) -> str:
    title = " ".join(found.title.split()) or "(no title)"
    head = f"Session “{title}” ({found.session_id}), {found.said_at:%Y-%m-%d %H:%M} UTC, {found.role}:"
    return f"{head}\n{_snippet(found.text, words)}"


def _snippet(text: str, words: list[str]) -> str:
    """The text around the first of the words."""
    lower = text.lower()
    places = [place for word in words if (place := lower.find(word)) >= 0]
    start = max(min(places, default=0) - _BEFORE, 0)
    cut = text[start : start + SNIPPET].strip()
    return f"{'…' if start else ''}{cut}{'…' if start + SNIPPET < len(text) else ''}"


TOOL = Tool(
    name="session_search",
    description=(
        "Searches the user's own earlier sessions for words and gives snippets with session title, id, date "
        "and who said it; messages with more of the words come first, then newer ones. The present session "
        "is left out. Words match also inside of longer words; case does not matter."
    ),
    parameters={
        "type": "object",
        "properties": {
            "query": {
                "type": "string",
                "minLength": 2,
                "maxLength": LONGEST,
                "description": f"Words to look for, at most {MOST_WORDS}; no operators.",
            },
            "limit": {
                "type": "integer",
                "minimum": 1,
                "maximum": 20,
                "description": "How many snippets at most. Without it: 5.",
            },
        },
        "required": ["query"],
        "additionalProperties": False,
    },
    run=run,
    idempotent=True,
    needs_approval=False,
    risk=Risk.LOW,
    labels=frozenset({Label.PRIVATE}),
    seconds=15,
    most_characters=20_000,
)
