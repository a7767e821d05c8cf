"""Several statements in one message: in their order, all or none, with psycopg's types."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import DatabaseError, DataError, IntegrityError

from apps.sessions.models import Agent
from somaagent.tenancy import pool
from somaagent.tenancy.scope import DATABASE_AWAY, in_database, in_tenant
from somaagent.tenancy.scripts import Last, Script, Statement, perform
from tests.factories import Organisation, organisation
from tests.stack import RunningStack

pytestmark = pytest.mark.django_db(transaction=True)

RENAME = "UPDATE tenancy_tenant SET name = %(name)s WHERE id = %(id)s"
NAME = "SELECT name FROM tenancy_tenant WHERE id = %(id)s"
LIKE = "SELECT name LIKE 'Ac%%' FROM tenancy_tenant WHERE id = %(id)s"


@pytest.fixture
async def acme():
    """An organisation; and the pool is closed when its story is over."""
    yield await in_database(organisation)
    await pool.close()


async def name_of(acme: Organisation) -> str:
    async with pool.database() as connection:
        ((row,),) = await connection.batch([(NAME, {"id": acme.tenant.id})])
        return str(row[0])


async def test_statements_run_in_order_and_give_their_rows(acme: Organisation):
    facts = {"id": acme.tenant.id}
    async with pool.database() as connection:
        for _ in range(2):  # the second time they are prepared
            before, none, after, like = await connection.batch(
                [(NAME, facts), (RENAME, {**facts, "name": "Acme 2"}), (NAME, facts), (LIKE, facts)]
            )
            assert (before[0][0][:4], none, after, like) == ("Acme", [], [("Acme 2",)], [(True,)])


async def test_values_come_back_as_they_went(acme: Organisation):
    del acme
    values = {
        "id": uuid4(),
        "when": datetime(2026, 11, 22, 4, 5, 6, 789, UTC),
        "price": Decimal("0.000000000001"),
        "text": "naïve “text” 100%",
        "ids": [uuid4(), uuid4()],
        "none": None,
        "number": 2**40,
        "flag": True,
    }
    sql = ", ".join(
        f"%({name})s::{kind}"
        for name, kind in {
            "id": "uuid",
            "when": "timestamptz",
            "price": "numeric",
            "text": "text",
            "ids": "uuid[]",
            "none": "text",
            "number": "bigint",
            "flag": "boolean",
        }.items()
    )
    async with pool.database() as connection:
        for _ in range(2):
            assert await connection.batch([(f"SELECT {sql}", values)]) == [[tuple(values.values())]]


async def test_what_is_larger_than_the_socket_takes_at_once_arrives(acme: Organisation):
    del acme
    text = "long " * 4_000_000
    async with pool.database() as connection:
        length, back = await connection.batch(
            [("SELECT length(%(text)s::text)", {"text": text}), ("SELECT %(text)s::text", {"text": text})]
        )
    assert (length, back[0][0] == text) == ([(len(text),)], True)


async def test_all_of_a_batch_is_kept_or_none(acme: Organisation):
    facts = {"id": acme.tenant.id, "name": "Half done"}
    async with pool.database() as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await connection.batch([(RENAME, facts), ("SELECT 1 / 0", {}), (RENAME, facts)])
        # The connection is as good as before, the statement that failed too.
        assert await connection.batch([("SELECT 1", {}), (RENAME.replace("name =", "name  ="), facts)])
    assert await name_of(acme) == "Half done"


async def test_a_script_that_fails_anywhere_leaves_nothing(acme: Organisation):
    def rename_and(then: str) -> Script[None]:
        facts = {"id": acme.tenant.id, "name": "Forgotten"}
        yield [Statement(RENAME, facts)]
        if then == "a failed statement":
            yield [Statement("INSERT INTO tenancy_tenant SELECT * FROM tenancy_tenant", {})]
        elif then == "a failed last batch":
            yield Last([Statement(RENAME, facts), Statement("SELECT 1 / 0", {})])
        raise RuntimeError(then)

    failures = {
        "an exception": RuntimeError,
        "a failed statement": DatabaseError,
        "a failed last batch": DataError,
    }
    for then, kind in failures.items():
        with pytest.raises(kind):
            await perform(acme.tenant.id, rename_and(then))
        assert await name_of(acme) == "Acme"


async def test_what_is_found_wrong_at_the_very_end_leaves_nothing(acme: Organisation):
    """A foreign key is looked at when the transaction ends, which a script's only message does by itself."""

    def renamed(profile: UUID) -> Script[None]:
        yield Last(
            [
                Statement("UPDATE agent_sessions_agent SET name = 'Helper'", {}),
                Statement(
                    "UPDATE agent_sessions_agent SET model_profile_id = %(profile)s", {"profile": profile}
                ),
            ]
        )

    async def names() -> list[str]:
        return await in_tenant(acme.tenant.id, lambda: [agent.name for agent in Agent.objects.all()])

    for _ in range(2):  # the second time they are prepared
        with pytest.raises(IntegrityError):
            await perform(acme.tenant.id, renamed(uuid4()))
        assert await names() == ["Assistant"]
    await perform(acme.tenant.id, renamed(acme.agent.model_profile_id))
    assert await names() == ["Helper"]


async def test_a_last_batch_is_the_last(acme: Organisation):
    def two_ends() -> Script[None]:
        yield Last([Statement("SELECT 1", {})])
        yield [Statement("SELECT 2", {})]

    with pytest.raises(RuntimeError, match="behind its last batch"):
        await perform(acme.tenant.id, two_ends())


async def test_a_cancelled_batch_costs_its_connection_and_nobody_else_s(acme: Organisation):
    async def linger() -> None:
        async with pool.database() as connection:
            await connection.batch([("SELECT pg_sleep(60)", {})])

    tasks = [asyncio.create_task(linger()) for _ in range(2 * pool.MAX_CONNECTIONS)]
    await asyncio.sleep(0.3)
    for task in tasks:
        task.cancel()
    told = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(error, asyncio.CancelledError) for error in told)
    async with asyncio.timeout(30):
        assert set(await asyncio.gather(*(name_of(acme) for _ in range(40)))) == {"Acme"}


async def test_a_server_that_hangs_up_is_away(acme: Organisation, stack: RunningStack):
    def slow(pid: list[int]) -> Script[None]:
        ((row,),) = yield [Statement("SELECT pg_backend_pid()", {})]
        pid.append(row[0])
        with stack.superuser() as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 1000)", pid)
        yield Last([Statement("SELECT 1", {})])

    with pytest.raises(DATABASE_AWAY):
        await perform(acme.tenant.id, slow([]))
    assert await name_of(acme) == "Acme"


async def test_what_is_prepared_outlives_a_rollback(acme: Organisation):
    """psycopg deallocates all statements of a session after one, if it has prepared some of its own."""
    facts = {"id": acme.tenant.id}
    for _ in range(3):
        async with pool.tenant_transaction(acme.tenant.id) as connection:
            await connection.execute("SELECT slug FROM tenancy_tenant WHERE id = %s", [acme.tenant.id])
    assert (await name_of(acme))[:4] == "Acme"
    async with pool.tenant_transaction(acme.tenant.id) as connection:
        await connection.batch([(NAME, facts)])
        await connection.rollback()
    assert (await name_of(acme))[:4] == "Acme"
