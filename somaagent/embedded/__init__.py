"""Real servers from wheels, for one machine: OpenBao, PostgreSQL, Valkey and a local model.

They are chosen by name and never a fallback. ``Stack`` is the way in; the orchestrator, or a test, starts
each server's ``command()`` with ``launch.spawn`` and calls the other methods around it.
"""

from __future__ import annotations

from somaagent.embedded.errors import AlreadyRunning, EmbeddedError, NewerSchema, NotReady
from somaagent.embedded.server import EmbeddedServer
from somaagent.embedded.stack import Stack

__all__ = ["AlreadyRunning", "EmbeddedError", "EmbeddedServer", "NewerSchema", "NotReady", "Stack"]
