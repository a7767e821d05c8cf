"""Operators look for people, shut them out, and help them in again, over the API."""

from __future__ import annotations

import functools

import pytest
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth.models import Permission
from django.db import transaction
from django.test import Client
from django.urls import reverse

from somaagent.tenancy import services, users
from somaagent.tenancy.models import Role, User
from somaagent.tenancy.operators import Operator
from tests.factories import at_once, key_of, operator_client, organisation, person, user_of
from tests.integration.tenancy.town import Program

from .conftest import EVERYTHING, refusal, told

pytestmark = pytest.mark.django_db(transaction=True)
USERS = "/api/v1/admin/users"
PASSWORD = "correct horse battery staple"
DEEDS = ("suspend", "resume", "end-sessions", "one-time-password")


def of(actor, rest=""):
    return f"{USERS}/{actor.user_id}{rest}"


def signed_in(actor, password=PASSWORD):
    """A browser in which somebody has signed in with a password."""
    browser = Client(headers={"host": settings.ALLOWED_HOSTS[0]})
    answer = browser.post(
        reverse("account_login"), {"username": user_of(actor).username, "password": password}
    )
    assert answer.status_code == 302, answer.content
    return browser


@pytest.fixture
def member(acme):
    made = person("member", acme.tenant)
    services.user_set_password(user=user_of(made), password=PASSWORD)
    return made


def test_people_are_searched_and_told_of_as_far_as_an_operator_may_know(operator, acme, member):
    other = organisation("other")
    services.membership_create(tenant=other.tenant, user=user_of(member), role=Role.ADMIN)
    name = user_of(member).username
    page = operator.program.call("GET", f"{USERS}?search={name.upper()}&state=active&operator=false").json()
    (found,) = page["items"]
    assert (found["username"], found["active"], found["operator"]) == (name, True, False)
    assert "password" not in found
    assert operator.program.call("GET", f"{USERS}?search={name}&state=suspended").json()["items"] == []
    signed_in(member)
    known = operator.program.call("GET", of(member)).json()
    assert [each["id"] for each in known["tenants"]] == [str(acme.tenant.id), str(other.tenant.id)]
    assert "role" not in known["tenants"][0]
    assert known["browser_sessions"] == 1


def test_who_is_suspended_is_out_everywhere_until_they_are_resumed(operator, acme, member):
    key, browser = Program(key_of(member)), signed_in(member)
    suspended = operator.program.call("POST", of(member, "/suspend"))
    assert suspended.json()["active"] is False
    assert refusal(key.call("GET", "/api/v1/sessions"), 401) == "credential_refused"
    assert browser.get("/api/v1/sessions").status_code == 401
    assert operator.program.call("POST", of(member, "/suspend")).status_code == 200
    assert operator.program.call("POST", of(member, "/resume")).json()["active"] is True
    assert key.call("GET", "/api/v1/sessions").status_code == 200
    (entry,) = told(acme.tenant, "user.suspended")
    assert (entry.user_id, entry.target_id) == (operator.actor.user_id, str(member.user_id))
    assert len(told(acme.tenant, "user.resumed")) == 1


def test_every_browser_is_signed_out_and_keys_go_on(operator, acme, member):
    key, browsers = Program(key_of(member)), [signed_in(member) for _ in range(2)]
    assert all(each.get("/api/v1/sessions").status_code == 200 for each in browsers)
    assert operator.program.call("POST", of(member, "/end-sessions")).json() == {"ended": 2}
    assert all(each.get("/api/v1/sessions").status_code == 401 for each in browsers)
    assert key.call("GET", "/api/v1/sessions").status_code == 200
    assert not UserSession.objects.filter(user_id=member.user_id).exists()
    (entry,) = told(acme.tenant, "user.sessions_ended")
    assert entry.facts["sessions"] == 2


def test_a_one_time_password_is_shown_once_and_good_for_choosing_another(operator, acme, member):
    before = signed_in(member)
    password = operator.program.call("POST", of(member, "/one-time-password")).json()["password"]
    assert before.get("/api/v1/sessions").status_code == 401
    browser = signed_in(member, password)
    assert browser.get("/api/v1/sessions").status_code == 401
    assert browser.get(reverse("own-password")).status_code == 200
    entry = told(acme.tenant, "user.password_changed")[-1]
    assert (entry.user_id, entry.facts) == (operator.actor.user_id, {"as_operator": True, "one_time": True})
    assert operator.program.call("GET", of(member)).json()["password_is_one_time"] is True


@pytest.mark.parametrize("deed", DEEDS)
def test_nobody_does_it_to_themself(operator, deed):
    operator_client(organisation("another").owner)
    assert refusal(operator.program.call("POST", of(operator.actor, f"/{deed}")), 409) == "oneself"
    assert operator.program.call("GET", USERS).status_code == 200


def test_who_may_do_less_does_not_do_it_to_who_may_do_more(operator, acme):
    helper = person("helper", acme.tenant)
    user = user_of(helper)
    user.is_staff = True
    user.save()
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "change_user"]))
    program = Program(key_of(helper, scopes=EVERYTHING))
    assert program.call("GET", of(operator.actor)).status_code == 200
    for deed in DEEDS:
        assert refusal(program.call("POST", of(operator.actor, f"/{deed}")), 403) == "operator_only"
    assert program.call("POST", of(acme.owner, "/suspend")).status_code == 200
    assert refusal(program.call("GET", "/api/v1/admin/tenants"), 403) == "operator_only"


def test_of_two_operators_who_suspend_each_other_one_is_left(operator):
    other = organisation("platform")
    operator_client(other.owner)
    pair = [(operator.actor, other.owner), (other.owner, operator.actor)]

    def suspend(who, whom):
        by = Operator(user_of(who), "api_key", who.tenant_id)
        users.user_suspend(operator=by, user_id=whom.user_id)

    outcomes = at_once(*(functools.partial(suspend, who, whom) for who, whom in pair))
    assert sorted(outcomes) == ["done", "suspended_meanwhile"]


def test_it_takes_the_scope_and_an_operator(operator, acme, member):
    assert refusal(Program(key_of(operator.actor)).call("GET", USERS), 403) == "scope_missing"
    owner = Program(key_of(acme.owner, scopes=EVERYTHING))
    for deed in DEEDS:
        assert refusal(owner.call("POST", of(member, f"/{deed}")), 403) == "operator_only"


def test_the_last_operator_is_told_that_nobody_would_be_left(operator, acme):
    """In a transaction that is given back: every other story's operators are suspended in it."""
    with transaction.atomic():
        User.objects.filter(is_staff=True).exclude(pk=operator.actor.user_id).update(is_active=False)
        refused = operator.program.call("POST", of(operator.actor, "/suspend"))
        assert refusal(refused, 409) == "last_operator"
        transaction.set_rollback(True)
