"""Writes of a turn's user: submit, answer again, cancel (scripts, see ``somaagent.tenancy.scripts``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

from django.utils import timezone

from apps.sessions import services as session_services
from apps.sessions import statements as sessions
from somaagent.errors import Kind, SomaError, invalid, not_found
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.budgets import statements as budgets
from somaagent.tenancy.budgets.standing import Standing, refuse_spent
from somaagent.tenancy.idempotency import Idempotency
from somaagent.tenancy.scripts import Last, Row, Script, Statement, fresh, inserted, read, together

from . import history, statements
from .ended import turns_ended
from .models import OnBusy, Turn, TurnState
from .requests import Request, request_of
from .stepping import calls_end
from .work import UserOfTurn, Work, lease_end

if TYPE_CHECKING:
    from apps.sessions.models import ModelProfile, Session

MOST_WAITING = 20

# Begins a turn whose rows are on their way.
Ahead: TypeAlias = Callable[[Work], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a session an input stands; with neither, at the end of the active branch.

    ``after``: the answer that it follows. ``replaces``: the user's message that it stands in for.
    """

    after: UUID | None = None
    replaces: UUID | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """A turn, and what is to be done about it.

    ``starts``: a host may take it now; where the caller is one, it has, and ``work`` is what it needs. A turn
    that neither starts was submitted before, or waits for its session's running turn.
    ``stopped``: turns that made room for it: queued ones are cancelled, running ones to be told.
    """

    turn: Turn
    starts: bool = False
    work: Work | None = None
    stopped: Sequence[Turn] = dataclasses.field(default_factory=list)


def turn_submit(
    *,
    actor: Actor,
    text: str,
    session_id: UUID | None = None,
    agent: str | None = None,
    place: Place | None = None,
    on_busy: OnBusy = OnBusy.REJECT,
    idempotency: Idempotency | None = None,
    host: str | None = None,
    request: Request | None = None,
    ahead: Ahead | None = None,
) -> Script[Submitted]:
    """Keep the message and a turn, in ``session_id`` or a new session.

    ``request``: how it is to be answered, and all that ``text`` stands for; its length was looked at before.
    ``ahead``: called where nothing is left but to keep it.

    ``host`` takes it in the same transaction, if its time has come; without one it is queued. Raises
    ``IntegrityError`` where the same request is sent twice at once: asked again, this finds the other one.
    """
    if request is None:
        session_services.refuse_unfit(text, field="body.input", empty="Write something.")
    if existing := (yield from made_before(actor, idempotency)):
        return Submitted(existing)
    stopped: list[Turn] = []
    waits = False
    place = place or Place()
    if session_id is None:
        taken = yield from _new_session(actor, agent, place)
        parent = None
    else:
        taken = yield from _taken_session(actor, session_id)
        stopped, waits = yield from _make_room(taken, on_busy)
        parent = yield from _parent(taken.session, place)
    session = taken.session
    message = session_services.message_from_user(session=session, text=text, parent=parent)
    kept = inserted(session) if session_id is None else sessions.session_changed(session)
    turn = _turn(actor, session, message.id, idempotency, None if waits else host, request)
    batch = [kept, inserted(message), inserted(turn)]
    submitted = Submitted(turn, starts=not waits, stopped=stopped)
    return (yield from _kept(actor, batch, submitted, taken, [("user", text)], parent, ahead))


def turn_retry(
    *,
    actor: Actor,
    turn_id: UUID,
    on_busy: OnBusy = OnBusy.REJECT,
    idempotency: Idempotency | None = None,
    host: str | None = None,
    ahead: Ahead | None = None,
) -> Script[Submitted]:
    """A new turn on the same message: another try after a failure, or another answer beside the first."""
    if existing := (yield from made_before(actor, idempotency)):
        return Submitted(existing)
    earlier = yield from _turn_of(actor, turn_id)
    taken = yield from _taken_session(actor, earlier.session_id)
    stopped, waits = yield from _make_room(taken, on_busy)
    session = taken.session
    session_services.refuse_archived(session)
    session.active_message_id = earlier.input_message_id
    request = request_of(earlier.request)
    turn = _turn(actor, session, earlier.input_message_id, idempotency, None if waits else host, request)
    batch = [sessions.session_changed(session), inserted(turn)]
    submitted = Submitted(turn, starts=not waits, stopped=stopped)
    return (yield from _kept(actor, batch, submitted, taken, [], earlier.input_message_id, ahead))


