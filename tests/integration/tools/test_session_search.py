"""What was said in earlier sessions is found by its user, by nobody else, and at a bounded cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from apps.sessions import search
from apps.sessions.models import Message, Session
from apps.tools.tool import Caller
from somaagent.tenancy import pool
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.models import Tenant
from somaagent.tenancy.scope import in_database, tenant_scope
from tests.factories import Organisation, organisation, person
from tests.stack import RunningStack
from tests.unit.tools.calling import call, fits, refused

pytestmark = pytest.mark.django_db(transaction=True)

TABLES = ("agent_sessions_message", "agent_sessions_session")
MANY = 10_000


@pytest.fixture
async def acme():
    yield await in_database(organisation)
    await pool.close()


def caller(actor: Actor, session_id: UUID | None = None) -> Caller:
    return Caller(tenant_id=actor.tenant_id, user_id=actor.user_id, role=actor.role, session_id=session_id)


def said(who: Organisation, actor: Actor, *texts: str, title: str = "A talk", archived: bool = False) -> UUID:
    """A session of the actor's, in which these things were said in turn."""
    with tenant_scope(who.tenant.id):
        session = Session.objects.create(
            tenant=who.tenant, user_id=actor.user_id, agent=who.agent, title=title
        )
        if archived:
            Session.objects.filter(id=session.id).update(archived_at=session.created_at)
        for number, text in enumerate(texts):
            role = "assistant" if number % 2 else "user"
            Message.objects.create(tenant=who.tenant, session=session, role=role, text=text)
    return session.id


async def found(actor: Actor, query: str, **more: Any) -> str:
    return await call("session_search", caller(actor, more.pop("during", None)), query=query, **more)


async def test_the_owner_finds_what_was_said_with_session_date_and_who(acme: Organisation):
    where = await in_database(
        said, acme, acme.owner, "Which ferry goes to Naxos?", "The Blue Star.", title="Greece"
    )
    told = await found(acme.owner, "naxos FERRY")
    assert told.startswith(f"Session “Greece” ({where}), 20")
    assert told.endswith(" UTC, user:\nWhich ferry goes to Naxos?")
    assert "Blue Star" in await found(acme.owner, "star")


async def test_more_words_come_first_then_newer_ones_and_no_more_than_asked_for(acme: Organisation):
    for text in ("red apple", "apple", "apple pie", "red apple and pie"):
        await in_database(said, acme, acme.owner, text)
    told = await found(acme.owner, "red apple pie", limit=3)
    assert [part.splitlines()[1] for part in told.split("\n\n")] == [
        "red apple and pie",
        "apple pie",
        "red apple",
    ]


async def test_archived_sessions_are_searched_and_the_present_one_is_not(acme: Organisation):
    await in_database(said, acme, acme.owner, "kept walrus", archived=True)
    present = await in_database(said, acme, acme.owner, "present walrus")
    assert "kept walrus" in await found(acme.owner, "walrus", during=present)
    assert "present walrus" not in await found(acme.owner, "walrus", during=present)
    assert "present walrus" in await found(acme.owner, "walrus")


async def test_nobody_finds_what_others_said(acme: Organisation):
    """Neither a member of the same organisation, nor of another one, nor with their ids crossed."""
    member = await in_database(person, "member", acme.tenant)
    outsider = (await in_database(organisation, "other")).owner
    await in_database(said, acme, acme.owner, "the vault's number is 4711")
    looked = f"up to {search.MOST_MESSAGES} messages, from the last session on"
    nothing = f"Nothing found in earlier sessions ({looked})."
    for actor in (member, outsider):
        assert await found(actor, "vault number 4711") == nothing
    crossed = Caller(tenant_id=outsider.tenant_id, user_id=acme.owner.user_id, role="owner")
    assert await call("session_search", crossed, query="vault") == nothing


async def test_signs_are_no_patterns_and_no_sql(acme: Organisation):
    await in_database(said, acme, acme.owner, "hundred per cent", "a_b", "Straße nach Überlingen")
    for query in ("%%%%", "\\\\", "a%b", "' ; --"):
        assert (
            await refused("session_search", caller(acme.owner), query=query)
        ).code == "session_search_empty"
    for query in ("a_c", "__", "nothing' OR true --", "%'); DROP TABLE tenancy_tenant; --", "ab\\"):
        assert (await found(acme.owner, query)).startswith("Nothing"), query
    assert "a_b" in await found(acme.owner, "a_b")
    assert "Straße" in await found(acme.owner, "STRAßE ÜBERLINGEN")


