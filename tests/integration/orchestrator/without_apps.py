"""Asks what the orchestrator asks as it does: with settings, and without Django's applications."""

from __future__ import annotations

from contextlib import suppress

from somaagent.orchestrator import adapters
from somaagent.orchestrator.registry import NotHealthy

adapters.Policy().check(None)
for kind in (adapters.Breakers, adapters.McpServers, adapters.Events):
    # Other stories break what these count; that is an answer as well.
    with suppress(NotHealthy):
        kind().check(None)
