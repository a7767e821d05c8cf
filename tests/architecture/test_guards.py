"""House rules that a machine can hold: each test reads the files that git tracks.

Patterns are put together from pieces, so that this file does not contain what it looks for.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
LONGEST_MODULE = 500
LARGEST_FILE = 1024 * 1024
OURS = ("somaagent/", "apps/", "settings/")
# Where output for a person or for a pipe is the purpose; everything else logs.
MAY_PRINT = frozenset(
    {
        "settings/cli.py",  # hands print to the commands about the configuration
        "somaagent/embedded/launcher.py",  # becomes the server; stderr is its only channel
        "somaagent/orchestrator/report.py",  # the terminal's view of a boot
    }
)
LOOPBACK = "|".join(["local" + "host", r"127\.0" + r"\.0\.1"])
UNFINISHED = "|".join(["TO" + "DO", "FIX" + "ME"])
LAX = "|".join(["dev-" + "token", "soma" + "stack2024", "inse" + "cure"])
HERE = "|".join([r"/wor" + r"k/", r"/roo" + r"t/(?!\.somaagent)", r"/hom" + r"e/[a-z]+/"])
REGISTRIES = r"https?://[^\s\"']*/(?:" + "|".join(["sim" + "ple", "art" + "ifactory", "nex" + "us"]) + r")\b"
INDEX_OPTIONS = r"^\s*(?:-i|--(?:extra-)?index-" + r"url|--trusted-" + r"host|--find-" + r"links)\b"
SKIPPING = {"skip", "skipif", "xfail", "importorskip"}


@cache
def tracked() -> tuple[Path, ...]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TREE, capture_output=True, text=True, check=True)
    paths = [TREE / name for name in listed.stdout.split("\0") if name]
    return tuple(path for path in paths if path.is_file())


def named(*suffixes: str, under: tuple[str, ...] = ("",)) -> list[Path]:
    return [path for path in tracked() if path.suffix in suffixes and relative(path).startswith(under)]


def relative(path: Path) -> str:
    return path.relative_to(TREE).as_posix()


def lines_with(pattern: str, paths: list[Path]) -> list[str]:
    """``file:line: text`` for every line that the pattern is found in."""
    compiled = re.compile(pattern)
    return [
        f"{relative(path)}:{number}: {line.strip()[:100]}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if compiled.search(line)
    ]


def texts() -> list[Path]:
    """Every tracked file that is text."""
    return [path for path in tracked() if b"\0" not in path.read_bytes()[:8192]]


def parsed(*under: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in named(".py", under=under or ("",)):
        yield path, tree_of(path)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), filename=str(path))


def place(path: Path, node: ast.AST) -> str:
    return f"{relative(path)}:{getattr(node, 'lineno', 0)}"


def test_git_lists_the_tree() -> None:
    # All the other tests would pass over an empty list.
    assert {"pyproject.toml", "somaagent/errors.py", "settings/__init__.py"} <= set(map(relative, tracked()))


def test_no_module_is_longer_than_500_lines() -> None:
    lengths = {relative(path): len(path.read_bytes().splitlines()) for path in named(".py")}
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_no_address_of_this_machine_is_written_into_code() -> None:
    assert lines_with(LOOPBACK, named(".py")) == []


def test_nothing_is_left_for_later() -> None:
    assert lines_with(UNFINISHED, named(".py")) == []


def test_no_stand_in_for_a_secret_and_no_lowered_guard() -> None:
    assert lines_with(LAX, named(".py", ".yml", ".yaml")) == []


def test_no_file_is_larger_than_a_mebibyte() -> None:
    sizes = {relative(path): path.stat().st_size for path in tracked()}
    assert {name: size for name, size in sizes.items() if size > LARGEST_FILE} == {}


def test_no_path_of_a_developer_s_machine_and_no_package_index() -> None:
    assert lines_with(HERE, texts()) == []
    assert lines_with(REGISTRIES, texts()) == []
    assert lines_with(INDEX_OPTIONS, named(".in", ".txt", under=("requirements/",))) == []


def test_every_requirement_says_why_it_is_there() -> None:
    silent = [
        f"{relative(path)}: {line}"
        for path in named(".in", under=("requirements/",))
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.startswith(("#", "-r ", "-c "))
        if not line.partition("#")[2].strip()
    ]
    assert silent == []


def test_every_pin_is_exact_and_has_a_hash() -> None:
    locks = [path for path in named(".txt", under=("requirements/",)) if path.name != "overrides.txt"]
    assert {path.stem for path in locks} >= {"base", "dev", "embedded", "saas", "standalone"}
    for path in locks:
        assert (path.with_suffix(".in")).exists(), f"{relative(path)} was made of nothing"
        text = re.sub(r"\\\n\s*", " ", path.read_text(encoding="utf-8"))
        pins = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
        assert pins, relative(path)
        for pin in pins:
            assert re.match(r"[A-Za-z0-9._-]+(\[[a-z0-9,_-]+\])?==\S+", pin), f"{relative(path)}: {pin[:60]}"
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", pin), f"{relative(path)}: {pin[:60]}"


def test_no_test_may_be_skipped_or_allowed_to_fail() -> None:
    found = [
        place(path, node)
        for path, module in parsed("tests/")
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute)
        and node.attr in SKIPPING
        and ast.unparse(node).startswith("pytest.")
    ]
    assert found == []


def test_code_logs_and_does_not_print() -> None:
    found = [
        place(path, node)
        for path, module in parsed(*OURS)
        if relative(path) not in MAY_PRINT
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert found == []


def test_no_exception_is_swallowed() -> None:
    """Neither a bare ``except``, nor all exceptions caught and nothing done about them."""
    found = [
        place(path, node)
        for path, module in parsed()
        for node in ast.walk(module)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (is_broad(node) and does_nothing(node)))
    ]
    assert found == []


def test_contextlib_suppress_is_not_given_every_exception() -> None:
    broad = ("suppress(Exception", "suppress(BaseException")
    found = [
        place(path, node)
        for path, module in parsed()
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and ast.unparse(node).removeprefix("contextlib.").startswith(broad)
    ]
    assert found == []


def is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(one, ast.Name) and one.id in {"Exception", "BaseException"} for one in caught)


def does_nothing(handler: ast.ExceptHandler) -> bool:
    return all(
        isinstance(statement, ast.Pass | ast.Continue)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in handler.body
    )


def test_a_rule_that_is_switched_off_says_why() -> None:
    """``noqa`` and ``type: ignore`` name the rule, and ``noqa`` in our own code has words behind it."""
    bare: list[str] = []
    for path in named(".py"):
        for comment, number in comments(path):
            off = re.search(r"noqa(?P<codes>: ?[A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)*)?(?P<words>.*)", comment)
            wordless = off and not re.search(r"[a-z]{2}", off["words"])
            if (off and (not off["codes"] or wordless)) or re.search(r"type: ignore(?!\[)", comment):
                bare.append(f"{relative(path)}:{number}: {comment}")
    assert bare == []


def comments(path: Path) -> Iterator[tuple[str, int]]:
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.COMMENT:
            yield token.string, token.start[0]


@pytest.mark.parametrize(
    ("source", "swallowed"),
    [
        ("try: ...\nexcept Exception: pass", True),
        ("try: ...\nexcept (ValueError, Exception):\n    '''not now'''", True),
        ("try: ...\nexcept ValueError: pass", False),
        ("try: ...\nexcept Exception as error: log(error)", False),
    ],
)
def test_the_guard_knows_a_swallowed_exception_when_it_sees_one(source: str, swallowed: bool) -> None:
    handler = next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ExceptHandler))
    assert (is_broad(handler) and does_nothing(handler)) is swallowed