def made_before(actor: Actor, idempotency: Idempotency | None) -> Script[Turn | None]:
    """The turn that the same request made, when it was sent before."""
    if idempotency is None:
        return None
    ((*rows,),) = yield [statements.made_by_key(user_id=actor.user_id, key=idempotency.key)]
    return idempotency.checked(read(Turn, rows[0])) if rows else None


@dataclass(frozen=True, slots=True)
class _Taken:
    """A session, new or locked, with its agent's model profiles; how the budgets stand that apply; id and
    state of its open turns; the rows of ``statements.last_ratio``.
    """

    session: Session
    profiles: list[ModelProfile]
    budgets: Sequence[Standing]
    open: Sequence[Row] = ()
    ratio: Sequence[Row] = ()


def _new_session(actor: Actor, agent: str | None, place: Place) -> Script[_Taken]:
    if place != Place():
        raise invalid(
            "body.session_id", "Name the session of the message that the input follows or replaces."
        )
    rows, kept = yield [sessions.agent_named(agent), budgets.some()]
    session = session_services.session_new(actor=actor, agent=sessions.agent_of(rows, agent))
    return (yield from _affordable(actor, session, kept))


def _affordable(
    actor: Actor,
    session: Session,
    kept: Sequence[Row],
    found: Sequence[Row] = (),
    ratio: Sequence[Row] = (),
) -> Script[_Taken]:
    """Raises ``budget_exceeded`` where a budget that applies has nothing left."""
    applying = yield from budgets.applied(
        kept, user_id=actor.user_id, key_id=actor.key_id, agent_id=session.agent_id
    )
    refuse_spent(applying)
    profiles = yield from sessions.profiles(session.agent)
    return _Taken(session, profiles, applying, found, ratio)


def _taken_session(actor: Actor, session_id: UUID) -> Script[_Taken]:
    taken, found, ratio, kept = yield [
        sessions.session_taken(session_id=session_id, user_id=actor.user_id),
        statements.open_turns(session_id),
        statements.last_ratio(session_id),
        budgets.some(),
    ]
    return (yield from _affordable(actor, sessions.session_of(taken), kept, found, ratio))


def _make_room(taken: _Taken, on_busy: OnBusy) -> Script[tuple[list[Turn], bool]]:
    """The open turns that were asked to stop, and whether the new one has to wait for one of them."""
    if not taken.open:
        return [], False
    if on_busy == OnBusy.REJECT:
        raise _busy("A turn is running in this session: wait for it, cancel it, or say on_busy.")
    if on_busy == OnBusy.QUEUE:
        if len(taken.open) > MOST_WAITING:
            raise _busy(f"{MOST_WAITING} turns wait in this session already: wait for them, or cancel some.")
        return [], True
    _, waiting, running = yield statements.stop_all(taken.session.id)
    stopped = [read(Turn, row) for row in (*waiting, *running)]
    yield from calls_end([turn.id for turn in stopped[: len(waiting)]])
    # Nobody is woken for these: the sweep finds them.
    yield from turns_ended([turn.id for turn in stopped])
    return stopped, bool(running)


def _parent(session: Session, place: Place) -> Script[UUID | None]:
    """The message that an input at ``place`` follows."""
    if place.after and place.replaces:
        raise invalid("body.replaces", "An input either follows a message or replaces one.")
    if place.after:
        message_id, _ = yield from _named(session, "after", "assistant", place.after)
        return message_id
    if place.replaces:
        _, parent_id = yield from _named(session, "replaces", "user", place.replaces)
        return parent_id
    return session.active_message_id


def _named(session: Session, field: str, role: str, message_id: UUID) -> Script[tuple[UUID, UUID | None]]:
    ((*rows,),) = yield [sessions.message_in(session_id=session.id, message_id=message_id, role=role)]
    if not rows:
        raise invalid(f"body.{field}", f"This session has no such message of role “{role}”.")
    return rows[0][0], rows[0][1]