async def test_a_long_message_is_told_around_the_word(acme: Organisation):
    await in_database(said, acme, acme.owner, "x " * 3000 + "the needle is here" + " y" * 3000)
    snippet = (await found(acme.owner, "needle")).splitlines()[1]
    assert snippet.startswith("…x x")
    assert "the needle is here" in snippet
    assert len(snippet) < 500


async def test_a_search_that_takes_too_long_is_stopped(acme: Organisation, monkeypatch):
    slow = search._SEARCH.replace("SELECT session_id,", "SELECT pg_sleep(60)::text, session_id,")
    monkeypatch.setattr(search, "_SEARCH", slow)
    monkeypatch.setattr(search, "MOST_SECONDS", 1)
    await in_database(said, acme, acme.owner, "anything")
    assert (
        await refused("session_search", caller(acme.owner), query="anything")
    ).code == "session_search_stopped"


@pytest.fixture
def few_rows(stack: RunningStack, transactional_db: None) -> Iterator[None]:
    """Takes the rows of the story's tenants away again: every other story would read past them."""
    before = list(Tenant.objects.values_list("id", flat=True))
    yield
    with stack.superuser() as superuser:
        superuser.execute("SET session_replication_role = replica")
        for table in TABLES:
            superuser.execute(f"DELETE FROM {table} WHERE tenant_id <> ALL(%s)", [before])  # noqa: S608 ours


def test_the_work_is_bounded_by_indexes_however_much_there_is(few_rows, stack: RunningStack):
    """Ten thousand messages and more of the owner's own, a hundred thousand of a colleague's."""
    acme = organisation()
    colleague = person("colleague", acme.tenant)
    fill(acme, acme.owner, sessions=150, messages=100)
    fill(acme, colleague, sessions=100, messages=1000)
    with stack.superuser() as superuser:
        for table in TABLES:
            superuser.execute(f"ANALYZE {table}")
    statement = search.search(user_id=acme.owner.user_id, words=["number", "77"], without=None, most=5)
    with tenant_scope(acme.tenant.id), connection.cursor() as cursor:
        cursor.execute(
            f"EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF, FORMAT JSON) {statement.sql}", statement.parameters
        )
        plan = cursor.fetchone()[0][0]["Plan"]
        cursor.execute(statement.sql, statement.parameters)
        assert {"number 77" in row[5] for row in cursor.fetchall()} == {True}
    scans = list(scans_of(plan))
    assert {scan["Relation Name"] for scan in scans} == set(TABLES)
    assert {scan["Node Type"] for scan in scans} <= {"Index Scan", "Index Only Scan"}
    read = sum(
        (scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)) * scan["Actual Loops"] for scan in scans
    )
    assert (
        search.MOST_MESSAGES
        <= read
        <= search.MOST_MESSAGES + search.MOST_OF_A_SESSION + 2 * search.MOST_SESSIONS
    )


def fill(who: Organisation, actor: Actor, *, sessions: int, messages: int) -> None:
    facts = {"tenant": who.tenant, "user_id": actor.user_id, "agent": who.agent}
    with tenant_scope(who.tenant.id):
        made = Session.objects.bulk_create(
            [Session(title=f"s{number}", **facts) for number in range(sessions)]
        )
        with connection.cursor() as cursor:
            cursor.execute(_FILL, [messages - 1, [session.id for session in made]])


# A hundred thousand rows by the ORM take a quarter of a minute.
_FILL = """
    INSERT INTO agent_sessions_message (id, created_at, tenant_id, session_id, role, text, complete)
    SELECT uuidv7(), now(), session.tenant_id, session.id, 'user',
        'number ' || number || repeat(' word', 40), true
    FROM agent_sessions_session session, generate_series(0, %s) number
    WHERE session.id = ANY(%s) ORDER BY session.id, number
"""


def scans_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Relation Name" in plan:
        yield plan
    for part in plan.get("Plans", []):
        yield from scans_of(part)


def test_arguments_of_another_kind_or_size_do_not_fit():
    for arguments in (
        {},
        {"query": "x"},
        {"query": "x" * 201},
        {"query": ["a"]},
        {"query": "ab", "limit": 21},
    ):
        assert not fits("session_search", arguments)
    for another in ("user_id", "tenant_id", "session_id"):
        assert not fits("session_search", {"query": "ab", another: "another's"})
