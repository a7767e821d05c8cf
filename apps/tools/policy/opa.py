"""An OPA server: https://www.openpolicyagent.org/docs/rest-api#data-api."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

import aiohttp

from .engines import Answer
from .failures import Failure, PolicyError

MOST_BYTES = 65_536
LONGEST_POLICY = 100
NO_REVISION = "opa:unknown"


class OpaEngine:
    """Asks the server at ``url`` for each decision; ``seconds`` bounds the whole request.

    Which policy it was, OPA knows only of bundles that have a revision: ``opa:NAME@REVISION``, of several
    joined by commas, and their SHA-256 where that is longer than 100 characters. Of policies that it was
    started with or sent it says nothing, and neither do we: ``opa:unknown``.
    """

    name = "opa"
    loaded_at: datetime | None = None

    def __init__(self, url: str, *, seconds: float) -> None:
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=seconds)

    async def evaluate(self, rule: str, text: str) -> Answer:
        told = _object(await self._post(f"{self._url}/v1/data/{rule}?provenance=true", text))
        if "result" not in told:
            raise PolicyError(
                Failure.UNDEFINED, f"The policy says nothing of this call: {rule} is undefined."
            )
        return Answer(told["result"], revision(told.get("provenance")))

    async def _post(self, url: str, text: str) -> bytes:
        body = f'{{"input":{text}}}'.encode()
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout, trust_env=False) as session,
                session.post(
                    url, data=body, headers={"Content-Type": "application/json"}, allow_redirects=False
                ) as answer,
            ):
                if answer.status != 200:  # noqa: PLR2004 - the status of success
                    raise PolicyError(
                        Failure.POLICY, f"The OPA server answered with HTTP status {answer.status}."
                    )
                content = await answer.content.read(MOST_BYTES + 1)
                while len(content) <= MOST_BYTES and (more := await answer.content.read(MOST_BYTES)):
                    content += more
        except TimeoutError as error:
            raise PolicyError(
                Failure.TIMED_OUT, f"The OPA server gave no answer within {self._timeout.total:g} seconds."
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PolicyError(Failure.UNREACHABLE, "The OPA server cannot be reached.") from error
        if len(content) > MOST_BYTES:
            raise _unintelligible("it is too long")
        return content

    def close(self) -> None:
        """Nothing is kept open between requests."""


def revision(provenance: Any) -> str:
    """Which policy an answer's provenance names."""
    bundles = provenance.get("bundles") if isinstance(provenance, dict) else None
    named = [
        f"{name}@{facts['revision']}"
        for name, facts in sorted((bundles if isinstance(bundles, dict) else {}).items())
        if isinstance(facts, dict) and facts.get("revision")
    ]
    if not named:
        return NO_REVISION
    told = f"opa:{','.join(named)}"
    return told if len(told) <= LONGEST_POLICY else f"opa:sha256:{hashlib.sha256(told.encode()).hexdigest()}"


def _object(content: bytes) -> dict[str, Any]:
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _unintelligible("it is not JSON") from error
    if not isinstance(told, dict):
        raise _unintelligible("it is not an object")
    return told


def _unintelligible(what: str) -> PolicyError:
    return PolicyError(Failure.UNINTELLIGIBLE, f"The OPA server's answer cannot be understood: {what}.")
