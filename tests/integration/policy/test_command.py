"""``manage.py policy_test``, and what ``check_config`` says of a policy."""

import asyncio
import io
import shutil

import pytest
from aiohttp import web
from django.core.management import CommandError, call_command

from settings import checks, policies
from settings.loader import Configuration
from settings.registry import PROJECT_ROOT
from tests import opa_server

TESTED = """package somaagent.tools_test

import data.somaagent.tools

test_good if tools.decision.effect == "allow"

test_bad if tools.decision.effect == "deny"

test_odd := "yes"
"""
OURS = PROJECT_ROOT / "policy"
ALLOW = 'decision := {"effect": "allow", "reason": "Yes."}'


def run(*arguments):
    out = io.StringIO()
    call_command("policy_test", *arguments, stdout=out)
    return out.getvalue()


def test_an_operator_sees_that_the_policy_keeps_its_promises():
    shown = run()

    assert "test_viewer_may_not_reach_out" in shown
    assert "28 passed, 0 failed" in shown


def test_an_operator_sees_which_promise_another_policy_breaks(policy):
    directory = policy(ALLOW, tools_test=TESTED)
    out = io.StringIO()
    with pytest.raises(CommandError, match="did not pass"):
        call_command("policy_test", "--dir", str(directory), stdout=out)

    rows = {
        line.split()[1]: line for line in out.getvalue().splitlines() if line.strip().startswith("tools_test")
    }
    assert "passed" in rows["test_good"]
    assert "is not true" in rows["test_bad"]
    assert "is 'yes', not true" in rows["test_odd"]
    assert "1 passed, 2 failed" in out.getvalue()


def test_a_policy_without_tests_does_not_pass(policy):
    with pytest.raises(CommandError, match="has no tests"):
        run("--dir", str(policy(ALLOW)))


def test_a_policy_that_does_not_parse_is_no_test_run(policy):
    with pytest.raises(CommandError, match=r"does not parse.*tools\.rego"):
        run("--dir", str(policy("decision := {", tools_test=TESTED)))


def test_a_configuration_is_unsound_whose_policy_does_not_parse(policy, tmp_path):
    assert "does not parse" in policies.unsound(policy("decision := {"))
    (tmp_path / "tools.rego").write_bytes(b"package \xff")
    assert "cannot be read" in policies.unsound(tmp_path)
    (tmp_path / "tools.rego").unlink()
    assert "holds no" in policies.unsound(tmp_path)
    shutil.copytree(OURS, tmp_path / "copy")
    assert policies.unsound(tmp_path / "copy") == ""


class Configured(Configuration):
    """The settings that the check of OPA reads."""

    def __init__(self, url):
        self.url = url

    def value(self, name):
        return {"SA01_OPA_URL": self.url, "SA01_POLICY_DIR": OURS}[name]


async def check(url):
    return await asyncio.to_thread(checks._opa, Configured(url))


async def test_check_config_asks_the_opa_server_for_both_policies(tmp_path):
    async with opa_server.serving(OURS) as url:
        assert (await check(url)).state == "ok"
    shutil.copy(OURS / "tools.rego", tmp_path)
    async with opa_server.serving(tmp_path) as url:
        without = await check(url)
        assert "data.somaagent.approvals.decision" in without.problem.message
    async with opa_server.listening(web.Application()) as url:
        assert "HTTP status 404" in (await check(url)).problem.message
    assert "does not answer as OPA does" in (await check(url)).problem.message
    assert (await check(None)).state == "not run"
