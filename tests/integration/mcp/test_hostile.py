"""Servers that lie, flood, disguise and lead astray: each costs its own tools, with its reason."""

from __future__ import annotations

import time

import jsonschema_rs
import pytest

from apps.tools.mcp import http, state
from apps.tools.mcp.servers import of_row
from tests.integration.mcp.conftest import Story


def known(story: Story, house: str, **facts):
    row = story.add(house, **facts)
    found = story.tools()
    story.lists_are_read()
    return found, state.known_blocking([of_row(row)])[0]


@pytest.mark.parametrize(
    ("house", "code"),
    [
        ("babbles", "mcp_garbled"),
        ("floods", "mcp_flood"),
        ("astray", "mcp_failed"),
        ("packs", "mcp_garbled"),
        ("no-schema", "mcp_garbled"),
    ],
)
def test_a_server_that_makes_no_sense_has_no_tools_and_says_why(story: Story, house, code):
    found, told = known(story, house)
    assert found == {}
    assert told.code == code
    assert house in told.error


def test_a_list_without_an_end_is_read_for_a_while(story: Story):
    found, told = known(story, "pages", most_tools=500)
    assert len(found) == 20
    assert told.remarks == ("Its list has more than 20 pages: the rest is not read.",)


def test_more_tools_than_are_wanted_are_left_out(story: Story):
    found, told = known(story, "pages", most_tools=3)
    assert sorted(found) == ["pages__tool0", "pages__tool1", "pages__tool2"]
    assert "more than 3 tools" in told.remarks[0]


def test_lies_about_schemas_and_names_cost_the_tools_that_they_are_about(story: Story):
    begun = time.monotonic()
    found, told = known(story, "liar")
    assert time.monotonic() - begun < 60
    long = [name for name in found if name.startswith("liar__nnn")]
    dotted = [name for name in found if name.startswith("liar__with_dot_")]
    assert len(long) == len(dotted) == 1
    assert len(long[0]) == 64
    assert sorted({*found} - {*long, *dotted}) == ["liar__good", "liar__python", "liar__regex", "liar__tree"]

    remarks = "\n".join(told.remarks)
    for name, why in {
        "twice": "two tools have this name",
        "wrong": "its schema is no JSON Schema",
        "elsewhere": "its schema refers to what is not in it",
        "remote": "its schema refers to somewhere else",
        "moved": "its schema uses $id",
        "bomb": "too large when it is written out",
        "large": "its schema has more than",
        "line break": "a character that is not taken",
        "p\u0443thon": "a character that is not taken",
        "a tool without a name": "a character that is not taken",
        "n" * 79 + "…": "too long",
    }.items():
        assert any(line.startswith(f"{name}: not taken, ") and why in line for line in told.remarks), (
            name,
            remarks,
        )
    assert "regex: without a pattern that cannot be checked in linear time." in told.remarks
    assert "tree: without a reference of the schema to itself." in told.remarks

    good = found["liar__good"]
    assert good.description.startswith("Good. long long")
    assert len(good.description) == 1024
    assert found["liar__tree"].parameters["properties"] == {
        "child": {},
        "leaf": {"type": "string", "description": "A leaf."},
    }
    for tool in found.values():
        jsonschema_rs.validator_for(dict(tool.parameters), offline=True)
    assert story.run(found[dotted[0]]) == "ran with.dot"


def test_a_result_without_an_end_is_not_read_to_its_end(story: Story):
    story.add("well-5")
    assert len(story.call("well-5__huge", characters=100_000)) == 100_000
    flood = story.refused("well-5__huge", characters=2 * http.MOST_BYTES)
    assert flood.code == "mcp_flood"
    assert story.town.asked["well-5"] > 0