def _turn(
    actor: Actor,
    session: Session,
    message_id: UUID,
    idempotency: Idempotency | None,
    host: str | None,
    request: Request | None,
) -> Turn:
    """A new turn: queued, or with ``host`` in its hands."""
    turn = fresh(
        Turn,
        tenant_id=actor.tenant_id,
        session_id=session.id,
        user_id=actor.user_id,
        api_key_id=actor.key_id,
        input_message_id=message_id,
        request=request.data() if request else None,
        **(idempotency.columns() if idempotency else {}),
    )
    if host is not None:
        turn.state = TurnState.RUNNING
        turn.lease_owner, turn.lease_expires_at = host, lease_end()
        turn.started_at, turn.attempt = timezone.now(), 1
    return turn


def _kept(
    actor: Actor,
    batch: list[Statement],
    submitted: Submitted,
    taken: _Taken,
    said: list[tuple[str, str]],
    before: UUID | None,
    ahead: Ahead | None,
) -> Script[Submitted]:
    """Keep the new rows, and read what the turn's host is told: what ends with ``before``, then ``said``."""
    turn, session = submitted.turn, taken.session
    if turn.state != TurnState.RUNNING:
        yield Last([together(*batch)])
        return submitted
    question, request = turn.input_message_id, request_of(turn.request)
    reads = [sessions.history(session_id=session.id, end=before, question=question)] if before else []
    if request is not None:  # what it says besides text is read from the turn's own row
        _, *newest = yield [together(*batch), *reads]
    else:
        newest = (yield reads) if reads else []
    conversation = yield from history.conversation(
        session_id=session.id,
        agent=session.agent,
        profiles=taken.profiles,
        newest=newest[0] if newest else (),
        question=question,
        ratio=taken.ratio,
        asked=said,
        request=request,
    )
    work = Work(
        turn_id=turn.id,
        tenant_id=turn.tenant_id,
        session_id=session.id,
        owner=turn.lease_owner,
        attempt=turn.attempt,
        submitted_at=turn.created_at,
        question=question,
        conversation=conversation,
        user=UserOfTurn(actor.user_id, actor.role, actor.key_id),
        agent_id=session.agent.id,
        agent=session.agent.slug,
        tools=session.agent.tools,
        request=request,
        budgeted=bool(taken.budgets),
    )
    if request is None:
        if ahead is not None and not work.budgeted:  # a budget is asked with the turn's row
            ahead(work)
        yield Last([together(*batch)])
    return dataclasses.replace(submitted, work=work)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A turn that was asked to stop, the one of its session whose time has come with that, and what is to be
    delivered to webhooks.
    """

    turn: Turn
    following: UUID | None = None
    deliveries: tuple[UUID, ...] = ()


def turn_cancel(*, actor: Actor, turn_id: UUID) -> Script[Cancelled]:
    """Ask a turn to stop. One that nobody took yet is cancelled at once; a running one by its host."""
    turn = yield from _turn_of(actor, turn_id)
    # First the session: what is submitted in the same moment waits for this turn, and must be found here.
    *_, waiting, running = yield [
        sessions.session_held(turn.session_id),
        *statements.stop(user_id=actor.user_id, turn_id=turn_id),
    ]
    stopped = waiting or running
    if not stopped:
        return Cancelled((yield from _turn_of(actor, turn_id)))
    turn = read(Turn, stopped[0])
    if waiting:
        yield from calls_end([turn.id])
    made = yield from turns_ended([turn.id])
    (found,) = yield [statements.open_turns(turn.session_id)]
    waits = bool(found) and all(state == TurnState.QUEUED for _, state in found)
    return Cancelled(turn, found[0][0] if waits else None, tuple(delivery_id for delivery_id, _ in made))


def _turn_of(actor: Actor, turn_id: UUID) -> Script[Turn]:
    ((*rows,),) = yield [statements.turn_of_user(user_id=actor.user_id, turn_id=turn_id)]
    if not rows:
        raise not_found("turn")
    return read(Turn, rows[0])


def _busy(sentence: str) -> SomaError:
    return SomaError(Kind.CONFLICT, "session_busy", sentence, retry_after=1)
