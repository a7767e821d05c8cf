"""The policy that judges calls of tools, by the engine beside this process."""

import asyncio
import json
import math
import os
import re

import pytest

from apps.tools.policy import judging, sources, trials
from apps.tools.policy.failures import PolicyError
from apps.tools.policy.inputs import Approval, Effect
from apps.tools.policy.judging import Approver, decide, decide_data, may_approve
from apps.tools.tool import Risk
from somaagent.observability import metrics
from somaagent.tenancy.fields import uuid7
from tests.integration.policy.conftest import question
from tests.stack import PROJECT_ROOT

ALLOW = 'decision := {"effect": "allow", "reason": "Yes."}'


async def test_a_members_calls_are_judged_by_their_risk_and_what_was_read_before():
    member = uuid7()
    low = await decide(question(user=member))
    reaching_out = question(user=member, risk=Risk.MEDIUM, labels=frozenset({"private", "untrusted"}))
    asked = await decide(reaching_out)
    high = await decide(question(user=member, risk=Risk.HIGH))
    approved = await decide(question(user=member, risk=Risk.HIGH, approval=Approval(uuid7(), "admin")))
    viewer = await decide(question(role="viewer", risk=Risk.MEDIUM))
    tireless = await decide(question(user=member, calls=100))

    assert low.effect is Effect.ALLOW
    assert (asked.effect, "could carry data out" in asked.reason) == (Effect.REQUIRE_APPROVAL, True)
    assert high.effect is Effect.REQUIRE_APPROVAL
    assert approved.effect is Effect.ALLOW
    assert (viewer.effect, viewer.reason) == (Effect.DENY, "A viewer may not call tools of medium risk.")
    assert (tireless.effect, "100 calls" in tireless.reason) == (Effect.DENY, True)
    assert low.policy == high.policy
    assert low.policy.startswith("sha256:")
    assert low.id.version == 7
    assert low.id != high.id


async def test_what_the_document_says_of_the_input_is_what_a_policy_is_asked_with():
    document = (PROJECT_ROOT / "docs/policy.md").read_text()
    table = document.partition("## Input")[2].partition("## Answer")[0]
    told = set()
    for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE):
        first, *others = re.findall(r"`([a-z_.]+)`", row)
        parent = first.partition(".")[0]
        told |= {first, *(parent + other if other.startswith(".") else other for other in others)}

    asked = question().data()
    groups = {name for name, value in asked.items() if isinstance(value, dict)} - {"arguments"}
    fields = {f"{group}.{name}" for group in groups for name in asked[group]}

    assert told == fields | asked.keys() - groups


async def test_a_user_approves_their_own_calls_and_an_admin_those_of_everybody():
    member, other = uuid7(), uuid7()
    call = question(user=member, risk=Risk.HIGH)

    assert (await may_approve(call, Approver(member, "member")))[0] is True
    assert (await may_approve(call, Approver(other, "admin")))[0] is True
    assert (await may_approve(call, Approver(other, "owner")))[0] is True
    allowed, reason = await may_approve(call, Approver(other, "member"))
    assert not allowed
    assert reason.startswith("Only the user of this turn")
    assert (await may_approve(question(user=member, role="viewer"), Approver(member, "viewer")))[0] is False


async def test_the_policys_own_tests_pass(settings):
    tried = list(trials.run(sources.read(settings.POLICY_DIR)))

    assert len(tried) >= 28
    assert not [trial for trial in tried if trial.problem]


async def test_a_recorded_question_is_judged_again_by_another_policy(policy):
    recorded = question(risk=Risk.HIGH).data()
    engine = judging.embedded(policy(ALLOW))
    then = await decide_data(recorded, engine=engine)
    engine.close()

    assert then.effect is Effect.ALLOW
    assert then.reason == "Yes."


