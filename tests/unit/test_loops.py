"""Each event loop has a client of its own, and closes it before it ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from aiohttp import ClientSession

from somaagent import loops
from somaagent.agent.models.session import open_session
from tests.stack import PROJECT_ROOT

# As a worker's task does, or a command: it ends, and has awaited nothing of its own.
TASK = """
from aiohttp import ClientSession
from somaagent.agent.models.session import open_session
from somaagent.background import run_coroutine
from somaagent.loops import OneForEachLoop

sessions = OneForEachLoop(open_session, ClientSession.close)

async def use():
    return sessions.get()

assert run_coroutine(use()) is run_coroutine(use())
"""


def test_two_loops_have_one_each_and_close_their_own():
    sessions = loops.OneForEachLoop(open_session, ClientSession.close)

    async def live() -> tuple[ClientSession, ClientSession]:
        first = sessions.get()
        assert sessions.get() is first
        await loops.close()
        assert first.closed
        second = sessions.get()
        assert not second.closed
        await loops.close()
        return first, second

    used = {id(session): session for _ in range(2) for session in asyncio.run(live())}
    assert len(used) == 4
    assert all(session.closed for session in used.values())


def test_a_process_that_ends_leaves_nothing_open():
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", TASK],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
