"""What is known of a server's tools, in Valkey for all processes: the last list, its time, what failed since.

A list is for one revision of its server: after a change of its row it is not known.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from somaagent import valkey
from somaagent.resilience import broken

from .servers import Server

KEPT_SECONDS = 7 * 24 * 3600
_CLAIM_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Listed:
    """One tool as its server tells it, made fit. ``raw`` is its name there."""

    name: str
    raw: str
    description: str
    parameters: dict[str, Any]
    repeatable: bool


@dataclass(frozen=True, slots=True)
class Known:
    """``tools`` is None where there is no list. ``read_at`` and ``failed_at``: seconds of the epoch.

    ``remarks`` say what of the list was not taken, and why. ``code`` and ``error`` are of the last failure,
    if nothing has succeeded since.
    """

    tools: tuple[Listed, ...] | None = None
    read_at: float | None = None
    remarks: tuple[str, ...] = ()
    failed_at: float | None = None
    code: str = ""
    error: str = ""

    @property
    def label(self) -> str:
        """In a word or two: the code of the last failure, ``well`` or ``not asked yet``."""
        return self.code or ("well" if self.tools is not None else "not asked yet")


UNKNOWN = Known()
# By key and revision: the list that this process has unpacked, and when it had been read.
_unpacked: dict[str, tuple[str, float, tuple[Listed, ...], tuple[str, ...]]] = {}


async def known(servers: Sequence[Server]) -> list[Known]:
    """What is known of each, in one question (two where a list is new to this process)."""
    pipeline = valkey.client().pipeline(transaction=False)
    for server in servers:
        pipeline.hmget(_key(server), "revision", "read_at", "failed_at", "code", "error")
    heads = await pipeline.execute()
    found = []
    for server, head in zip(servers, heads, strict=True):
        found.append(await _with_list(server, head))
    return found


def known_blocking(servers: Sequence[Server]) -> list[Known]:
    """The same for the admin, which has no event loop."""
    with valkey.blocking_client().pipeline(transaction=False) as pipeline:
        for server in servers:
            pipeline.hgetall(_key(server))
        found = pipeline.execute()
    heads = [{name.decode(): value for name, value in each.items()} for each in found]
    return [_unpack(server, head) for server, head in zip(servers, heads, strict=True)]


async def keep_list(server: Server, tools: Sequence[Listed], remarks: Sequence[str]) -> None:
    """The server is well, and this is its list."""
    values = {
        "revision": server.revision,
        "read_at": repr(time.time()),
        "tools": orjson.dumps([asdict(tool) for tool in tools]),
        "remarks": orjson.dumps(list(remarks)),
    }
    pipeline = valkey.client().pipeline(transaction=True)
    pipeline.hset(_key(server), mapping=values)
    pipeline.hdel(_key(server), "failed_at", "code", "error")
    pipeline.expire(_key(server), KEPT_SECONDS)
    await pipeline.execute()
    await broken.note_well(server.breaker)


async def keep_failure(server: Server, code: str, error: str) -> None:
    """The server is broken. Its last list stays."""
    values = {"failed_at": repr(time.time()), "code": code, "error": error}
    pipeline = valkey.client().pipeline(transaction=True)
    pipeline.hset(_key(server), mapping=values)
    pipeline.expire(_key(server), KEPT_SECONDS)
    await pipeline.execute()
    await broken.note_broken(server.breaker, code)


async def keep_recovery(server: Server) -> None:
    """It answered, after a failure."""
    await valkey.client().hdel(_key(server), "failed_at", "code", "error")
    await broken.note_well(server.breaker)


async def claim(server: Server) -> bool:
    """Whether this process is the one to read the list again now."""
    key = f"soma:mcp:reading:{server.key}"
    return bool(await valkey.client().set(key, b"1", nx=True, ex=_CLAIM_SECONDS))


def _key(server: Server) -> str:
    return f"soma:mcp:list:{server.key}"


async def _with_list(server: Server, head: Sequence[bytes | None]) -> Known:
    revision, read_at, failed_at, code, error = head
    facts: dict[str, bytes | None] = {"failed_at": failed_at, "code": code, "error": error}
    if read_at is None or revision is None or revision.decode() != server.revision:
        return _unpack(server, facts)
    kept = _unpacked.get(server.key)
    if kept is None or kept[:2] != (server.revision, float(read_at)):
        names = ("revision", "read_at", "tools", "remarks")
        found = await valkey.client().hmget(_key(server), *names)
        whole = _unpack(server, facts | dict(zip(names, found, strict=True)))
        if whole.tools is not None and whole.read_at is not None:
            _unpacked[server.key] = (server.revision, whole.read_at, whole.tools, whole.remarks)
        return whole
    failure = _unpack(server, facts)
    return Known(kept[2], kept[1], kept[3], failure.failed_at, failure.code, failure.error)


def _unpack(server: Server, facts: dict[str, bytes | None]) -> Known:
    revision, failed_at, read_at = (facts.get(name) for name in ("revision", "failed_at", "read_at"))
    is_of_it = revision is not None and revision.decode() == server.revision
    tools, remarks = (facts.get(name) if is_of_it else None for name in ("tools", "remarks"))
    return Known(
        tools=tuple(Listed(**each) for each in orjson.loads(tools)) if tools else None,
        read_at=float(read_at) if tools and read_at else None,
        remarks=tuple(orjson.loads(remarks)) if remarks else (),
        failed_at=float(failed_at) if failed_at else None,
        code=(facts.get("code") or b"").decode(),
        error=(facts.get("error") or b"").decode(),
    )