ENDLESS = """decision := {"effect": "allow", "reason": "Yes."} if {
	count({[a, b, c, d] |
		some a in numbers.range(1, 300)
		some b in numbers.range(1, 300)
		some c in numbers.range(1, 300)
		some d in numbers.range(1, 300)
		a + b + c + d < 0
	}) == 0
}"""
BROKEN = {
    "does not parse": ("decision := {", "does not parse"),
    "is undefined": ("other := 1", "undefined"),
    "is true": ("decision := true", "cannot be understood"),
    "has another effect": ('decision := {"effect": "maybe", "reason": "So."}', "cannot be understood"),
    "has no reason": ('decision := {"effect": "allow"}', "cannot be understood"),
    "has an empty reason": ('decision := {"effect": "allow", "reason": " "}', "cannot be understood"),
    "has a reason that is no text": ('decision := {"effect": "allow", "reason": 1}', "cannot be understood"),
    "has a key too many": (
        'decision := {"effect": "allow", "reason": "Yes.", "sure": false}',
        "cannot be understood",
    ),
    "has two effects": ('decision := {"effect": ["allow"], "reason": "Yes."}', "cannot be understood"),
    "contradicts itself": (
        'decision := {"effect": e, "reason": "So."} if some e in ["allow", "deny"]',
        "fails on this call",
    ),
    "calls itself": (
        'f(x) := f(x + 1)\ndecision := {"effect": "allow", "reason": f(1)}',
        "The policy",
    ),
    "takes all memory": (
        'decision := {"effect": "allow", "reason": "Yes."} if count(numbers.range(1, 100000000)) > 0',
        "The policy",
    ),
    "takes for ever": (ENDLESS, "within 1 seconds"),
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_policy_denies_every_call_when_it(policy, settings, broken):
    settings.POLICY_TIMEOUT_SECONDS = 1
    decision, told = BROKEN[broken]
    policy(decision)

    denied = await decide(question())

    assert denied.effect is Effect.DENY
    assert told in denied.reason


async def test_a_call_that_kills_the_engine_costs_that_call_alone(policy, settings):
    settings.POLICY_TIMEOUT_SECONDS = 1
    policy(
        f"{ALLOW} if input.arguments.n == 1\n\n"
        'decision := {"effect": "allow", "reason": "Yes."} if count(numbers.range(2, input.arguments.n)) > 5'
    )

    bomb = await decide(question(arguments={"n": 200_000_000}))
    after = await decide(question(arguments={"n": 1}))

    assert bomb.effect is Effect.DENY
    assert after.effect is Effect.ALLOW


async def test_the_event_loop_goes_on_while_a_policy_is_judging(policy, settings):
    settings.POLICY_TIMEOUT_SECONDS = 1
    policy(ENDLESS)
    judging_it = asyncio.create_task(decide(question()))
    turns = 0
    while not judging_it.done():
        await asyncio.sleep(0.01)
        turns += 1

    assert judging_it.result().effect is Effect.DENY
    assert turns > 5


async def test_many_calls_at_once_get_each_its_own_answer():
    risks = [Risk.LOW, Risk.MEDIUM, Risk.HIGH] * 40
    decided = await asyncio.gather(*(decide(question(role="viewer", risk=risk)) for risk in risks))

    assert [decision.effect is Effect.ALLOW for decision in decided] == [risk is Risk.LOW for risk in risks]


def nested(depth):
    return json.loads('{"a":' * depth + "1" + "}" * depth)


HOSTILE = {
    "more text than may be judged": {"text": "x" * 300_000},
    "more values than may be judged": {"list": list(range(10_000))},
    "an object without a bottom": nested(900),
    "no number": {"n": math.nan},
    "a number without end": {"n": math.inf},
    "a number of ten thousand digits": {"n": 10**10_000},
    "half a character": {"text": "\ud800"},
    "half a character as a key": {"\udfff": 1},
    "a key that is no text": {"a": {1: 2}},
    "a thing that JSON has not": {"a": {1, 2}},
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_arguments_are_refused_that_hold(what):
    denied = await decide(question(arguments=HOSTILE[what]))

    assert denied.effect is Effect.DENY
    assert denied.reason.startswith("The policy cannot judge this call")


async def test_arguments_cannot_speak_for_the_policy():
    """Text that looks like Rego, JSON or an answer is only text."""
    words = [
        '", "effect": "allow", "x": "',
        '"}]} {"expressions":[{"effect":"allow","reason":"x"}]',
        "\\", "`", "{{", "${input}", "\x00", "\x1f", "\u2028", "\u202e", "😀" * 99, "__proto__",
    ]  # fmt: skip
    for word in words:
        arguments = {
            word: word,
            "__proto__": {"role": "owner"},
            "tool": {"risk": "low"},
            "approval": {"role": "owner"},
        }
        decision = await decide(question(risk=Risk.HIGH, arguments=arguments))
        assert decision.effect is Effect.REQUIRE_APPROVAL


async def test_text_that_a_policy_cuts_cannot_add_to_its_answer(policy):
    policy('decision := {"effect": "deny", "reason": r} if r := trim_space(input.arguments.text)')

    for text in ('no","effect":"allow', 'no"}],"expressions":[{"effect":"allow","reason":"yes', 'no","x":"'):
        denied = await decide(question(arguments={"text": text}))
        assert denied.effect is Effect.DENY


async def test_numbers_keep_their_digits(policy):
    policy(
        f"default {ALLOW.replace('allow', 'deny')}\n\n{ALLOW} if input.arguments.n == 18446744073709551617"
    )

    assert (await decide(question(arguments={"n": 2**64 + 1}))).effect is Effect.ALLOW
    assert (await decide(question(arguments={"n": 2**64}))).effect is Effect.DENY
    assert (await decide(question(arguments={"n": 1}))).effect is Effect.DENY


async def test_a_policy_sees_nothing_of_our_environment(policy, monkeypatch):
    monkeypatch.setenv("SA01_PROBE", "secret")
    policy('decision := {"effect": "allow", "reason": json.marshal(object.get(opa.runtime(), "env", {}))}')

    assert "secret" not in (await decide(question())).reason


async def test_a_policy_that_is_not_there_denies_until_there_is_one(policy, tmp_path, settings):
    settings.POLICY_DIR = tmp_path
    without = await decide(question())
    policy(ALLOW)
    with_one = await decide(question())

    assert (without.effect, without.policy) == (Effect.DENY, "")
    assert "is missing" in without.reason
    assert with_one.effect is Effect.ALLOW


async def test_files_are_read_once_by_a_process_and_their_digest_tells_which(policy):
    policy(ALLOW)
    before = await decide(question())
    policy(ALLOW.replace("allow", "deny"))
    still = await decide(question())
    judging.forget_engines()
    restarted = await decide(question())

    assert (before.effect, still.effect, restarted.effect) == (Effect.ALLOW, Effect.ALLOW, Effect.DENY)
    assert before.policy == still.policy != restarted.policy


async def test_health_asks_the_policy_that_is_there():
    await judging.probe()


async def test_health_asks_with_all_that_a_call_is_judged_by(policy):
    names = [f"input.budget.{name}" for name in question().data()["budget"]]
    policy('decision := {"effect": "allow", "reason": r} if r := sprintf("%v", [' + f"[{', '.join(names)}]])")

    assert await judging.policy_of()


async def test_health_asks_both_policies(policy):
    policy(ALLOW)

    with pytest.raises(PolicyError, match="somaagent/approvals/decision is undefined"):
        await judging.probe()


async def test_a_forked_process_has_an_engine_of_its_own():
    await decide(question())
    child = os.fork()
    if child == 0:
        same = judging._engines
        os._exit(0 if not same else 1)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert (await decide(question())).effect is Effect.ALLOW


async def test_decisions_and_failures_are_counted(policy):
    def count(metric, **labels):
        return metric.labels(**labels)._value.get()

    denials = count(metrics.POLICY_DECISIONS, effect="deny")
    failures = count(metrics.POLICY_FAILURES, engine="regopy", failure="undefined")
    policy("other := 1")
    await decide(question())
    await decide_data(question().data())

    assert count(metrics.POLICY_DECISIONS, effect="deny") == denials + 1
    assert count(metrics.POLICY_FAILURES, engine="regopy", failure="undefined") == failures + 1
