"""``manage.py policy_replay``: an operator asks what a changed policy would have decided."""

from __future__ import annotations

import asyncio
import io
import shutil
from dataclasses import replace

import pytest
from django.core.management import CommandError, call_command

from apps.tools.policy import judging
from apps.tools.records import decision_keep
from apps.tools.tool import Risk
from settings.registry import PROJECT_ROOT
from somaagent.background import run_coroutine
from tests import opa_server
from tests.factories import organisation, user_of
from tests.integration.policy.conftest import question

pytestmark = pytest.mark.django_db(transaction=True)
OURS = PROJECT_ROOT / "policy"
NO_SECRETS = """decision := {"effect": "deny", "reason": "It has the secret."} if {
	input.arguments.password == "open sesame"
} else := {"effect": "allow", "reason": "Yes."}
"""


def run(*arguments):
    out = io.StringIO()
    call_command("policy_replay", *arguments, stdout=out)
    return out.getvalue()


def judged(actor, **facts):
    """A call of the actor's, judged by the policy in force and kept on the record."""
    asked = question(**facts)
    caller = replace(asked.caller, tenant_id=actor.tenant_id, user_id=actor.user_id)
    asked = replace(asked, caller=caller)
    decision = run_coroutine(judging.decide(asked))
    run_coroutine(decision_keep(asked, decision, "call_1"))
    return decision


def rows(shown):
    return [line for line in shown.splitlines() if " probe " in line]


def stricter(tmp_path):
    """Our policy, for which a tool of medium risk is too much for members."""
    directory = tmp_path / "stricter"
    shutil.copytree(OURS, directory)
    text = (directory / "tools.rego").read_text()
    (directory / "tools.rego").write_text(text.replace('"member": 3', '"member": 1'))
    return directory


def test_an_operator_sees_which_calls_a_stricter_policy_would_have_denied(tmp_path):
    acme = organisation()
    judged(acme.owner)
    judged(acme.owner, risk=Risk.MEDIUM)
    judged(acme.owner, risk=Risk.HIGH)
    of_acme = ("--tenant", acme.tenant.slug)

    shown = run(*of_acme)
    assert rows(shown) == []
    assert "replayed=3 same=3 changed=0" in shown
    assert len(rows(run(*of_acme, "--all"))) == 3

    shown = run(*of_acme, "--dir", str(stricter(tmp_path)))
    high, medium = rows(shown)
    assert high.split()[2:5] == [user_of(acme.owner).username, "require_approval", "deny"]
    assert medium.split()[3:5] == ["allow", "deny"]
    assert "A member may not call tools of medium risk." in medium
    assert f"policy: {tmp_path / 'stricter'}, by regopy: sha256:" in shown
    assert "replayed=3 same=1 changed=2" in shown


def test_only_what_was_asked_for_is_replayed(tmp_path):
    acme, other = organisation("acme"), organisation("other")
    for risk in (Risk.MEDIUM, Risk.HIGH):
        judged(acme.owner, risk=risk)
    judged(other.owner, risk=Risk.HIGH)
    strict = ("--dir", str(stricter(tmp_path)))
    of_acme = ("--tenant", acme.tenant.slug)

    newest = run(*of_acme, *strict, "--limit", "1")
    assert "require_approval" in rows(newest)[0]
    assert "1 older decisions were not asked about" in newest
    assert "replayed=1 same=0 changed=1" in newest
    assert "replayed=2" in run(*of_acme, "--since", "1h")
    assert "replayed=0 same=0 changed=0" in run(*of_acme, "--since", "2999-01-01")
    everybody = run(*strict, "--since", "1h")
    for organisation_of in (acme, other):
        assert user_of(organisation_of.owner).username in everybody


def test_the_record_masks_secrets_and_the_command_says_so(policy):
    acme = organisation()
    directory = policy(NO_SECRETS)
    assert judged(acme.owner, arguments={"password": "open sesame"}).effect == "deny"

    shown = run("--tenant", acme.tenant.slug, "--dir", str(directory))
    assert rows(shown)[0].split()[3:5] == ["deny", "allow"]
    assert "The record has no secrets (they are masked)" in shown


def test_a_policy_that_has_no_answer_would_have_denied(policy):
    acme = organisation()
    policy('decision := {"effect": "allow", "reason": "Yes."}')
    judged(acme.owner)
    directory = policy('decision := {"effect": "allow", "reason": "Yes."} if input.user.role == "owner"')

    shown = run("--tenant", acme.tenant.slug, "--dir", str(directory))
    assert rows(shown)[0].split()[3:7] == ["allow", "deny", "(no", "answer)"]
    assert "replayed=1 same=0 changed=1 unanswered=1" in shown


def test_a_policy_that_cannot_be_asked_is_no_replay(policy, tmp_path):
    acme = organisation()
    of_acme = ("--tenant", acme.tenant.slug)
    with pytest.raises(CommandError, match="does not parse"):
        run(*of_acme, "--dir", str(policy("decision := {")))
    with pytest.raises(CommandError, match=r"holds no \*\.rego"):
        run(*of_acme, "--dir", str(tmp_path / "nowhere"))
    with pytest.raises(CommandError, match="There is no organisation nobody"):
        run("--tenant", "nobody")
    for wrong in (("--since", "yesterday"), ("--limit", "0")):
        with pytest.raises(CommandError, match="is no "):
            run(*of_acme, *wrong)


def test_the_opa_server_in_force_is_asked_too(settings):
    acme = organisation()
    judged(acme.owner, risk=Risk.HIGH)

    async def replayed():
        async with opa_server.serving(OURS) as url:
            settings.OPA_URL = url
            return await asyncio.to_thread(run, "--tenant", acme.tenant.slug)

    shown = asyncio.run(replayed())
    assert "policy: in force, by opa: opa:" in shown
    assert "replayed=1 same=1 changed=0" in shown
