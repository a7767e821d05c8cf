"""Python of a model's: what it may, and what comes of code that wants out, or wants everything."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import psutil
import pytest

from apps.tools.sandbox import AT_ONCE, MOST_CHARACTERS
from somaagent.errors import Kind
from tests.unit.tools.calling import call, fits, refused


@pytest.fixture(autouse=True)
def nobody_left():
    """No process of the sandbox outlives its call."""
    yield
    while workers():
        time.sleep(0.01)


def workers() -> list[psutil.Process]:
    """Those that run: one that was ended is there for a moment yet."""
    return [each for each in psutil.Process().children() if _runs(each)]


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.name() == "monty" and process.status() != psutil.STATUS_ZOMBIE
    return False


async def until(seen: Callable[[], object]) -> None:
    while not seen():  # noqa: ASYNC110  processes tell nobody that they began
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("1 + 1", "2"),
        ("print('a', 'b')\n[1, (2,), {'k': {3}}, b'x', None]", "a b\n[1, (2,), {'k': {3}}, b'x', None]"),
        ("import math\nmath.isqrt(50)", "7"),
        ("from decimal import Decimal\nDecimal('0.1') * 3", "Decimal('0.3')"),
        ("'text as it is'", "text as it is"),
        ("x = 1", "It ran, printed nothing and ended with None."),
        ("import time\ntime.sleep(10**9)\n'slept'", "slept"),
        ("10 ** 100000", "<a number of 332193 bits>"),
        ("class A:\n    pass\nA()", "<A>"),
        ("a = []\na.append(a)\na", "['[...]']"),
    ],
)
async def test_it_runs_code_and_gives_what_it_prints_and_ends_with(code, result):
    assert await call("python", code=code) == result


async def test_nothing_is_kept_from_one_call_to_the_next():
    await call("python", code="secret = 'of the first'")
    assert "NameError" in (await refused("python", code="secret")).message


async def test_an_error_says_where_and_what_was_printed_before():
    error = await refused("python", code="print('so far')\ndef f():\n    return 1 / 0\nf()")
    assert (error.kind, error.code, error.field) == (Kind.INVALID, "python_error", "code")
    assert "line 3, in f" in error.message
    assert "ZeroDivisionError: division by zero\nPrinted before that:\nso far" in error.message


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import socket", "ModuleNotFoundError"),
        ("import subprocess", "ModuleNotFoundError"),
        ("import ctypes", "ModuleNotFoundError"),
        ("import numpy", "ModuleNotFoundError"),
        ("exec('import socket')", "ModuleNotFoundError"),
        ("eval('__import__')('os')", "NameError"),
        ("__import__('os').system('id')", "NameError"),
        ("__builtins__", "NameError"),
        ("globals()", "NameError"),
        ("compile('1', 'a', 'eval')", "NameError"),
        ("open('/etc/passwd').read()", "PermissionError"),
        ("open('stolen', 'w').write('x')", "PermissionError"),
        ("import pathlib\npathlib.Path('/proc/self/environ').read_text()", "PermissionError"),
        ("import os\nos.listdir('/')", "PermissionError"),
        ("import os\nos.environ", "is not supported in this environment"),
        ("import os\nos.getenv('SA01_VAULT_ADDR')", "is not supported in this environment"),
        ("import os\nos.system('id')", "AttributeError"),
        ("import os\nos.fork()", "AttributeError"),
        ("import asyncio\nasyncio.open_connection('example.org', 80)", "AttributeError"),
        ("import asyncio\nasyncio.create_subprocess_shell('id')", "AttributeError"),
        ("import sys\nsys.modules", "AttributeError"),
        ("import sys\nsys._getframe()", "AttributeError"),
        ("().__class__.__mro__", "AttributeError"),
        ("().__class__.__bases__[0].__subclasses__()", "AttributeError"),
        ("object.__subclasses__()", "AttributeError"),
        ("getattr((), '__cl' + 'ass__')", "AttributeError"),
        ("'{0.__class__.__mro__}'.format(1)", "AttributeError"),
        ("f'{(1).__class__}'", "AttributeError"),
        ("(lambda: 0).__globals__", "AttributeError"),
        ("(lambda: 0).__code__.replace(co_code=b'')", "AttributeError"),
        ("print.__self__", "AttributeError"),
        ("try:\n    1 / 0\nexcept Exception as e:\n    e.__traceback__.tb_frame", "AttributeError"),
    ],
)
async def test_there_is_no_way_out(code, why):
    error = await refused("python", code=code)
    assert error.code == "python_error"
    assert why in error.message


async def test_who_wants_what_is_not_there_is_told_what_there_is():
    for code in ("import requests", "open('a')", "import os\nos.environ", "def f():\n    yield 1"):
        assert "has no files, no network" in (await refused("python", code=code)).message


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("9**9**9", "memory"),
        ("1 << 10**12", "memory"),
        ("'x' * 10**12", "memory"),
        ("[0] * 10**10", "memory"),
        ("f'{1:>1000000000}'", "memory"),
        ("'%1000000000d' % 1", "memory"),
        ("x = []\nwhile True: x.append('a' * 1000 + str(len(x)))", "memory"),
        ("x = 'a'\nwhile True: x += x", "memory"),
        ("import itertools\nlist(itertools.count())", "memory"),
        ("sum(1 for _ in iter(int, 1))", "memory"),
        ("[None] * 4_000_000", "memory"),
        ("while True: print('x' * 1000)", "output"),
        ("for i in range(10**7): print(i)", "output"),
        ("def f(n): return f(n + 1)\nf(0)", "error"),
        ("int('9' * 10**6)", "error"),
        ("import re\nre.match(r'(a|a)*\\1c', 'a' * 60 + 'b')", "error"),
        ("for _ in range(10**6):\n    try:\n        import socket\n    except ImportError: pass", "error"),
        ("(" * 5000 + ")" * 5000, "error"),
        ("-" * 20000, "error"),
        ("raise ValueError('x' * 10**6)", "error"),
        ("while", "error"),
        ("\0", "error"),
    ],
)
async def test_what_wants_everything_ends_with_a_reason(code, reason):
    error = await refused("python", code=code)
    assert error.code == f"python_{reason}"
    assert len(error.message) < MOST_CHARACTERS + 5000


@pytest.mark.parametrize(
    ("code", "beginning"),
    [
        ("print('a' * 30_000)", "aaa"),
        ("'a' * 1_000_000", "aaa"),
        ("list(range(100_000))", "[0, 1, 2"),
        ("a = [1]\nfor _ in range(40): a = [a, a]\na", "[[[["),
        ("a = [1] * 1000\nb = [a] * 1000\n[b] * 1000", "[[[1, 1"),
        ("{i: str(i) for i in range(50_000)}", "{0: '0'"),
    ],
)
async def test_a_long_result_is_cut_and_says_so(code, beginning):
    result = await call("python", code=code)
    assert result.startswith(beginning)
    assert result.endswith(("left out]", "more characters]"))


async def test_patterns_that_explode_elsewhere_are_matched():
    assert await call("python", code="import re\nprint(re.match(r'(a+)+$', 'a' * 40 + 'b'))") == "None"


@pytest.mark.parametrize(
    "bombs",
    [
        (
            "while True: pass",
            "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        ),
        # One multiplication of these takes longer than the sandbox's own clock can see.
        ("x = 3\nfor _ in range(100): x = x * x", "import math\nmath.factorial(10**7)"),
    ],
)
async def test_what_never_ends_is_stopped_and_holds_up_nobody(bombs):
    """As many as may run at once; who comes after them still has its turn."""
    assert len(bombs) == AT_ONCE
    running = [asyncio.create_task(refused("python", code=code)) for code in bombs]
    await until(lambda: len(workers()) == AT_ONCE)
    assert await call("python", code="'still here'") == "still here"
    assert [(await bomb).code for bomb in running] == ["python_time"] * AT_ONCE


async def test_a_call_that_is_given_up_takes_its_process_along():
    waiting = asyncio.create_task(call("python", code="while True: pass"))
    await until(workers)
    process = workers()[0]
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    process.wait(timeout=30)


async def test_a_process_that_is_killed_is_told_and_the_next_call_has_another():
    waiting = asyncio.create_task(refused("python", code="while True: pass"))
    await until(workers)
    workers()[0].kill()
    assert (await waiting).code == "python_stopped"
    assert await call("python", code="1 + 1") == "2"


async def test_its_process_has_the_kernels_limits_and_nothing_of_ours(monkeypatch):
    monkeypatch.setenv("SA01_SOMETHING", "secret")
    waiting = asyncio.create_task(refused("python", code="while True: pass"))
    await until(workers)
    worker = workers()[0]
    await until(lambda: worker.rlimit(psutil.RLIMIT_CPU) == (10, 10))
    assert worker.rlimit(psutil.RLIMIT_NOFILE) == (3, 3)
    assert worker.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert worker.environ() == {}
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting


def test_arguments_of_another_kind_or_size_do_not_fit():
    for arguments in ({}, {"code": ""}, {"code": 1}, {"code": ["1"]}, {"code": "x" * 20_001}, "1 + 1", None):
        assert not fits("python", arguments)
