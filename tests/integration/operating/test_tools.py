"""Owners and admins read the record of tools, and which policy is in force."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apps.tools.models import ToolCallRecord, ToolDecision
from apps.tools.policy import judging
from somaagent.background import run_coroutine
from somaagent.tenancy.models import Role
from somaagent.tenancy.scope import tenant_scope
from tests.factories import Organisation, key_of, organisation, person
from tests.integration.tenancy.town import Program

pytestmark = pytest.mark.django_db(transaction=True)
CALLS, POLICY = "/api/v1/admin/tool-calls", "/api/v1/admin/policy"


@pytest.fixture
def acme() -> Organisation:
    return organisation("acme")


@pytest.fixture
def admin(acme: Organisation) -> Program:
    return Program(key_of(person("grace", acme.tenant, Role.ADMIN)))


def recorded(of: Organisation, tool: str, outcome: str, *effects: str, **facts: Any) -> ToolCallRecord:
    """A call that came to its end, after the policy's decisions on it."""
    call_id = f"call_{tool}"
    whose = {"tenant": of.tenant, "user_id": of.owner.user_id, "call_id": call_id, "tool": tool} | facts
    with tenant_scope(of.tenant.id):
        made = None
        for effect in effects:
            made = ToolDecision.objects.create(
                **whose,
                source="built_in",
                input={"arguments": {"q": "asked of the policy"}},
                effect=effect,
                reason=f"It says {effect}.",
                policy="sha256:1",
            )
        return ToolCallRecord.objects.create(
            **whose,
            source="built_in",
            arguments={"q": "sent", "password": "••••"},
            decision_id=made.id if made else None,
            outcome=outcome,
        )


def told(by: Program, path: str, **wanted: str) -> Any:
    query = "&".join(f"{name}={value}" for name, value in wanted.items())
    answer = by.call("GET", f"{path}?{query}" if query else path)
    assert answer.status_code == 200, answer.content
    return answer.json()


def refused(by: Program, method: str, path: str, status: int) -> str:
    answer = by.call(method, path)
    assert answer.status_code == status, answer.content
    return answer.json()["code"]


def test_calls_are_read_with_how_they_were_judged(acme, admin):
    ran = recorded(acme, "post__send", "ok", "require_approval", "allow")
    unknown = recorded(acme, "no_such_tool", "refused")
    listed = told(admin, CALLS)["items"]
    assert [call["id"] for call in listed] == [str(unknown.id), str(ran.id)]
    assert listed[0]["decision"] is None
    assert listed[1]["decision"]["effect"] == "allow"
    assert "sent" not in json.dumps(listed)

    whole = told(admin, f"{CALLS}/{ran.id}")
    assert whole["arguments"] == {"q": "sent", "password": "••••"}
    assert [each["effect"] for each in whole["decisions"]] == ["allow"]
    assert whole["decision"]["reason"] == "It says allow."
    assert "asked of the policy" not in json.dumps(whole)


def test_all_decisions_on_a_call_of_a_turn_are_told(acme, admin):
    turn = ToolCallRecord().id
    call = recorded(acme, "post__send", "ok", "require_approval", "allow", turn_id=turn)
    whole = told(admin, f"{CALLS}/{call.id}")
    assert [each["effect"] for each in whole["decisions"]] == ["require_approval", "allow"]
    assert [each["id"] for each in told(admin, CALLS, turn_id=str(turn))["items"]] == [str(call.id)]


def test_calls_are_found_by_what_they_are(acme, admin):
    bob = person("bob", acme.tenant)
    first = recorded(acme, "calculator", "ok", "allow")
    second = recorded(acme, "python", "denied", "require_approval", user_id=bob.user_id)
    third = recorded(acme, "calculator", "refused", "deny")
    every = [str(third.id), str(second.id), str(first.id)]
    until = {"until": f"{second.created_at:%Y-%m-%dT%H:%M:%S.%fZ}"}
    for wanted, found in (
        ({"tool": "calculator"}, [every[0], every[2]]),
        ({"outcome": "denied"}, every[1:2]),
        ({"decision": "deny"}, every[:1]),
        ({"decision": "allow"}, every[2:]),
        ({"user_id": str(bob.user_id)}, every[1:2]),
        (until, every[2:]),
        ({"since": "2020-01-01T00:00:00Z"}, every),
        ({"tool": "nothing"}, []),
    ):
        assert [call["id"] for call in told(admin, CALLS, **wanted)["items"]] == found, wanted
    page = told(admin, CALLS, limit="2")
    assert [call["id"] for call in told(admin, CALLS, cursor=page["next"])["items"]] == every[2:]
    for wrong in ("outcome=lost", "decision=maybe", "tool=%00"):
        assert refused(admin, "GET", f"{CALLS}?{wrong}", 422) == "invalid"


def test_the_policy_in_force_is_told(acme, admin, settings, tmp_path):
    found = told(admin, POLICY)
    assert (found["answers"], found["engine"], found["source"]) == (True, "regopy", "files")
    assert found["digest"] == run_coroutine(judging.policy_of())
    assert found["loaded_at"] is not None
    assert (found["outdated"], found["failures"]["denied"]) == (False, 0)

    with tenant_scope(acme.tenant.id):
        ToolDecision.objects.create(
            tenant=acme.tenant, user_id=acme.owner.user_id, call_id="c", tool="python", source="built_in",
            input={}, effect="deny", reason="It took too long.", policy="",
        )  # fmt: skip
    failures = told(admin, POLICY)["failures"]
    assert (failures["denied"], failures["last"]["reason"]) == (1, "It took too long.")

    settings.POLICY_DIR = tmp_path / "nothing"
    found = told(admin, POLICY)
    assert (found["answers"], found["digest"], found["loaded_at"]) == (False, None, None)
    assert found["problem"].startswith("The policy of tools is missing")
    assert str(tmp_path) not in json.dumps(found)


def test_a_policy_whose_files_changed_says_so(admin, settings, tmp_path):
    (tmp_path / "tools.rego").write_text((settings.POLICY_DIR / "tools.rego").read_text())
    (tmp_path / "approvals.rego").write_text((settings.POLICY_DIR / "approvals.rego").read_text())
    settings.POLICY_DIR = tmp_path
    assert told(admin, POLICY)["outdated"] is False
    with (tmp_path / "tools.rego").open("a") as file:
        file.write("# another one\n")
    assert told(admin, POLICY)["outdated"] is True


def test_members_read_none_of_it(acme):
    call = recorded(acme, "calculator", "ok")
    member = Program(key_of(person("bob", acme.tenant)))
    for path in (CALLS, f"{CALLS}/{call.id}", POLICY):
        assert refused(member, "GET", path, 403) == "role_forbidden"


def test_another_organisations_record_is_not_there(acme, admin):
    other = organisation("other")
    strange = recorded(other, "calculator", "ok", "allow")
    assert told(admin, CALLS)["items"] == []
    assert refused(admin, "GET", f"{CALLS}/{strange.id}", 404) == "not_found"
