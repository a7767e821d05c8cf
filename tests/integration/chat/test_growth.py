"""Ten thousand messages in a session and ten thousand sessions of a user cost a page no more than ten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.http import HttpRequest, HttpResponseBase
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from apps.chat import hosting, oversight, pages, transcript
from apps.chat import statements as turns
from apps.chat.models import Turn, TurnState
from apps.chat.selectors import turn_page
from apps.sessions import services as sessions
from apps.sessions.models import Message, Session
from apps.sessions.selectors import message_page, session_page
from somaagent.tenancy.models import Tenant
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import Script, performed, rows_of
from somaagent.web.pagination import PAGE_SIZE, PageQuery, Part, page_of
from tests.factories import Organisation, organisation, user_of
from tests.plans import rows_read
from tests.stack import RunningStack

# Rows that are committed: statistics are not made of others, and plans are nothing without them.
pytestmark = pytest.mark.django_db(transaction=True)

MANY = 10_000
# Of one page, all its statements together: what is shown, and what is looked at to find it.
MOST_ROWS = 400
Visit = Callable[[Organisation], None]
BIG = ("agent_sessions_session", "agent_sessions_message", "chat_turn")


@dataclass(frozen=True)
class Talk:
    """Conversations of an organisation with many turns, and of its neighbour with few."""

    short: Session
    long: Session
    neighbours: Session


@pytest.fixture(scope="module")
def acme(few_rows):
    with few_rows():
        return organisation()


@pytest.fixture(scope="module")
def neighbour(few_rows):
    """Another organisation, which shares the tables."""
    with few_rows():
        return organisation("neighbour")


@pytest.fixture(scope="module")
def talk(few_rows, acme: Organisation, neighbour: Organisation, stack: RunningStack) -> Talk:
    """One for the stories that only read: ten thousand rows take seconds to write."""
    with few_rows():
        # Of a table of one page plans read all rows, however few they look for.
        many_sessions(acme, 2_000, archived=False)
        made = Talk(conversation(acme, 60), conversation(acme, MANY // 2), conversation(neighbour, 60))
        analyze(stack)
        return made


@pytest.fixture(scope="module")
def few_rows(
    stack: RunningStack, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Where rows for the whole file are written; they go at its end: other stories would read past them."""
    with django_db_blocker.unblock():
        before = list(Tenant.objects.values_list("id", flat=True))
    yield django_db_blocker.unblock
    with stack.superuser() as superuser:
        # Whole tenants go: nothing is left to refer to them.
        superuser.execute("SET session_replication_role = replica")
        for table in BIG:
            superuser.execute(f"DELETE FROM {table} WHERE tenant_id <> ALL(%s)", [before])  # noqa: S608 ours
            superuser.execute(f"VACUUM (ANALYZE) {table}")


def conversation(who: Organisation, turns: int) -> Session:
    """A session with one branch of so many turns."""
    with tenant_scope(who.tenant.id):
        session = sessions.session_create(actor=who.owner)
        messages: list[Message] = []
        rows: list[Turn] = []
        for number in range(turns):
            before = messages[-1] if messages else None
            asked = _message(session, before, "user", f"q{number}")
            told = _message(session, asked, "assistant", f"a{number}")
            messages += [asked, told]
            rows.append(_turn(who, asked, told))
        Message.objects.bulk_create(messages, batch_size=2000)
        Turn.objects.bulk_create(rows, batch_size=2000)
        Session.objects.filter(id=session.id).update(active_message=messages[-1])
    return session


def _message(session: Session, parent: Message | None, role: str, text: str) -> Message:
    return Message(tenant_id=session.tenant_id, session=session, parent=parent, role=role, text=text)


def _turn(who: Organisation, asked: Message, told: Message) -> Turn:
    return Turn(
        tenant=who.tenant,
        session=asked.session,
        user_id=who.owner.user_id,
        input_message=asked,
        output_message=told,
        state=TurnState.COMPLETED,
        started_at=timezone.now(),
    )


def many_sessions(who: Organisation, number: int, *, archived: bool) -> None:
    facts = {"tenant": who.tenant, "user_id": who.owner.user_id, "agent": who.agent}
    facts["archived_at"] = timezone.now() if archived else None
    rows = [Session(title=f"s{place}", **facts) for place in range(number)]
    with tenant_scope(who.tenant.id):
        Session.objects.bulk_create(rows, batch_size=2000)


def analyze(stack: RunningStack) -> None:
    """What autovacuum does after a while. Tables are not the application's to analyze."""
    with stack.superuser() as superuser:
        for table in BIG:
            superuser.execute(f"ANALYZE {table}")


def statements_of(visit: Visit, who: Organisation) -> list[str]:
    """The statements on tables that grow."""
    with CaptureQueriesContext(connection) as captured:
        visit(who)
    return [query["sql"] for query in captured if any(table in query["sql"] for table in BIG)]


