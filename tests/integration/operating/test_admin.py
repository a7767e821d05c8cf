"""The admin asks on a page of its own, then does it, and tells of it."""

from __future__ import annotations

import re

import pytest
from django.db import transaction
from django.urls import reverse

from somaagent.tenancy.models import ApiKey, Tenant, User
from somaagent.tenancy.scope import tenant_scope
from tests.factories import key_of, operator_client, organisation, person, user_of
from tests.integration.tenancy.town import Program

from .conftest import told

pytestmark = pytest.mark.django_db(transaction=True)
TENANTS, USERS = reverse("admin:tenancy_tenant_changelist"), reverse("admin:tenancy_user_changelist")
YES = {"confirmed": "yes"}


def here(path, row, deed=""):
    """The page of a row, or of something that is done to it."""
    return f"{path}{row.pk}/{deed or 'change'}{'/' if not deed else ''}"


def done(browser, path, row, deed):
    """What a deed's page asks, and what is answered once somebody said yes."""
    where = next(
        found
        for found in re.findall(r'href="([^"]+)"', browser.get(here(path, row)).content.decode())
        if found.rstrip("/").endswith(deed)
    )
    asked = browser.get(where)
    assert asked.status_code == 200
    return asked, browser.post(where, YES, follow=True)


def test_a_tenant_is_suspended_and_resumed_by_a_page_that_asks_first(operator, acme):
    key = Program(key_of(acme.owner))
    chosen = {"action": "suspend", "_selected_action": [str(acme.tenant.pk)]}
    asked = operator.browser.post(TENANTS, chosen)
    assert "Suspend these tenants?" in asked.content.decode()
    assert str(acme.tenant.pk) in asked.content.decode()
    assert key.call("GET", "/api/v1/sessions").status_code == 200
    answered = operator.browser.post(TENANTS, chosen | YES, follow=True)
    assert "is suspended." in answered.content.decode()
    assert key.call("GET", "/api/v1/sessions").status_code == 401
    asked, answered = done(operator.browser, TENANTS, acme.tenant, "resume_this")
    assert "Resume these tenants?" in asked.content.decode()
    assert key.call("GET", "/api/v1/sessions").status_code == 200
    (entry,) = told(acme.tenant, "tenant.suspended")
    assert (entry.user_id, entry.via) == (operator.actor.user_id, "admin")
    assert len(told(acme.tenant, "tenant.resumed")) == 1


def test_one_s_own_is_told_why_not(operator):
    _, answered = done(operator.browser, TENANTS, operator.home.tenant, "suspend_this")
    assert "Your own credential is of this tenant" in answered.content.decode()
    assert Tenant.objects.get(pk=operator.home.tenant.pk).suspended_at is None


def test_a_tenant_is_made_changed_and_its_owner_invited(operator, acme):
    slug = f"new-{acme.tenant.slug}"
    made = operator.browser.post(
        reverse("admin:tenancy_tenant_add"), {"name": "New", "slug": slug}, follow=True
    )
    assert "Nobody can enter New yet" in made.content.decode()
    tenant = Tenant.objects.get(slug=slug)
    _, shown = done(operator.browser, TENANTS, tenant, "invite_owner")
    token = re.search(r"inv_[\w-]+", shown.content.decode())
    assert token is not None
    assert "no-store" in shown["Cache-Control"]
    ada = Program(key_of(person("ada", acme.tenant)))
    assert ada.made("/api/v1/invitations/accept", {"token": token[0]})["role"] == "owner"
    assert "invite_owner" not in operator.browser.get(here(TENANTS, tenant)).content.decode()
    form = {"name": "Newer", "slug": "taken", "requests_per_minute": "60", "suspended_at_0": "2026-01-01"}
    assert operator.browser.post(here(TENANTS, tenant), form).status_code == 302
    tenant.refresh_from_db()
    assert (tenant.name, tenant.slug, tenant.suspended_at) == ("Newer", slug, None)
    assert len(told(tenant, "tenant.created")) == len(told(tenant, "tenant.changed")) == 1
    assert told(operator.home.tenant, "tenant.changed") == []


