"""Asks what the orchestrator asks as it does: with settings, and without Django's applications."""

from __future__ import annotations

from somaagent.orchestrator import adapters

for kind in (adapters.Policy, adapters.Breakers, adapters.McpServers, adapters.Events):
    kind().check(None)
