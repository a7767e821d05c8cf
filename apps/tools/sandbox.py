"""Python of a model's, run where it can do no harm: pydantic-monty, in a process of its own.

Monty is an interpreter in Rust that has no words for files, sockets, processes or the environment: there is
nothing to switch off. It counts time and memory itself, but looks at its clock between operations only, and
one operation on two long numbers can take minutes. So each call has a new process, which ends for certain:
by monty's own limits, by its watchdog in this process, by being abandoned (a call that is cancelled kills
it), and by the kernel's limits on it, which hold though this process is gone. A process costs 5 ms and 10 MB.
"""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING, Any

from somaagent.errors import Kind, SomaError
from somaagent.loops import OneForEachLoop

from .shown import shown

if TYPE_CHECKING:
    from pydantic_monty import AsyncMontySession, MontyError, ResourceLimits

RUN_SECONDS = 5.0
MEMORY_BYTES = 64 * 1024 * 1024
MOST_CHARACTERS = 20_000
# So much is read and dropped before code that goes on printing is stopped.
MOST_PRINTED = 1_000_000
AT_ONCE = 2
WAIT_SECONDS = 10.0

_GRACE_SECONDS = 1.0
_MOST_OF_AN_ERROR = 4000
_TOO_LONG = f"It ran for more than {RUN_SECONDS:g} seconds and was stopped: do less, or do it another way."
_WATCHDOG_SECONDS = 8.0
_LIMITS: ResourceLimits = {
    "max_feed_duration_secs": RUN_SECONDS,
    "max_memory": MEMORY_BYTES,
    "max_recursion_depth": 500,
    "max_suspensions": 100,
    "max_total_sleep_secs": 0.0,
}
_OF_KERNEL = {
    resource.RLIMIT_CPU: 10,
    resource.RLIMIT_AS: 512 * 1024 * 1024,
    resource.RLIMIT_NOFILE: 3,  # those that it has: neither a file nor a socket can be opened
    resource.RLIMIT_CORE: 0,
}
_NOT_HERE = ("ModuleNotFoundError", "PermissionError", "is not supported in this", "NotImplementedError")
_WITHOUT = (
    "This Python has no files, no network, no environment and no packages; of the standard library it has "
    "asyncio, base64, binascii, bisect, collections, copy, csv, dataclasses, datetime, decimal, functools, "
    "hashlib, itertools, json, math, random, re, time, tomllib, typing and unicodedata. It knows no class "
    "inheritance, no yield and no del."
)


class _Printed:
    """What was printed: the first ``MOST_CHARACTERS`` of it, and whether it became a flood."""

    def __init__(self) -> None:
        self.text, self.characters = "", 0
        self.flooded = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self, stream: str, text: str) -> None:
        """From a thread of monty's."""
        self.text += text[: MOST_CHARACTERS - len(self.text)]
        self.characters += len(text)
        if self.characters > MOST_PRINTED >= self.characters - len(text):
            self._loop.call_soon_threadsafe(self.flooded.set)

    def told(self) -> str:
        left_out = self.characters - len(self.text)
        if not left_out:
            return self.text.rstrip("\n")
        return f"{self.text}\n[{left_out} more characters were printed and left out]"


async def executed(code: str) -> str:
    """What ``code`` prints, and the value of its last line where that is an expression.

    Raises ``python_error`` (what it raised, and where), ``python_time``, ``python_memory``, ``python_output``
    (INVALID), ``python_busy`` (UNAVAILABLE) or ``python_stopped`` (UPSTREAM).
    """
    place = _places.get()
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await place.acquire()
    except TimeoutError as error:
        message = "Too much Python runs at the moment: try again."
        raise SomaError(Kind.UNAVAILABLE, "python_busy", message, retry_after=WAIT_SECONDS) from error
    try:
        return await _in_a_process(code)
    finally:
        place.release()


async def _in_a_process(code: str) -> str:
    from pydantic_monty import AsyncMonty, MontyError  # noqa: PLC0415  heavy, and for who runs code alone

    printed = _Printed()
    pool = AsyncMonty(
        min_processes=0,
        max_processes=1,
        max_checkouts_per_worker=1,
        checkout_timeout=_WATCHDOG_SECONDS,
        request_timeout=_WATCHDOG_SECONDS,
        feed_duration_limit_grace=_GRACE_SECONDS,
    )
    try:
        async with pool, pool.checkout(limits=_LIMITS, os_policy={"sleep": "zero"}) as session:
            _limit(session)
            value = await _fed(session, code, printed)
    except MontyError as error:
        raise _failure(error, printed) from error
    return _answer(printed, value)


async def _fed(session: AsyncMontySession, code: str, printed: _Printed) -> Any:
    """Its value; unless it prints without end, where the process is killed."""
    feed = asyncio.ensure_future(session.feed_run(code, print_callback=printed))
    flood = asyncio.ensure_future(printed.flooded.wait())
    try:
        await asyncio.wait({feed, flood}, return_when=asyncio.FIRST_COMPLETED)
        if not feed.done():
            raise _refused(
                "output", f"It printed more than {MOST_PRINTED} characters and was stopped.", printed
            )
        return feed.result()
    finally:
        for each in (feed, flood):
            each.cancel()
        await asyncio.gather(feed, flood, return_exceptions=True)


def _limit(session: AsyncMontySession) -> None:
    """The kernel's limits, before the process has seen any code."""
    process = session.worker_pid
    if process is None:
        raise RuntimeError("The sandbox has no process that could be limited.")
    for limit, most in _OF_KERNEL.items():
        resource.prlimit(process, limit, (most, most))


def _answer(printed: _Printed, value: Any) -> str:
    parts = [printed.told()] if printed.characters else []
    if value is not None:
        parts.append(shown(value, MOST_CHARACTERS))
    return "\n".join(parts) or "It ran, printed nothing and ended with None."


def _failure(error: MontyError, printed: _Printed) -> SomaError:
    from pydantic_monty import MontyCrashedError, MontyRuntimeError, MontySyntaxError  # noqa: PLC0415  as above

    if isinstance(error, MontyCrashedError):
        if error.timed_out:
            return _refused("time", _TOO_LONG, printed)
        message = "The process that ran the code died of it. Try it another way."
        return SomaError(Kind.UPSTREAM, "python_stopped", message)
    raised = error.exception()
    # Monty's own limits come as these, and no code in it can raise them further than to its own end.
    if isinstance(raised, TimeoutError) and "time limit exceeded" in str(raised):
        return _refused("time", _TOO_LONG, printed)
    if isinstance(raised, MemoryError):
        return _refused("memory", f"It needs more than {MEMORY_BYTES // 2**20} MB of memory.", printed)
    told = error.display() if isinstance(error, MontyRuntimeError | MontySyntaxError) else str(error)
    hint = f"\n{_WITHOUT}" if any(words in told for words in _NOT_HERE) else ""
    return _refused("error", _ends(told) + hint, printed)


def _refused(code: str, message: str, printed: _Printed) -> SomaError:
    before = f"\nPrinted before that:\n{printed.told()}" if printed.characters else ""
    return SomaError(Kind.INVALID, f"python_{code}", message + before, field="code")


def _ends(told: str) -> str:
    """Of a long traceback or message its two ends."""
    if len(told) <= _MOST_OF_AN_ERROR:
        return told
    half = _MOST_OF_AN_ERROR // 2
    return f"{told[:half]}\n[…]\n{told[-half:]}"


# So many at once.
_places = OneForEachLoop(lambda: asyncio.Semaphore(AT_ONCE))
