"""What is told of people, operators and approvals, and who may read it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.forms import model_to_dict
from django.test import Client
from django.urls import reverse

from apps.sessions.models import ModelProfile
from apps.tools.mcp.models import McpServer
from somaagent.observability import metrics
from somaagent.tenancy import services
from somaagent.tenancy.admin import ReadOnlyAdmin
from somaagent.tenancy.audit.audited import AuditedAdmin
from somaagent.tenancy.audit.models import AuditEntry
from somaagent.tenancy.models import ApiKey, Role, User
from somaagent.tenancy.scope import tenant_scope
from tests.factories import key_of, operator_client, organisation, person, user_of

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "correct horse battery staple"


def told(tenant, action=""):
    """The tenant's entries, oldest first; of one action where it is given."""
    with tenant_scope(tenant.id):
        found = AuditEntry.objects.order_by("number")
        return list(found.filter(action=action) if action else found)


def browser() -> Client:
    return Client(headers={"host": settings.ALLOWED_HOSTS[0], "X-Request-ID": "request-of-a-story"})


def member_with_password(tenant):
    actor = person("member", tenant)
    services.user_set_password(user=user_of(actor), password=PASSWORD)
    return actor


def sign_in(client: Client, name: str, password: str) -> Any:
    return client.post(reverse("account_login"), {"username": name, "password": password})


def test_signing_in_and_out_and_failing_to():
    acme = organisation()
    member = member_with_password(acme.tenant)
    client, name = browser(), user_of(member).username
    assert sign_in(client, name, "wrong password").status_code == 200
    assert sign_in(client, name, PASSWORD).status_code == 302
    client.post(reverse("sign-out"))
    changed, failed, entered, left = told(acme.tenant)
    assert (changed.action, changed.via) == ("user.password_changed", "command")
    assert (failed.action, failed.user_id, failed.target_id) == (
        "user.sign_in_failed",
        None,
        str(member.user_id),
    )
    assert (entered.action, entered.user_id) == ("user.signed_in", member.user_id)
    assert (left.action, left.user_id) == ("user.signed_out", member.user_id)
    assert {failed.request_id, entered.request_id, left.request_id} == {"request-of-a-story"}
    assert not any(PASSWORD in one.facts_text or "wrong" in one.facts_text for one in told(acme.tenant))


def test_who_belongs_to_no_tenant_is_in_the_log_and_counted():
    before = metrics.AUDIT_WITHOUT_TENANT._value.get()
    assert sign_in(browser(), "nobody of this name", PASSWORD).status_code == 200
    stranger = User.objects.create(username="stranger-of-the-audit", password="!")
    services.user_set_password(user=stranger, password=PASSWORD)
    assert metrics.AUDIT_WITHOUT_TENANT._value.get() == before + 2


def test_every_form_of_the_admin_tells_what_is_done_in_it():
    ours = [
        found for model, found in admin.site._registry.items() if not model.__module__.startswith("django.")
    ]
    silent = [type(found).__name__ for found in ours if not isinstance(found, AuditedAdmin | ReadOnlyAdmin)]
    assert ours
    assert silent == []


def form_of(row: Any, **facts: Any) -> dict[str, Any]:
    return {
        name: value for name, value in model_to_dict(row).items() if value is not None and value is not False
    } | facts


def test_an_operator_changes_a_model_profile():
    acme = organisation()
    operator = operator_client(acme.owner)
    with tenant_scope(acme.tenant.id):
        profile = ModelProfile.objects.get()
    where = reverse("admin:agent_sessions_modelprofile_change", args=[profile.pk])
    form = form_of(profile, model="another-model", own_api_key="key-of-a-model-123456")
    answer = operator.post(where, form)
    assert answer.status_code == 302, answer.context_data["adminform"].errors
    (entry,) = told(acme.tenant, "model_profile.changed")
    assert (entry.user_id, entry.via, entry.target_id) == (acme.owner.user_id, "admin", str(profile.pk))
    assert entry.facts["values"]["model"] == {"from": "scripted", "to": "another-model"}
    assert "own_api_key" in entry.facts["values"]
    assert "key-of-a-model" not in entry.facts_text


