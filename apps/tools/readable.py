"""Web pages as Markdown, read in a process of their own.

Pages come from anybody, and every builder of trees has some page that keeps it busy for minutes (tables with
paragraphs between their rows, here). What cannot be stopped in a thread can be in a process, and a fault in a
parser is nobody else's. It costs 0.1 to 0.2 s.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from somaagent.errors import Kind, SomaError

SECONDS = 8.0
_CHILD = Path(__file__).with_name("readable_child.py")


async def readable(html: str) -> str:
    """The page's title and content as Markdown, without scripts, styles and navigation.

    Raises ``page_unreadable`` (UPSTREAM).
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(_CHILD),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={},
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS):
            markdown, _ = await child.communicate(html.encode(errors="replace"))
    except TimeoutError as error:
        raise _unreadable() from error
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise _unreadable()
    return markdown.decode()


def _unreadable() -> SomaError:
    message = "This page cannot be made readable: it is broken, or nested without end. Try another one."
    return SomaError(Kind.UPSTREAM, "page_unreadable", message)
