"""Constraints: they go and come back while tables are in use, and nobody is in a deadlock with them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from somaagent.tenancy.constraints import without_reference, without_sign_check
from tests.stack import RunningStack

KEY = without_reference("story_child", "parent_id", "story_parent", "story_child_parent")
SIGN = without_sign_check("story_child", "number")
TABLES = """
CREATE TABLE story_parent (id int PRIMARY KEY);
INSERT INTO story_parent VALUES (1);
CREATE TABLE story_child (
    number int CHECK (number >= 0),
    parent_id int CONSTRAINT story_child_parent REFERENCES story_parent (id) DEFERRABLE INITIALLY DEFERRED
);
"""


@pytest.fixture
def owner(stack: RunningStack) -> Iterator[psycopg.Connection]:
    with stack.superuser() as connection:
        connection.execute(TABLES)
        yield connection
        connection.execute("DROP TABLE story_child, story_parent")


def migrate(owner: psycopg.Connection, statements: Any) -> None:
    for statement in [statements] if isinstance(statements, str) else statements:
        owner.execute(statement)


def constraints(owner: psycopg.Connection) -> list[tuple[str, bool]]:
    """Name, and whether all rows were looked at."""
    return owner.execute(
        "SELECT conname, convalidated FROM pg_constraint"
        " WHERE conrelid = 'story_child'::regclass AND contype IN ('c', 'f') ORDER BY conname"
    ).fetchall()


def while_a_member_writes(stack: RunningStack, owner: psycopg.Connection, statements: Any) -> None:
    """Migrates while a transaction has the parent's table and wants the child's."""
    with stack.superuser() as member:
        member.execute("BEGIN")
        member.execute("UPDATE story_parent SET id = id")
        migration = threading.Thread(target=migrate, args=(owner, statements))
        migration.start()
        migration.join(1.5)
        assert migration.is_alive()
        member.execute("INSERT INTO story_child VALUES (1, 1)")
        member.execute("COMMIT")
        migration.join(20)
        assert not migration.is_alive()


def test_a_foreign_key_goes_and_comes_back_beside_those_who_write(stack, owner):
    both = [("story_child_number_check", True), ("story_child_parent", True)]
    assert constraints(owner) == both
    while_a_member_writes(stack, owner, KEY.sql)
    assert constraints(owner) == both[:1]
    while_a_member_writes(stack, owner, KEY.reverse_sql)
    assert constraints(owner) == both
    assert owner.execute("SELECT count(*) FROM story_child").fetchone() == (2,)


def test_a_check_goes_and_may_do_so_again(owner):
    migrate(owner, SIGN.sql)
    migrate(owner, SIGN.sql)
    owner.execute("INSERT INTO story_child VALUES (-1, 1)")
    with pytest.raises(psycopg.errors.CheckViolation):
        migrate(owner, SIGN.reverse_sql)
    owner.execute("DELETE FROM story_child")
    migrate(owner, SIGN.reverse_sql)
    assert ("story_child_number_check", True) in constraints(owner)