def opens(view: Callable[..., HttpResponseBase], query: str = "", **place: object) -> Visit:
    """Somebody opens a page, or a part of one."""

    def visit(who: Organisation) -> None:
        assert view(_request(who, f"/{query}"), **place).status_code == 200

    return visit


def lists(read: Callable[..., Script[Part[Any]]], **wish: object) -> Visit:
    """Somebody asks the API for a list."""

    def visit(who: Organisation) -> None:
        assert len(performed(read(actor=who.owner, query=PageQuery(), **wish)).items) == PAGE_SIZE

    return visit


def oversees(found: int, **wish: Any) -> Visit:
    """A manager asks for everybody's turns: ``found`` of them on the page."""

    def visit(who: Organisation) -> None:
        page = page_of(oversight.turns_of_everybody(**wish), PageQuery())
        assert len(page["items"]) == found  # type: ignore[arg-type]  # a list

    return visit


def _request(who: Organisation, path: str) -> HttpRequest:
    """The owner's, as the middleware hands it on."""
    request = RequestFactory().get(path)
    facts = {"user": user_of(who.owner), "actor": who.owner, "request_id": "r", "session": SessionStore()}
    for name, fact in facts.items():
        setattr(request, name, fact)
    return request


def compare(few: tuple[Organisation, Visit], many: tuple[Organisation, Visit]) -> None:
    """Both ask the database as often, and the second touches few rows."""
    asked = []
    for who, visit in (few, many):
        with tenant_scope(who.tenant.id):
            statements = statements_of(visit, who)
            asked.append((len(statements), rows_read(statements, BIG)))
    assert asked[0][0] == asked[1][0]
    assert asked[1][1] < MOST_ROWS, asked


def test_the_page_of_a_long_conversation(acme, talk):
    short, long = talk.short, talk.long
    for view in (pages.chat, pages.entries):
        compare((acme, opens(view, session_id=short.id)), (acme, opens(view, session_id=long.id)))
    with tenant_scope(acme.tenant.id):
        end = transcript.transcript(actor=acme.owner, session_id=long.id)
        before = transcript.transcript(actor=acme.owner, session_id=short.id).earlier
    assert [entry.text for entry in end.entries][-2:] == ["q4999", "a4999"]
    assert len(end.entries) == transcript.MESSAGES_AT_ONCE
    compare(
        (acme, opens(pages.entries, f"?cursor={before}", session_id=short.id)),
        (acme, opens(pages.entries, f"?cursor={end.earlier}", session_id=long.id)),
    )
    compare((acme, lists(message_page, session_id=short.id)), (acme, lists(message_page, session_id=long.id)))


def test_the_lists_of_turns(acme, neighbour, talk):
    for few, many in ((talk.neighbours.id, talk.long.id), (None, None)):
        compare(
            (neighbour, lists(turn_page, session_id=few)),
            (acme, lists(turn_page, session_id=many)),
        )


def test_the_lists_of_everybodys_turns(acme, neighbour, talk):
    """Of all, of those in a state that few or most are in, of those that are stuck."""
    long_ago, soon = timezone.now() - timedelta(days=1), timezone.now() + timedelta(hours=1)
    for found, wish in (
        (PAGE_SIZE, {}),
        (PAGE_SIZE, {"state": "completed"}),
        (0, {"state": "failed"}),
        (PAGE_SIZE, {"agent": "assistant"}),
        (PAGE_SIZE, {"since": long_ago, "until": soon}),
        (0, {"until": long_ago}),
        (0, {"stuck": True}),
    ):
        visit = oversees(found, **wish)
        compare((neighbour, visit), (acme, visit))
    for who, session in ((acme, talk.long), (acme, talk.short)):
        visit = oversees(PAGE_SIZE, session_id=session.id, user_id=who.owner.user_id)
        compare((who, visit), (who, visit))


def test_what_hosts_look_at_in_a_long_session(acme, talk):
    """Turns that are open, that nobody took, and, in a sweep, those whose host is gone."""

    def looks(session: Session) -> Visit:
        def visit(_: Organisation) -> None:
            for look in (turns.open_turns, turns.not_taken, turns.questions_not_taken):
                assert performed(rows_of(look(session.id))) == []
            assert hosting.turns_sweep() == hosting.Swept([], [])

        return visit

    compare((acme, looks(talk.short)), (acme, looks(talk.long)))


@pytest.mark.parametrize("archived", [False, True])
def test_the_lists_of_a_user_with_many_sessions(few_rows, stack, archived):
    """The list of those that are few among the many others, too."""
    acme, neighbour = organisation(), organisation("neighbour")
    many_sessions(neighbour, 60, archived=False)
    many_sessions(neighbour, 60, archived=True)
    many_sessions(acme, MANY, archived=archived)
    many_sessions(acme, 60, archived=not archived)
    analyze(stack)
    for visit in (
        opens(pages.chat),
        opens(pages.chat, "?archived"),
        opens(pages.session_items),
        opens(pages.session_items, "?archived"),
        lists(session_page, archived=False),
        lists(session_page, archived=True),
    ):
        compare((neighbour, visit), (acme, visit))
