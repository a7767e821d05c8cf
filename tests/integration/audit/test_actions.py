"""Every action that the audit knows is done here, or in a story that is named, and each is in the list."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.urls import reverse

from apps.chat.schedules.models import Schedule
from somaagent.tenancy import services
from somaagent.tenancy.audit.actions import ACTIONS, table
from somaagent.tenancy.audit.audited import AuditedAdmin, kind_of
from somaagent.tenancy.audit.chain import verified
from somaagent.tenancy.audit.models import AuditEntry
from somaagent.tenancy.members import member_change, member_remove
from somaagent.tenancy.models import Membership
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, key_of, operator_client, organisation, person, user_of
from tests.integration.tenancy.town import Program
from tests.stack import PROJECT_ROOT

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "correct horse battery staple"
# Done where a browser, a provider or a model is at hand; these stories look at the audit.
ELSEWHERE = {
    "user.created": "tests/journeys/test_identity_providers.py",
    "user.account_merged": "tests/journeys/test_identity_providers.py",
    "user.sessions_ended": "tests/integration/accounts/test_sessions.py",
    "user.tenant_chosen": "tests/integration/accounts/test_organisations.py",
    "membership.created": "tests/journeys/test_identity_providers.py",
    "user.second_factor_added": "tests/journeys/test_second_factor.py",
    "user.second_factor_removed": "tests/journeys/test_second_factor.py",
    "user.second_factor_renewed": "tests/journeys/test_second_factor.py",
    "approval.answered": "tests/integration/tools/test_approvals.py",
    "turn.cancelled": "tests/integration/admin/test_turns.py",
    "turn.retried": "tests/integration/admin/test_turns.py",
    "turn.handed_over": "tests/integration/admin/test_turns.py",
    "mcp_server.checked": "tests/integration/mcp/test_overseeing.py",
    "breaker.closed": "tests/integration/chat/test_provider_faults.py",
    "user.suspended": "tests/integration/operating/test_users.py",
    "user.resumed": "tests/integration/operating/test_users.py",
    "agent.created": "tests/integration/operating/test_answering.py",
    "agent.changed": "tests/integration/operating/test_answering.py",
    "agent.deleted": "tests/integration/operating/test_answering.py",
    "model_profile.created": "tests/integration/operating/test_answering.py",
    "model_profile.changed": "tests/integration/operating/test_answering.py",
    "model_profile.deleted": "tests/integration/operating/test_answering.py",
    "budget.created": "tests/integration/operating/test_budgets.py",
    "budget.changed": "tests/integration/operating/test_budgets.py",
    "budget.deleted": "tests/integration/operating/test_budgets.py",
    "tenant.created": "tests/integration/operating/test_tenants.py",
    "tenant.changed": "tests/integration/operating/test_tenants.py",
    "tenant.suspended": "tests/integration/operating/test_tenants.py",
    "tenant.resumed": "tests/integration/operating/test_tenants.py",
    "tenant.imported": "tests/integration/portable/test_moving.py",
    "tenant.erased": "tests/integration/portable/test_erasure.py",
}
# How sources write an action: whole, or with a name in it that is given to them.
_WRITTEN = re.compile(r'action=f?"([a-z_]+\.(?:[a-z_]+|\{\w+\}))"')


@dataclass
class Scene:
    """An organisation whose owner does things, by a program and by the admin."""

    acme: Organisation
    folder: Path
    program: Program = field(init=False)

    def __post_init__(self) -> None:
        self.program = Program(key_of(self.acme.owner))

    def colleague(self) -> Membership:
        found = person("colleague", self.acme.tenant)
        with tenant_scope(self.acme.tenant.id):
            return Membership.objects.get(user_id=found.user_id)

    def admin(self, model: str, **form: Any) -> None:
        done = operator_client(self.acme.owner).post(reverse(f"admin:{model}_changelist"), form)
        assert done.status_code == 302, done.content.decode()

    def browser(self, password: str) -> Client:
        user = user_of(self.acme.owner)
        services.user_set_password(user=user, password=PASSWORD)
        client = Client(headers={"host": settings.ALLOWED_HOSTS[0]})
        client.post(reverse("account_login"), {"username": user.username, "password": password})
        return client

    def invited(self) -> dict[str, Any]:
        made: dict[str, Any] = self.program.made("/api/v1/invitations", {"role": "viewer"})
        return made

    def webhook(self, then: str = "", path: str = "", body: Any = None) -> None:
        made = self.program.made("/api/v1/webhooks", {"url": "https://receiver.example/hook?key=of-theirs"})
        if then:
            ok(self.program.call(then, f"/api/v1/webhooks/{made['id']}{path}", body))

    def schedule(self, then: str = "", body: Any = None) -> str:
        asked = {"prompt": "Anything new at Initech?", "cron": "0 7 * * *", "time_zone": "UTC"}
        made: str = self.program.made("/api/v1/schedules", asked)["id"]
        if then:
            ok(self.program.call(then, f"/api/v1/schedules/{made}", body))
        return made

    def schedule_by_operator(self, *acts: str) -> None:
        chosen = self.schedule()
        for act in acts:
            self.admin("chat_schedule", action=act, _selected_action=[chosen])
        with tenant_scope(self.acme.tenant.id):
            assert Schedule.objects.filter(id=chosen).exists()


def ok(answer: Any) -> Any:
    assert answer.status_code < 300, answer.content
    return answer


def _role(scene: Scene) -> None:
    with tenant_scope(scene.acme.tenant.id):
        member_change(actor=scene.acme.owner, member_id=scene.colleague().id, role="viewer")


def _removed(scene: Scene) -> None:
    with tenant_scope(scene.acme.tenant.id):
        member_remove(actor=scene.acme.owner, member_id=scene.colleague().id)


def _revoked_invitation(scene: Scene) -> None:
    ok(scene.program.call("DELETE", f"/api/v1/invitations/{scene.invited()['id']}"))


def _accepted(scene: Scene) -> None:
    guest = Program(key_of(organisation("other").owner))
    ok(guest.call("POST", "/api/v1/invitations/accept", {"token": scene.invited()["token"]}))


def _revoked_key(scene: Scene) -> None:
    made = scene.program.made("/api/v1/api-keys", {"name": "another"})
    ok(scene.program.call("DELETE", f"/api/v1/api-keys/{made['id']}"))


def _exported(scene: Scene) -> None:
    call_command("tenant", "export", scene.acme.tenant.slug, str(scene.folder / "acme.zip"))


DOERS: dict[str, Callable[[Scene], object]] = {
    "user.signed_in": lambda scene: scene.browser(PASSWORD),
    "user.signed_out": lambda scene: scene.browser(PASSWORD).post(reverse("sign-out")),
    "user.sign_in_failed": lambda scene: scene.browser("another's password"),
    "user.password_changed": lambda scene: scene.browser(PASSWORD),
    "membership.changed": _role,
    "membership.deleted": _removed,
    "invitation.created": lambda scene: scene.invited(),
    "invitation.revoked": _revoked_invitation,
    "invitation.accepted": _accepted,
    "api_key.created": lambda scene: scene.program,
    "api_key.revoked": _revoked_key,
    "webhook.created": lambda scene: scene.webhook(),
    "webhook.changed": lambda scene: scene.webhook("PATCH", "", {"enabled": False}),
    "webhook.secret_rotated": lambda scene: scene.webhook("POST", "/rotate-secret"),
    "webhook.deleted": lambda scene: scene.webhook("DELETE"),
    "schedule.created": lambda scene: scene.schedule(),
    "schedule.changed": lambda scene: scene.schedule("PATCH", {"prompt": "And now?", "enabled": False}),
    "schedule.deleted": lambda scene: scene.schedule("DELETE"),
    "schedule.paused": lambda scene: scene.schedule_by_operator("pause"),
    "schedule.resumed": lambda scene: scene.schedule_by_operator("pause", "resume"),
    "schedule.begun": lambda scene: scene.schedule_by_operator("run"),
    "tenant.exported": _exported,
}


def told(acme: Organisation, action: str) -> list[AuditEntry]:
    with tenant_scope(acme.tenant.id):
        return list(AuditEntry.objects.filter(action=action).order_by("number"))


@pytest.mark.parametrize("action", DOERS)
def test_what_is_done_is_told_once_and_without_what_is_nobody_else_s(action, tmp_path):
    acme = organisation()
    DOERS[action](Scene(acme, tmp_path))
    (entry,) = told(acme, action)
    assert entry.target_type == action.partition(".")[0]
    assert entry.target_id
    assert entry.via in {"browser", "api_key", "admin", "command"}
    secret = (PASSWORD, "another's password", "of-theirs", "Initech", "And now?", "inv_", "whsec_")
    assert not any(text in entry.facts_text for text in secret)
    with tenant_scope(acme.tenant.id):
        assert verified(acme.tenant.id).fault == ""


def test_who_did_it_and_what_was_there_before():
    acme = organisation()
    colleague = Scene(acme, Path()).colleague()
    with tenant_scope(acme.tenant.id):
        member_change(actor=acme.owner, member_id=colleague.id, role="admin")
        member_change(actor=acme.owner, member_id=colleague.id, role="admin")
    (entry,) = told(acme, "membership.changed")
    assert (entry.user_id, entry.target_id) == (acme.owner.user_id, str(colleague.id))
    assert entry.facts == {"user": str(colleague.user_id), "role": {"from": "member", "to": "admin"}}


def test_what_comes_to_nothing_is_not_told(tmp_path):
    acme = organisation()
    scene = Scene(acme, tmp_path)
    invitation = scene.invited()
    for _ in range(2):
        ok(scene.program.call("DELETE", f"/api/v1/invitations/{invitation['id']}"))
    assert len(told(acme, "invitation.revoked")) == 1
    scene.schedule("PATCH", {"enabled": True})
    assert told(acme, "schedule.changed") == []


def test_a_disabled_user_who_tries_is_told_of_where_they_belong(tmp_path):
    acme = organisation()
    user = user_of(acme.owner)
    user.is_active = False
    user.save()
    Scene(acme, tmp_path).browser(PASSWORD)
    (failed,) = told(acme, "user.sign_in_failed")
    assert (failed.user_id, failed.target_id) == (None, str(user.pk))


def test_the_list_is_what_the_sources_tell_and_what_is_done():
    """An action that is missing from ``audit.actions``, or is told nowhere, is named here.

    A new one: a line there, and one in ``DOERS``, or in ``ELSEWHERE`` with the story that looks for it.
    """
    patterns = {
        found
        for folder in ("apps", "somaagent")
        for path in Path(PROJECT_ROOT, folder).rglob("*.py")
        for found in _WRITTEN.findall(path.read_text())
    }
    expected = {pattern: re.compile(re.sub(r"\{\w+\}", "[a-z_]+", pattern)) for pattern in patterns}
    unknown = {name for name, found in expected.items() if not any(map(found.fullmatch, ACTIONS))}
    untold = {name for name in ACTIONS if not any(found.fullmatch(name) for found in expected.values())}
    assert (unknown, untold) == (set(), set())
    assert {*DOERS, *ELSEWHERE} == set(ACTIONS)
    assert not DOERS.keys() & ELSEWHERE.keys()
    for name, story in ELSEWHERE.items():
        assert name in (PROJECT_ROOT / story).read_text(), f"{story} does not look for {name}."


def test_the_operators_documents_list_every_action_and_every_form():
    document = (PROJECT_ROOT / "docs/operations.md").read_text()
    assert table() in document
    acme = organisation()
    asking: Any = RequestFactory().get("/admin/")
    asking.user, asking.actor = user_of(acme.owner), acme.owner
    asking.user.is_staff = asking.user.is_superuser = True
    forms = {
        kind_of(model())
        for model, form in admin.site._registry.items()
        if isinstance(form, AuditedAdmin)
        and (form.has_change_permission(asking) or form.has_delete_permission(asking))
    }
    (listed,) = re.findall(r"Kinds of the admin's forms: (.+)\.", document)
    assert set(re.findall(r"`(\w+)`", listed)) == forms
