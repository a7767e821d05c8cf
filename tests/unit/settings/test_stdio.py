"""MCP servers that are programs, as an operator writes them down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from settings.stdio import STDIO_SERVERS, StdioServer

FILES = {"files": {"command": ["mcp-files", "/srv"], "cwd": "/srv", "tenants": ["acme"], "risk": "low"}}


def test_an_object_and_a_file_of_it_say_the_same(tmp_path: Path):
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps(FILES))
    wanted = [
        StdioServer(
            slug="files", command=("mcp-files", "/srv"), cwd=Path("/srv"), tenants=("acme",), risk="low"
        )
    ]
    assert STDIO_SERVERS.parse(json.dumps(FILES)) == wanted
    assert STDIO_SERVERS.parse(str(file)) == wanted
    assert [str(each) for each in wanted] == ["files"], "of what it holds nothing is shown"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("/no/such/file", "neither a JSON object nor a file"),
        ('{"Files": {"command": ["x"]}}', "is wrong at its names"),
        ('{"two__words": {"command": ["x"]}}', "is wrong at its names"),
        ('{"files": {}}', "is wrong at files"),
        ('{"files": {"command": []}}', "is wrong at files.command"),
        ('{"files": {"command": "hunter2"}}', "is wrong at files.command"),
        ('{"files": {"command": ["x"], "env": {"A": 1}}}', "is wrong at files.env.A"),
        ('{"files": {"command": ["x"], "secrets": {"A": "hunter2"}}}', "is wrong at files.secrets.A"),
        ('{"files": {"command": ["x"], "shell": true}}', "is wrong at files"),
        ('{"files": {"command": ["x"], "cwd": "here"}}', "is wrong at files.cwd"),
    ],
)
def test_what_is_wrong_is_named_by_its_place_and_not_repeated(text: str, said: str):
    with pytest.raises(ValueError, match=said) as error:
        STDIO_SERVERS.parse(text)
    assert "hunter2" not in str(error.value)
