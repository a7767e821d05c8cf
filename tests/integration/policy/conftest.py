"""A policy for each test, asked from an engine of its own."""

from __future__ import annotations

import pytest

from apps.tools.policy import judging
from apps.tools.policy.inputs import Question
from apps.tools.tool import Caller, Risk, Tool
from somaagent.tenancy.fields import uuid7


@pytest.fixture(autouse=True)
def _engines_of_their_own(settings):
    settings.OPA_URL = None
    judging.forget_engines()
    yield
    judging.forget_engines()


@pytest.fixture
def policy(tmp_path, settings):
    """Writes a policy that the test's engine judges by: ``decision`` of tools, and other modules."""
    settings.POLICY_DIR = tmp_path

    def write(decision: str, **modules: str):
        texts = {"tools": f"package somaagent.tools\n\n{decision}\n", **modules}
        for name, text in texts.items():
            (tmp_path / f"{name}.rego").write_text(text)
        return tmp_path

    return write


async def never(caller, arguments):
    raise AssertionError("Nothing runs here: calls are only judged.")


def question(
    *, role="member", risk=Risk.LOW, arguments=None, user=None, needs_approval=False, **more
) -> Question:
    caller = Caller(tenant_id=uuid7(), user_id=user or uuid7(), role=role, agent="assistant")
    tool = Tool(
        name="probe",
        description="A tool that is never run.",
        parameters={"type": "object"},
        run=never,
        idempotent=True,
        needs_approval=needs_approval,
        risk=risk,
    )
    return Question(caller=caller, tool=tool, arguments=arguments or {}, **more)
