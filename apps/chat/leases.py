"""The leases of the turns that an event loop runs: one task moves all of them on.

It looks at their rows on the way. Where somebody asked a turn to stop, or another host has it, its run is
told. A turn that is called by its name on the process's channel is looked at at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from django.conf import settings

from somaagent.loops import OneForEachLoop
from somaagent.tenancy.patience import performed_patiently

from . import hosting
from .models import TurnState
from .wakeups import wakeups
from .work import Work

logger = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class _Held:
    work: Work
    stop: Callable[[TurnState], None]


class _Leases:
    """Those of one event loop. Its task lives as long as there are some."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._called: set[str] = set()
        self._woken = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def held(self, work: Work, stop: Callable[[TurnState], None]) -> Iterator[None]:
        """Keep a turn's lease, inside. ``stop`` is called once: ``cancelled`` when somebody asked the turn to
        stop, ``failed`` when it is no longer this host's.
        """
        name = str(work.turn_id)
        if (before := self._held.get(name)) is not None:
            # This process lost the turn and took it again, before it heard of the loss.
            before.stop(TurnState.FAILED)
        held = self._held[name] = _Held(work, stop)
        if work.attempt > 1:
            self._call(name)  # whoever asked it to stop since it was taken called another host
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep(), name="leases")
        try:
            with wakeups().called(name, functools.partial(self._call, name)):
                yield
        finally:
            if self._held.get(name) is held:
                del self._held[name]

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    def _call(self, name: str) -> None:
        self._called.add(name)
        self._woken.set()

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        next_round = loop.time() + settings.TURN_LEASE_SECONDS / 3
        while self._held:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_round):
                    await self._woken.wait()
            self._woken.clear()
            names, self._called = self._called, set()
            if loop.time() >= next_round:
                names, next_round = set(self._held), loop.time() + settings.TURN_LEASE_SECONDS / 3
            await self._look_at([self._held[name] for name in names if name in self._held])

    async def _look_at(self, due: Sequence[_Held]) -> None:
        by_tenant: defaultdict[UUID, list[_Held]] = defaultdict(list)
        for one in due:
            by_tenant[one.work.tenant_id].append(one)
        for tenant_id, theirs in by_tenant.items():
            renew = functools.partial(hosting.turns_renew, works=[one.work for one in theirs])
            try:
                states = await performed_patiently(tenant_id, renew)
            except Exception:
                # Other tenants' turns go on. These are looked at again, and may be another host's by then.
                logger.exception("leases.not_renewed", tenant_id=str(tenant_id), turns=len(theirs))
                continue
            for one in theirs:
                state, name = states.get(one.work.turn_id, TurnState.FAILED), str(one.work.turn_id)
                if state is not TurnState.RUNNING and self._held.get(name) is one:
                    del self._held[name]  # a second time would disturb how it ends
                    one.stop(state)


_of_loop = OneForEachLoop(_Leases, _Leases.close)


def leases() -> _Leases:
    """The running event loop's."""
    return _of_loop.get()
