"""Programs as MCP servers: declared by the operator alone, clean, bounded, and gone with their starter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from apps.tools.mcp import sessions
from settings.stdio import StdioServer
from somaagent.background import run_coroutine
from somaagent.tenancy.models import Tenant
from tests.integration.mcp.conftest import Story, start_afresh
from tests.stack import PROJECT_ROOT


def program(slug: str, how: str = "well", **facts: Any) -> StdioServer:
    command = (sys.executable, "-m", "tests.integration.mcp.program", how)
    return StdioServer(slug=slug, command=command, cwd=PROJECT_ROOT, **facts)


def gone(pid: int) -> bool:
    until = time.monotonic() + 15
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def declared(settings, monkeypatch):
    monkeypatch.setattr("apps.tools.mcp.tools.FIRST_SECONDS", 30.0)

    def declare(*programs: StdioServer) -> None:
        settings.MCP_STDIO_SERVERS = list(programs)

    return declare


def test_a_program_has_a_clean_environment(story: Story, declared):
    declared(program("files", env={"COLOUR": "blue"}, risk="low", needs_approval=False))
    tool = story.tools()["files__environment"]
    assert (tool.source, tool.needs_approval, tool.risk) == ("mcp:files", False, "low")
    found = dict(line.split("=", 1) for line in story.run(tool).splitlines())
    assert found["COLOUR"] == "blue"
    assert not [name for name in found if name.startswith(("SA01_", "DJANGO_", "SOMA_"))]
    assert found["HOME"].endswith("/mcp/files")


def test_a_program_is_of_the_tenants_that_it_is_declared_for_and_a_row_comes_first(story: Story, declared):
    mine = story.actor.tenant_id
    slug = Tenant.objects.get(id=mine).slug
    declared(
        program("mine", tenants=(slug,)), program("theirs", tenants=("somebody-else",)), program("well-1")
    )
    story.add("well-1")
    sources = {tool.source for tool in story.tools().values()}
    assert sources == {"mcp:mine", "mcp:well-1"}
    assert story.call("well-1__echo", text="the row") == "well-1: the row"


def test_a_program_that_crashed_is_started_again(story: Story, declared, monkeypatch):
    monkeypatch.setattr(sessions, "FIRST_PAUSE_SECONDS", 0.0)
    declared(program("files"))
    first = story.call("files__who").split()[0]
    assert story.call("files__who").split()[0] == first
    assert story.refused("files__crash").code == "mcp_ended"
    second = story.call("files__who").split()[0]
    assert second != first
    start_afresh()
    assert gone(int(second))


def test_one_that_cannot_begin_is_tried_less_and_less(story: Story, declared, monkeypatch):
    monkeypatch.setattr("apps.tools.mcp.tools.RETRY_SECONDS", 0.0)
    declared(program("ends", "ends"), program("files"))
    assert {tool.source for tool in story.tools().values()} == {"mcp:files"}
    tried = run_coroutine(_pauses())
    story.tools()
    assert run_coroutine(_pauses()) == tried, "its pause is not over"


async def _pauses() -> list[int]:
    return [times for times, _ in sessions.pool()._pauses.values()]


def test_a_missing_program_costs_its_own_tools(story: Story, declared):
    declared(StdioServer(slug="none", command=("/no/such/program",)), program("files"))
    assert {tool.source for tool in story.tools().values()} == {"mcp:files"}


@pytest.mark.parametrize("flood", [("shout", {"lines": 5000}), ("long_line", {"size": 5_000_000})])
def test_a_program_that_says_too_much_is_ended(story: Story, declared, flood):
    declared(program("loud"))
    name, arguments = flood
    pid = int(story.call("loud__who").split()[0])
    assert story.refused(f"loud__{name}", **arguments).code == "mcp_flood"
    assert gone(pid)


def test_one_that_does_not_end_when_asked_is_killed(story: Story, declared):
    declared(program("deaf", "deaf"))
    pid = int(story.call("deaf__who").split()[0])
    start_afresh()
    assert gone(pid)


def test_a_program_ends_with_its_starter_even_when_that_is_killed(tmp_path: Path):
    code = """
import asyncio, sys
import django
django.setup()
from apps.tools.mcp.sdk import opened
from apps.tools.mcp.servers import of_program
from settings.stdio import StdioServer
from uuid import uuid4
async def main():
    command = (sys.executable, "-m", "tests.integration.mcp.program", "deaf")
    server = of_program(uuid4(), StdioServer(slug="deaf", command=command, cwd=sys.argv[1]))
    async with opened(server) as session:
        print((await session.call("who", {})).text, flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""
    starter = subprocess.Popen(
        [sys.executable, "-c", code, str(PROJECT_ROOT)],
        cwd=PROJECT_ROOT,
        env=os.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert starter.stdout is not None
        pid = 0
        for line in starter.stdout:
            if line.split()[0].isdigit():
                pid = int(line.split()[0])
                break
        starter.send_signal(signal.SIGKILL)
        starter.wait()
        assert gone(pid)
    finally:
        starter.kill()
        starter.wait()
