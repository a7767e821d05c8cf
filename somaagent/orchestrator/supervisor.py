"""Starts all services side by side as their dependencies allow, watches them, stops them in reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from somaagent.observability import health
from somaagent.observability.health import HealthRecord, State

from . import threads
from .lifecycle import Lifecycle, Observer, Surroundings
from .registry import ServiceRegistry
from .units import Unit

CALLS_END_WITHIN = 2.0


class Supervisor:
    """Runs a registry's services. Use: ``boot``, then ``watch``, and ``stop`` whatever happened."""

    def __init__(
        self,
        registry: ServiceRegistry,
        surroundings: Surroundings,
        *,
        run_dir: Path,
        mode: str,
        version: str,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.registry = registry
        self.hurry = asyncio.Event()
        self.exhausted = asyncio.Event()
        self._run_dir = run_dir
        self._mode = mode
        self._version = version
        self._tick = surroundings.tick
        self._observers = tuple(observers)
        self.units = {service.name: Unit(service, self.changed) for service in registry}
        self._lives = {name: Lifecycle(unit, surroundings, self) for name, unit in self.units.items()}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticker: asyncio.Task[None] | None = None

    # -- observing ------------------------------------------------------------------------------------------

    def changed(self, unit: Unit) -> None:
        """Record a change at once, and tell the observers."""
        if unit.state is State.FAILED and unit.service.critical:
            self.exhausted.set()
        self.store()
        for observer in self._observers:
            observer.changed(unit)

    def checked(self, unit: Unit, seconds: float) -> None:
        for observer in self._observers:
            observer.checked(unit, seconds)

    def record(self) -> HealthRecord:
        """The health of all services now."""
        return HealthRecord(
            mode=self._mode,
            version=self._version,
            updated=health.now(),
            services={name: unit.health() for name, unit in self.units.items()},
            tick_seconds=self._tick,
        )

    def store(self) -> None:
        """Write the record. A disk that takes nothing more must not end the supervision as well."""
        try:
            health.store(self._run_dir, self.record())
        except OSError:
            return  # the record goes stale, and its readers report that nobody keeps it

    async def _tick_forever(self) -> None:
        while True:
            self.store()
            await asyncio.sleep(self._tick)

    # -- the three phases -----------------------------------------------------------------------------------

    async def boot(self) -> None:
        """Until every critical service is up or done; the others come in their own time.

        Raises ``BootFailed`` when a critical one cannot be started.
        """
        self._ticker = asyncio.create_task(self._tick_forever())
        self._tasks = {asyncio.create_task(self._live(name), name=name) for name in self.registry.order}
        ready = asyncio.create_task(self._critical_ready())
        try:
            await self._until(ready)
        finally:
            ready.cancel()

    @property
    def finished(self) -> bool:
        """Whether everything that was to be started has been, and has ended well by itself."""
        own = [unit for unit in self.units.values() if not unit.service.external]
        return all(unit.state is State.DONE for unit in own)

    async def watch(self) -> None:
        """Until a critical service is given up. Raises what a service's task raised: a defect of ours."""
        exhausted = asyncio.create_task(self.exhausted.wait())
        try:
            await self._until(exhausted)
        finally:
            exhausted.cancel()

    async def stop(self) -> None:
        """End every service, those that others depend on last. Setting ``hurry`` meanwhile cuts the waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(self._stop(unit) for unit in self.units.values()))
        threads.finish(CALLS_END_WITHIN)
        if self._ticker is not None:
            self._ticker.cancel()
        self.store()

    async def _live(self, name: str) -> None:
        life = self._lives[name]
        for dependency in life.service.depends_on:
            await self.units[dependency].ready.wait()
        await life.live()

    async def _critical_ready(self) -> None:
        for unit in self.units.values():
            if unit.service.critical:
                await unit.ready.wait()

    async def _until(self, event: asyncio.Task[object] | asyncio.Task[None]) -> None:
        """Wait for the event; a service task that fails first is raised here."""
        pending: set[asyncio.Task[None]] = {task for task in self._tasks if not task.done()}
        while not event.done():
            done, _ = await asyncio.wait({event, *pending}, return_when=asyncio.FIRST_COMPLETED)
            for task in done & pending:
                task.result()
                pending.discard(task)

    async def _stop(self, unit: Unit) -> None:
        for name in self.registry.dependents(unit.name):
            await self.units[name].stopped.wait()
        process = unit.process
        if process is not None and process.alive:
            unit.enter(State.STOPPING)
            clean = await process.stop(unit.service.stop_timeout, self.hurry)
            unit.enter(State.STOPPED, note="" if clean else "killed: it did not stop in time")
        elif unit.state is not State.FAILED:
            unit.enter(State.STOPPED)
        unit.stopped.set()
