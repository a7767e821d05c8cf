"""The pool of coroutines keeps tenants apart, and outlives restarts, errors and cancellations."""

from __future__ import annotations

import asyncio
from uuid import UUID

import psycopg
import pytest
from django.db import DataError

from somaagent.tenancy import pool
from somaagent.tenancy.batches import Connection
from somaagent.tenancy.scope import DATABASE_AWAY, in_database
from somaagent.tenancy.scripts import Row, Script, Statement, look
from somaagent.tenancy.selectors import actor_by_api_key_async, signed_in_async
from tests.factories import Organisation, key_of, organisation
from tests.stack import RunningStack

pytestmark = pytest.mark.django_db(transaction=True)

MEMBERS = "SELECT count(*) FROM tenancy_membership"


@pytest.fixture
async def acme():
    """An organisation; and the pool is closed when its story is over."""
    yield await in_database(organisation)
    await pool.close()


async def members() -> int:
    async with pool.database() as connection:
        return await one(connection)


async def one(connection: Connection) -> int:
    row = await (await connection.execute(MEMBERS)).fetchone()
    assert row is not None
    return int(row[0])


async def seen_by(tenant_id: UUID) -> int:
    async with pool.tenant_transaction(tenant_id) as connection:
        return await one(connection)


async def everywhere_nothing() -> None:
    """Every connection of the pool, one after the other, shows no row to raw SQL without a tenant."""
    async with asyncio.timeout(30):
        seen = await asyncio.gather(*(members() for _ in range(4 * pool.MAX_CONNECTIONS)))
        assert set(seen) == {0}


async def test_a_pooled_connection_carries_no_tenant_over(acme: Organisation):
    other = await in_database(organisation, "other")
    tenants = [acme.tenant.id, other.tenant.id] * 20
    assert await asyncio.gather(*(seen_by(tenant) for tenant in tenants)) == [1] * 40
    await everywhere_nothing()


async def test_nor_from_a_look_at_its_rows(acme: Organisation):
    other = await in_database(organisation, "other")
    tenants = [acme.tenant.id, other.tenant.id] * 20
    seen = await asyncio.gather(*(seen_in_one_message(tenant) for tenant in tenants))
    assert seen == [[[(1,)], [(tenant,)]] for tenant in tenants]
    await everywhere_nothing()


async def test_nor_from_a_look_that_failed(acme: Organisation):
    with pytest.raises(DataError, match="division by zero"):
        await look(acme.tenant.id, asked((MEMBERS, {}), ("SELECT 1 / %(zero)s::int", {"zero": 0})))
    await everywhere_nothing()


async def test_a_look_puts_no_value_s_words_into_its_statement(acme: Organisation):
    word = "'; DELETE FROM tenancy_membership; -- %s %(word)s \\ \"é"
    script = asked(("SELECT %(word)s::text, '%%'", {"word": word}), (MEMBERS, {}))
    rows = await look(acme.tenant.id, script)
    assert rows == [[(word, "%")], [(1,)]]


def asked(*statements: tuple[str, dict[str, object]]) -> Script[list[list[Row]]]:
    """The script of these statements: the rows of each."""
    return (yield [Statement(sql, parameters) for sql, parameters in statements])


async def seen_in_one_message(tenant_id: UUID) -> list[list[Row]]:
    """The members, and whose they are."""
    whose = "SELECT tenant_id FROM tenancy_membership WHERE tenant_id = %(tenant)s"
    return await look(tenant_id, asked((MEMBERS, {}), (whose, {"tenant": tenant_id})))


@pytest.mark.parametrize("ending", ["an exception", "a failed statement", "a failed statement, hushed up"])
async def test_nor_after_an_error(acme: Organisation, ending: str):
    async def fail() -> None:
        async with pool.tenant_transaction(acme.tenant.id) as connection:
            assert await one(connection) == 1
            if ending == "an exception":
                raise RuntimeError(ending)
            try:
                await connection.execute("SELECT 1 / 0")
            except psycopg.Error:
                if ending == "a failed statement":
                    raise

    told = await asyncio.gather(*(fail() for _ in range(10)), return_exceptions=True)
    assert all(isinstance(error, RuntimeError | psycopg.Error) for error in told)
    await everywhere_nothing()


