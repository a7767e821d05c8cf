"""The same policies, judged by an OPA server, and whatever else may stand at its address.

What OPA makes of a policy is OPA's own evaluator's word; the HTTP around it is ours (tests/opa_server.py).
"""

import asyncio
import itertools
from typing import Any

import pytest
from aiohttp import web

from apps.tools.policy import judging, sources, trials
from apps.tools.policy.inputs import Approval, Effect
from apps.tools.policy.judging import Approver, decide, decide_data, may_approve
from apps.tools.tool import Risk
from somaagent.embedded.addresses import loopback
from somaagent.tenancy.fields import uuid7
from tests import opa_server
from tests.integration.policy.conftest import question

ROLES = ("owner", "admin", "member", "viewer", "operator", "")
LABELS = (frozenset(), frozenset({"private"}), frozenset({"untrusted"}), frozenset({"private", "untrusted"}))
CALLS = (0, 99, 100, 10**6)
CONSENTS = (None, Approval(uuid7(), "admin"), Approval(uuid7(), "viewer", edited=True))
ARGUMENTS = (
    {},
    {"url": "https://example.org/?q=\"'\\\n\t\x00", "é": "\u2028\u202e😀"},
    {"n": 2**64 + 1, "x": -(2**53) - 1, "f": 1e-7, "big": 1e308, "zero": -0.0},
    {"__proto__": {"role": "owner"}, "effect": "allow", "tool": {"risk": "low"}},
)


def every_question():
    """Each role, risk, label, number of calls and consent with the others; arguments in turn."""
    arguments = itertools.cycle(ARGUMENTS)
    for role, risk, asks, labels, calls, consent in itertools.product(
        ROLES, Risk, (False, True), LABELS, CALLS, CONSENTS
    ):
        yield question(
            role=role, risk=risk, needs_approval=asks, labels=labels, calls=calls, approval=consent,
            arguments=next(arguments),
        )  # fmt: skip


async def test_both_engines_agree_on_every_question(settings):
    directory = settings.POLICY_DIR
    ours = judging.embedded(directory)
    told = []
    async with opa_server.serving(directory) as url:
        settings.OPA_URL = url
        for asked in every_question():
            theirs = await decide(asked)
            same = await decide_data(asked.data(), engine=ours)
            told.append((theirs.effect, theirs.reason))
            assert (theirs.effect, theirs.reason) == (same.effect, same.reason)
    ours.close()

    assert len(told) == 6 * 3 * 2 * 4 * 4 * 3
    assert {effect for effect, _ in told} == set(Effect)


async def test_both_engines_agree_on_who_may_approve(settings):
    user = uuid7()
    asked = [
        (question(user=user, role=role), Approver(who, in_role))
        for role, in_role, who in itertools.product(ROLES, ROLES, (user, uuid7()))
    ]
    ours = [await may_approve(*each) for each in asked]
    async with opa_server.serving(settings.POLICY_DIR) as url:
        settings.OPA_URL = url
        theirs = [await may_approve(*each) for each in asked]

    assert ours == theirs
    assert {allowed for allowed, _ in ours} == {True, False}


def test_both_engines_agree_on_the_policys_own_tests(settings):
    engine = opa_server.evaluator(settings.POLICY_DIR)
    read = sources.read(settings.POLICY_DIR)
    packages = {"tools_test.rego": "somaagent/tools_test", "approvals_test.rego": "somaagent/approvals_test"}

    for trial in trials.run(read):
        assert (trial.problem == "") is (
            opa_server.value(engine, f"{packages[trial.file]}/{trial.name}", {}) is True
        )


async def test_a_bundles_revision_is_the_policy_on_record(settings):
    async with opa_server.serving(settings.POLICY_DIR, revision="4f2c1a") as url:
        settings.OPA_URL = url
        await judging.probe()
        of_bundle = await decide(question())
    async with opa_server.serving(settings.POLICY_DIR, revision="r" * 200) as url:
        settings.OPA_URL = url
        of_long = await decide(question())
    async with opa_server.serving(settings.POLICY_DIR) as url:
        settings.OPA_URL = url
        of_files = await decide(question())

    assert of_bundle.policy == "opa:somaagent@4f2c1a"
    assert of_long.policy.startswith("opa:sha256:")
    assert len(of_long.policy) <= 100
    assert of_files.policy == "opa:unknown"


ANSWERS: dict[str, Any] = {
    "says nothing of it": (web.json_response, {}, "undefined"),
    "has an effect that is none": (
        web.json_response,
        {"result": {"effect": "yes", "reason": "So."}},
        "understood",
    ),
    "says more than it may": (
        web.json_response,
        {"result": {"effect": "allow", "reason": "So.", "also": 1}},
        "understood",
    ),
    "answers with a list": (web.json_response, [{"effect": "allow", "reason": "So."}], "understood"),
    "answers with a page": (lambda text: web.Response(text=text), "<html>allow</html>", "understood"),
    "nests without end": (lambda text: web.Response(text=text), '{"result":' + "[" * 30_000, "understood"),
    "never stops": (lambda text: web.Response(text=text), '{"result":"' + "x" * 100_000 + '"}', "understood"),
    "fails": (lambda text: web.Response(text=text, status=500), '{"result":{}}', "status 500"),
    "knows no such address": (lambda text: web.Response(text=text, status=404), "{}", "status 404"),
}


@pytest.mark.parametrize("strange", ANSWERS)
async def test_a_call_is_denied_when_the_server(settings, strange):
    answer, content, told = ANSWERS[strange]

    async def data(request):
        return answer(content)

    denied = await ask_server(data, settings)

    assert denied.effect is Effect.DENY
    assert told in denied.reason


async def test_a_call_is_denied_when_the_server_sends_it_elsewhere(settings):
    async def data(request):
        if request.path.startswith("/other"):
            return web.json_response({"result": {"effect": "allow", "reason": "So."}})
        raise web.HTTPTemporaryRedirect(f"/other{request.path}")

    denied = await ask_server(data, settings)

    assert denied.effect is Effect.DENY
    assert "status 307" in denied.reason


async def test_a_call_is_denied_when_the_server_is_silent(settings):
    settings.POLICY_TIMEOUT_SECONDS = 1

    async def data(request):
        await asyncio.sleep(60)

    denied = await ask_server(data, settings)

    assert denied.effect is Effect.DENY
    assert "within 1 seconds" in denied.reason


async def test_a_call_is_denied_when_no_server_is_there(settings):
    async with opa_server.listening(web.Application()) as url:
        settings.OPA_URL = url

    denied = await decide(question())
    allowed, reason = await may_approve(question(), Approver(uuid7(), "owner"))

    assert (denied.effect, denied.policy) == (Effect.DENY, "")
    assert denied.reason == "The OPA server cannot be reached."
    assert (allowed, reason) == (False, "The OPA server cannot be reached.")
    assert loopback() not in denied.reason


async def ask_server(data, settings):
    application = web.Application()
    application.router.add_post("/{path:.*}", data)
    async with opa_server.listening(application) as url:
        settings.OPA_URL = url
        return await decide(question())
