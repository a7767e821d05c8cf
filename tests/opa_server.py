"""A server that speaks OPA's data API over OPA's own evaluator, loaded as a library.

There is no OPA binary in any registry of Python, Node or Debian packages. There is OPA's evaluator (the Go
packages of OPA 1.20.2) as a shared library, in the wheel of requirements/opa.txt: so what a policy means is
OPA's own word here, and only the few lines of HTTP around it are ours.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from somaagent.embedded.addresses import loopback

LIBRARY = Path(sys.prefix) / "opa"


def evaluator(directory: Path) -> Any:
    """OPA with every module of a folder."""
    with _importable():
        from opa_bindings import OpaEngine  # noqa: PLC0415 - it is in a folder of its own
    engine = OpaEngine()
    for path in sorted(directory.rglob("*.rego")):
        engine.add_policy(path.name, path.read_text(encoding="utf-8"))
    return engine


@contextmanager
def _importable():
    sys.path.insert(0, str(LIBRARY))
    try:
        yield
    finally:
        sys.path.remove(str(LIBRARY))


def value(engine: Any, rule: str, facts: Any) -> Any:
    """What OPA makes of ``data.<rule>``; ``None`` where it is undefined."""
    results = engine.eval_query(f"value := data.{rule.replace('/', '.')}", facts)
    return results[0]["value"] if results else None


@asynccontextmanager
async def serving(directory: Path, revision: str = "") -> AsyncIterator[str]:
    """The URL of an OPA server with the policy of ``directory``, as a bundle where there is a revision."""
    engine = evaluator(directory)

    async def data(request: web.Request) -> web.Response:
        asked = json.loads(await request.text())
        found = value(engine, request.match_info["rule"], asked["input"])
        told: dict[str, Any] = {} if found is None else {"result": found}
        if "provenance" in request.query:
            bundles = {"bundles": {"somaagent": {"revision": revision}}} if revision else {}
            told["provenance"] = {"version": "1.20.2", **bundles}
        return web.json_response(told)

    application = web.Application()
    application.router.add_post("/v1/data/{rule:.+}", data)
    async with listening(application) as url:
        yield url
    engine.close()


@asynccontextmanager
async def listening(application: web.Application) -> AsyncIterator[str]:
    """The URL of an application on a free port."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, loopback(), 0)
    await site.start()
    try:
        yield f"http://{loopback()}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
