"""The life of one service: started, gated on its health, watched, and started again when it dies."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from somaagent.observability.health import State

from .leftovers import Ledger
from .output import LogFile
from .process import Process, describe_exit, start, step_back
from .registry import NotHealthy, Refused
from .threads import in_thread
from .units import Unit

TICK_SECONDS = 2.0
FAILED_CHECKS = 2  # in a row make a service down; one alone may be a busy machine
FIRST_POLL, LONGEST_POLL = 0.05, 0.5
TAIL_LINES = 15
BACKGROUND_NICENESS = 5


class Observer(Protocol):
    """Is told what happens to services; must return at once and must not raise."""

    def changed(self, unit: Unit) -> None: ...

    def checked(self, unit: Unit, seconds: float) -> None: ...


class StartFailed(Exception):  # noqa: N818 - named for what happened
    """A service did not become ready; the message is the reason."""


class BootFailed(Exception):  # noqa: N818 - as above
    """A critical service could not be started. ``tail`` is the last that it printed."""

    def __init__(self, service: str, reason: str, tail: list[str]) -> None:
        super().__init__(f"{service} could not be started: {reason}")
        self.service = service
        self.reason = reason
        self.tail = tail


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every service's process is started with."""

    logs: Path
    ledger: Ledger
    forward: Callable[[str], None] | None = None
    tick: float = TICK_SECONDS