def test_an_operator_adds_an_mcp_server_and_deletes_it():
    acme = organisation()
    operator = operator_client(acme.owner)
    facts = {"slug": "tools", "name": "Tools", "url": "https://mcp.example.org/mcp"}
    made = operator.post(
        reverse("admin:tools_mcpserver_add"), form_of(McpServer(tenant_id=acme.tenant.id), **facts)
    )
    assert made.status_code == 302, made.content.decode()
    with tenant_scope(acme.tenant.id):
        server = McpServer.objects.get()
    gone = operator.post(reverse("admin:tools_mcpserver_delete", args=[server.pk]), {"post": "yes"})
    assert gone.status_code == 302
    (created,), (deleted,) = told(acme.tenant, "mcp_server.created"), told(acme.tenant, "mcp_server.deleted")
    assert created.facts["values"]["url"]["to"] == facts["url"]
    assert (created.target_id, deleted.target_id) == (str(server.pk), str(server.pk))


def test_an_operator_makes_and_revokes_a_key_which_is_told_once_each():
    acme = organisation()
    operator = operator_client(acme.owner)
    add = {"user": str(acme.owner.user_id), "name": "robot", "scopes": ["read"]}
    made = operator.post(reverse("admin:tenancy_apikey_add"), add)
    assert made.status_code == 302, made.content.decode()
    with tenant_scope(acme.tenant.id):
        key = ApiKey.objects.get()
    chosen = {"action": "revoke", "_selected_action": [str(key.pk)], "confirmed": "yes"}
    operator.post(reverse("admin:tenancy_apikey_changelist"), chosen)
    keys = [(one.action, one.user_id) for one in told(acme.tenant) if one.action.startswith("api_key.")]
    assert keys == [("api_key.created", acme.owner.user_id), ("api_key.revoked", acme.owner.user_id)]


def test_an_operator_gives_a_member_another_password():
    acme = organisation()
    operator, member = operator_client(acme.owner), person("member", acme.tenant)
    given = operator.post(
        reverse("admin:auth_user_password_change", args=[member.user_id]),
        {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"},
    )
    assert given.status_code == 302, given.content.decode()
    (entry,) = told(acme.tenant, "user.changed")
    assert (entry.target_id, entry.user_id) == (str(member.user_id), acme.owner.user_id)
    assert PASSWORD not in entry.facts_text


def test_the_operators_list_is_searched():
    acme = organisation()
    operator = operator_client(acme.owner)
    key_of(acme.owner)
    where = reverse("admin:tenancy_auditentry_changelist")
    assert "api_key.created" in operator.get(where, {"q": "api_key"}).content.decode()
    (entry,) = told(acme.tenant, "api_key.created")
    page = operator.get(reverse("admin:tenancy_auditentry_change", args=[entry.pk])).content.decode()
    assert bytes(entry.digest).hex() in page
    assert operator.get(where, {"action": "api_key.created", "q": "nothing of it"}).status_code == 200


def asked(key: str, **query: Any) -> Any:
    client = Client(headers={"host": settings.ALLOWED_HOSTS[0], "authorization": f"Bearer {key}"})
    return client.get("/api/v1/audit", query)


def test_owners_and_admins_read_the_audit_by_pages_and_filters():
    acme = organisation()
    key, robot = key_of(acme.owner), key_of(person("admin", acme.tenant, Role.ADMIN))
    with tenant_scope(acme.tenant.id):
        second = ApiKey.objects.order_by("-id").values_list("id", flat=True)[0]
    services.api_key_revoke(actor=acme.owner, key_id=second)
    assert asked(robot).status_code == 401
    first = asked(key, limit=2).json()
    assert [one["number"] for one in first["items"]] == [3, 2]
    last = asked(key, limit=2, cursor=first["next"]).json()
    assert [one["number"] for one in last["items"]] == [1]
    assert last["next"] is None
    assert len(last["items"][0]["digest"]) == 64

    def numbers(**query: Any) -> list[int]:
        return [one["number"] for one in asked(key, **query).json()["items"]]

    assert numbers(action="api_key.revoked") == [3]
    assert numbers(action="api_key.*") == [3, 2, 1]
    assert numbers(user_id=str(acme.owner.user_id)) == [3]
    assert numbers(target_type="api_key", target_id=str(second)) == [3, 2]
    at = first["items"][1]["created_at"]
    assert numbers(since=at) == [3, 2]
    assert numbers(until=at) == [1]
    assert asked(key, since="yesterday").status_code == 422


def test_members_viewers_and_other_organisations_do_not():
    acme, other = organisation("acme"), organisation("other")
    for role in (Role.MEMBER, Role.VIEWER):
        refused = asked(key_of(person("somebody", acme.tenant, role)))
        assert (refused.status_code, refused.json()["code"]) == (403, "role_missing")
    theirs = asked(key_of(other.owner)).json()
    assert [one["action"] for one in theirs["items"]] == ["api_key.created"]
    assert json.dumps(theirs).count(str(acme.owner.user_id)) == 0