async def test_nor_after_a_cancellation(acme: Organisation):
    async def linger(waiting: str) -> None:
        async with pool.tenant_transaction(acme.tenant.id) as connection:
            assert await one(connection) == 1
            if waiting == "for the database":
                await connection.execute("SELECT pg_sleep(60)")
            await asyncio.sleep(60)

    # More than there are connections: some are cancelled while they wait for one.
    waiters = ["for the database", "for something else"] * pool.MAX_CONNECTIONS
    tasks = [asyncio.create_task(linger(waiting)) for waiting in waiters]
    await asyncio.sleep(0.5)
    for task in tasks:
        task.cancel()
    told = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(error, asyncio.CancelledError) for error in told)
    await everywhere_nothing()


async def test_what_a_transaction_wrote_is_kept_at_its_end_and_forgotten_after_an_error(acme: Organisation):
    rename = "UPDATE tenancy_tenant SET name = %s WHERE id = %s"
    read = "SELECT name FROM tenancy_tenant WHERE id = %s"
    async with pool.transaction() as connection:
        await connection.execute(rename, ["Kept", acme.tenant.id])

    async def fail() -> None:
        async with pool.transaction() as connection:
            await connection.execute(rename, ["Forgotten", acme.tenant.id])
            raise RuntimeError("by hand")

    with pytest.raises(RuntimeError, match="by hand"):
        await fail()
    async with pool.database() as connection:
        assert await (await connection.execute(read, [acme.tenant.id])).fetchone() == ("Kept",)


async def test_a_tenant_s_row_cannot_be_given_away(acme: Organisation):
    other = await in_database(organisation, "other")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        async with pool.tenant_transaction(acme.tenant.id) as connection:
            await connection.execute("UPDATE tenancy_membership SET tenant_id = %s", [other.tenant.id])


async def test_connections_that_the_server_closed_are_replaced_unnoticed(
    acme: Organisation, stack: RunningStack
):
    await asyncio.gather(*(seen_by(acme.tenant.id) for _ in range(40)))
    with stack.superuser() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity "
            "WHERE usename = (SELECT usename FROM pg_stat_activity WHERE pid = %s)",
            [await backend()],
        )
    assert await asyncio.gather(*(seen_by(acme.tenant.id) for _ in range(40))) == [1] * 40


async def backend() -> int:
    async with pool.database() as connection:
        return connection.info.backend_pid


async def test_one_that_is_closed_in_a_transaction_tells_that_the_database_is_away(
    acme: Organisation, stack: RunningStack
):
    async def outlive() -> None:
        async with pool.tenant_transaction(acme.tenant.id) as mine:
            with stack.superuser() as connection:
                connection.execute("SELECT pg_terminate_backend(%s, 1000)", [mine.info.backend_pid])
            await one(mine)

    with pytest.raises(DATABASE_AWAY):
        await outlive()
    assert await seen_by(acme.tenant.id) == 1


async def test_credentials_are_known_over_the_pool(acme: Organisation):
    key = await in_database(key_of, acme.owner)
    actor = await actor_by_api_key_async(key)
    assert actor is not None
    assert (actor.tenant_id, actor.user_id, actor.via) == (acme.tenant.id, acme.owner.user_id, "api_key")
    assert await actor_by_api_key_async(key + "x") is None
    found = await signed_in_async(acme.owner.user_id)
    assert found is not None
    assert found.actor == acme.owner


def test_a_loop_that_ends_without_closing_leaves_no_connection_behind(
    transactional_db: None, stack: RunningStack
):
    pids = [asyncio.run(backend()) for _ in range(3)]
    asyncio.run(close_after_use())
    with stack.superuser() as connection:
        left = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)", [pids])
        assert left.fetchone() == (0,)


async def close_after_use() -> None:
    await backend()
    await pool.close()