class Lifecycle:
    """Carries one unit through its life. ``live`` is the task; it ends for one-shots and for crash loops."""

    def __init__(self, unit: Unit, surroundings: Surroundings, observer: Observer) -> None:
        self.unit = unit
        self.service = unit.service
        self._surroundings = surroundings
        self._observer = observer
        self._log: LogFile | None = None
        self._failed_checks = 0

    async def live(self) -> None:
        """Raises ``BootFailed`` when a critical service has not been ready even once."""
        while True:
            try:
                await self._start()
                problem = await self._watch() if not self.service.one_shot else None
            except StartFailed as failure:
                problem = await self._not_started(str(failure))
            if problem is None or not await self._restart_after(problem):
                return

    # -- starting -------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        """Until the service is ready. Raises ``StartFailed`` with the reason, and leaves no process then."""
        unit, service = self.unit, self.service
        try:
            if service.skip is not None:
                reason = await in_thread(service.skip, limit=service.start_timeout)
                if reason:
                    unit.enter(State.DONE, note=reason)
                    return
            unit.enter(State.RESTARTING if unit.restarts else State.STARTING)
            if service.prepare is not None:
                await in_thread(service.prepare, limit=service.start_timeout)
            await self._until_ready()
            if service.configure is not None:
                unit.note = "configuring"
                await in_thread(service.configure, limit=service.start_timeout)
        except StartFailed:
            await self._end_process()
            raise
        except TimeoutError as error:
            await self._end_process()
            raise StartFailed(
                f"It took longer than {service.start_timeout:.0f} s to prepare or configure."
            ) from error
        except Exception as error:  # whatever an adapter or a server's own code raises is a start that failed
            await self._end_process()
            raise StartFailed(str(error) or type(error).__name__) from error
        self._failed_checks = 0
        unit.enter(State.DONE if service.one_shot else State.UP)

    async def _until_ready(self) -> None:
        service = self.service
        deadline = time.monotonic() + service.start_timeout
        if service.one_shot:
            await self._run_once(deadline)
            return
        if service.command is not None:
            self._spawn()
        poll = FIRST_POLL
        while True:
            reason = await self._ask()
            if reason is None:
                return
            self._raise_if_ended()
            if time.monotonic() > deadline:
                raise StartFailed(f"It was not ready after {service.start_timeout:.0f} s. {reason}")
            self.unit.note = reason
            await self._pause(poll)
            poll = min(poll * 1.5, LONGEST_POLL)

    async def _run_once(self, deadline: float) -> None:
        """A one-shot service succeeds by ending with status 0, at once or when repeated."""
        repeat = self.service.repeat_seconds
        while True:
            process = self._spawn()
            status = await process.exit_within(max(deadline - time.monotonic(), 0.1))
            if status == 0:
                process.tail(1)
                return
            if status is None:
                raise StartFailed(f"It was not done after {self.service.start_timeout:.0f} s.")
            if repeat is None or time.monotonic() + repeat > deadline:
                raise StartFailed(f"It {describe_exit(status)}.")
            self.unit.note = next(iter(process.tail(1)), f"It {describe_exit(status)}.")
            await asyncio.sleep(repeat)

    def _spawn(self) -> Process:
        assert self.service.command is not None  # noqa: S101 - external services never come here
        if self._log is None:
            self._log = LogFile(self._surroundings.logs, self.service.name)
        self.unit.process = start(
            self.service.name,
            self.service.command(),
            self._log,
            self._surroundings.ledger,
            forward=self._surroundings.forward,
            consume=self.service.consume,
        )
        if self.service.background:
            step_back(self.unit.process.pid, BACKGROUND_NICENESS)
        return self.unit.process

    def _raise_if_ended(self) -> None:
        process = self.unit.process
        if process is not None and not process.alive:
            raise StartFailed(f"It {describe_exit(process.exited.result())} before it was ready.")

    async def _pause(self, seconds: float) -> None:
        if self.unit.process is None:
            await asyncio.sleep(seconds)
        else:
            await self.unit.process.exit_within(seconds)

    async def _not_started(self, reason: str) -> str | None:
        """What a failed start means: the end of the boot, a death like another, or (external) patience."""
        tail = self.tail()
        if self.service.critical and not self.unit.ready.is_set():
            self.unit.enter(State.FAILED, error=reason)
            raise BootFailed(self.service.name, reason, tail)
        if not self.service.external:
            return reason
        self.unit.enter(State.DOWN, error=reason)
        return await self._watch()

    def tail(self) -> list[str]:
        return self.unit.process.tail(TAIL_LINES) if self.unit.process else []

    async def _end_process(self) -> None:
        if self.unit.process is not None and self.unit.process.alive:
            await self.unit.process.stop(self.service.stop_timeout, asyncio.Event())

    # -- watching -------------------------------------------------------------------------------------------

    async def _watch(self) -> str:
        """Until the process has ended or hangs; why."""
        unit = self.unit
        while True:
            await self._pause(self._surroundings.tick)
            if unit.process is not None and not unit.process.alive:
                return f"It {describe_exit(unit.process.exited.result())}."
            self._judge(await self._ask())
            if self._hangs():
                await self._end_process()
                return f"It did not answer for {self.service.hung_after:.0f} s. {unit.last_error}"

    async def _ask(self) -> str | None:
        """The health adapter's answer, in bounded time: None when the service is well, else the reason."""
        unit, adapter = self.unit, self.service.health
        if adapter is None:
            return None
        began = time.monotonic()
        pid = unit.process.pid if unit.process else None
        reason: str | None = None
        try:
            await in_thread(functools.partial(adapter.check, pid), limit=self.service.check_timeout)
        except NotHealthy as answer:
            reason = str(answer)
        except TimeoutError:
            reason = f"No answer within {self.service.check_timeout:.0f} s."
        except Refused as refusal:
            raise StartFailed(str(refusal)) from refusal
        except Exception as error:  # noqa: BLE001 - an adapter that breaks is a check that failed, not our end
            reason = f"The check failed with {type(error).__name__}: {error}"
        seconds = time.monotonic() - began
        unit.latency_ms = seconds * 1000
        self._observer.checked(unit, seconds)
        return reason

    def _judge(self, reason: str | None) -> None:
        unit = self.unit
        if reason is None:
            self._failed_checks = 0
            if not unit.good:
                unit.enter(State.UP)
            return
        self._failed_checks += 1
        unit.last_error = reason
        if self._failed_checks == FAILED_CHECKS:
            unit.failing_since = time.monotonic()
            unit.enter(State.DOWN, note=reason, error=reason)

    def _hangs(self) -> bool:
        limit, since = self.service.hung_after, self.unit.failing_since
        return limit is not None and since is not None and time.monotonic() - since > limit

    async def _restart_after(self, problem: str) -> bool:
        """Wait as the policy says; False when the service died too often and is given up."""
        unit, policy = self.unit, self.service.restart
        deaths = unit.died()
        if deaths > policy.limit:
            error = f"{problem} It died {deaths} times within {policy.window:.0f} s and is not started again."
            unit.enter(State.FAILED, error=error)
            return False
        delay = policy.delay(deaths)
        unit.restarts += 1
        unit.enter(State.RESTARTING, note=f"again in {delay:.1f} s", error=problem)
        await asyncio.sleep(delay)
        return True
