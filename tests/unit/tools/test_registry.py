"""The built-in tools are the modules of one package; who adds a file adds a tool."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import jsonschema_rs
import pytest

from apps.tools.registry import built_in, tools_of
from apps.tools.tool import BUILT_IN, Label, Risk
from tests.unit.tools.calling import MEMBER, call, fits, refused

DICE = """
from apps.tools.tool import Risk, Tool


async def run(caller, arguments):
    return f"{caller.role}: 4"


TOOL = Tool(
    name="NAME", description="Throws a die.", parameters={"type": "object", "additionalProperties": False},
    run=run, idempotent=False, needs_approval=False, risk=Risk.LOW,
)
"""


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """A package of tools with these files in it."""

    def made(name: str, **files: str) -> ModuleType:
        package = tmp_path / name
        package.mkdir()
        for stem, source in ({"__init__": ""} | files).items():
            (package / f"{stem}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        return importlib.import_module(name)

    return made


def test_the_catalogue_is_what_the_documentation_says():
    assert sorted(built_in()) == ["calculator", "current_time", "http_fetch", "python", "session_search"]
    assert built_in() is built_in()
    for name, tool in built_in().items():
        assert (tool.name, tool.source) == (name, BUILT_IN)
        assert f"## `{name}`" in Path("docs/tools.md").read_text()
        assert not tool.needs_approval
        assert tool.idempotent
    assert {name for name, tool in built_in().items() if tool.risk is not Risk.LOW} == {"http_fetch"}
    assert built_in()["http_fetch"].labels == {Label.UNTRUSTED}
    assert built_in()["session_search"].labels == {Label.PRIVATE}


def test_every_schema_is_an_object_that_bounds_what_it_takes():
    for name, tool in built_in().items():
        assert jsonschema_rs.meta.is_valid(dict(tool.parameters))
        assert tool.parameters["type"] == "object"
        assert not fits(name, {"something": "else"})
        for fact in tool.parameters["properties"].values():
            assert {"maxLength", "maximum"} & set(fact)


async def test_a_tool_is_added_by_a_file_and_nothing_else(catalogue):
    tools = tools_of(catalogue("games", dice=DICE.replace("NAME", "throw_a_die")))
    assert list(tools) == ["throw_a_die"]
    assert await tools["throw_a_die"].run(MEMBER, {}) == "member: 4"


def test_a_name_is_given_once(catalogue):
    with pytest.raises(ValueError, match=r"Two tools are named die: doubled\.second"):
        tools_of(catalogue("doubled", first=DICE.replace("NAME", "die"), second=DICE.replace("NAME", "die")))


@pytest.mark.parametrize("name", ["", "a b", "9lives", "x" * 65, "die\n", "ｄie", "../die", "die;rm"])
def test_a_name_has_no_tricks_in_it(catalogue, name):
    with pytest.raises(ValueError, match="is no name for a tool"):
        tools_of(catalogue(f"tricky_{abs(hash(name))}", die=DICE.replace('"NAME"', repr(name))))


def test_a_module_without_a_tool_is_told(catalogue):
    with pytest.raises(TypeError, match=r"empty\.helper has no TOOL"):
        tools_of(catalogue("empty", helper="x = 1"))


def test_reading_the_catalogue_imports_nothing_heavy():
    code = (
        "import sys, django; from django.conf import settings; settings.configure(INSTALLED_APPS=["
        "'django.contrib.contenttypes', 'django.contrib.auth']); django.setup();"
        "import apps.tools.arithmetic, apps.tools.sandbox, apps.tools.readable;"
        "print([name for name in ('pydantic_monty', 'html_to_markdown', 'mpmath') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


async def test_the_time_is_told_in_a_zone_and_a_zone_that_is_none_is_refused():
    assert "+00:00 (" in await call("current_time")
    assert (await call("current_time", time_zone="Asia/Kolkata")).endswith("day, Asia/Kolkata)")
    assert "+05:30 (" in await call("current_time", time_zone="Asia/Kolkata")
    for name in ("Mars/Olympus", "../../etc/passwd", "/etc/localtime", "America", "utc\0"):
        assert (await refused("current_time", time_zone=name)).code == "time_zone_unknown"
    assert not fits("current_time", {"time_zone": "x" * 65})