def test_a_user_is_suspended_resumed_signed_out_and_helped_in(operator, acme):
    member = user_of(person("member", acme.tenant))
    for deed, said in (
        ("suspend_this", "is suspended."),
        ("resume_this", "is active."),
        ("end-sessions", "was signed out of 0 browsers."),
    ):
        _, answered = done(operator.browser, USERS, member, deed)
        assert said in answered.content.decode()
    _, shown = done(operator.browser, USERS, member, "one-time-password")
    password = re.search(r'id="secret"[^>]*>([^<]+)<', shown.content.decode())
    assert password is not None
    member.refresh_from_db()
    assert member.check_password(password[1])
    assert member.password_is_one_time
    page = operator.browser.get(here(USERS, member)).content.decode()
    assert password[1] not in page
    assert acme.tenant.name in page
    for action in ("suspended", "resumed", "sessions_ended", "password_changed"):
        (entry,) = told(acme.tenant, f"user.{action}")
        assert (entry.user_id, entry.via) == (operator.actor.user_id, "admin")


def test_an_operator_has_no_such_buttons_for_themself_and_is_refused_in_the_list(operator):
    operator_client(organisation("platform").owner)
    page = operator.browser.get(here(USERS, user_of(operator.actor))).content.decode()
    assert "suspend_this" not in page
    chosen = {"action": "suspend", "_selected_action": [str(operator.actor.user_id)]}
    answered = operator.browser.post(USERS, chosen | YES, follow=True)
    assert "This is you" in answered.content.decode()
    assert user_of(operator.actor).is_active


def test_the_last_operator_stays_one(operator):
    """In a transaction that is given back: every other story's operators are suspended in it."""
    where = here(USERS, user_of(operator.actor))
    form = {"username": user_of(operator.actor).username, "is_staff": "on"}
    with transaction.atomic():
        User.objects.filter(is_staff=True).exclude(pk=operator.actor.user_id).update(is_active=False)
        with tenant_scope(operator.home.tenant.id):
            answered = operator.browser.post(where, form | _inline(operator))
        assert "No other operator would be left" in answered.content.decode()
        transaction.set_rollback(True)
    assert user_of(operator.actor).is_superuser


def _inline(operator):
    with tenant_scope(operator.home.tenant.id):
        membership = user_of(operator.actor).memberships.get()
    return {
        "memberships-TOTAL_FORMS": "1",
        "memberships-INITIAL_FORMS": "1",
        "memberships-0-id": str(membership.pk),
        "memberships-0-user": str(operator.actor.user_id),
        "memberships-0-role": membership.role,
    }


def test_operators_are_not_deleted(operator):
    other = user_of(person("operator", organisation("platform").tenant))
    other.is_staff = True
    other.save()
    assert operator.browser.post(f"{USERS}{other.pk}/delete/", {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [str(other.pk)], "post": "yes"}
    assert operator.browser.post(USERS, chosen).status_code == 403
    assert User.objects.filter(pk=other.pk).exists()


def test_keys_are_revoked_by_a_page_that_asks_first(operator):
    program = Program(key_of(operator.actor))
    with tenant_scope(operator.home.tenant.id):
        key = ApiKey.objects.latest("id")
    where = reverse("admin:tenancy_apikey_changelist")
    asked, answered = done(operator.browser, where, key, "revoke_this")
    assert "Revoke these API keys?" in asked.content.decode()
    assert "is revoked." in answered.content.decode()
    assert program.call("GET", "/api/v1/sessions").status_code == 401


def test_budgets_show_how_they_stand(operator):
    made = operator.program.made(
        "/api/v1/admin/budgets",
        {"name": "Pocket money", "covers": "tenant", "measure": "tokens", "period": "day", "amount": "0"},
    )
    listed = operator.browser.get(reverse("admin:tenancy_budget_changelist")).content.decode()
    assert "used up" in listed
    page = operator.browser.get(reverse("admin:tenancy_budget_change", args=[made["id"]])).content.decode()
    assert "Begins anew" in page
    assert "the whole tenant" in page
