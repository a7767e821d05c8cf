"""Who calls the tools of these stories, and how: as a turn does, with arguments that fit the schema."""

from __future__ import annotations

from uuid import uuid4

import jsonschema_rs
import pytest

from apps.tools.registry import built_in
from apps.tools.tool import Caller
from somaagent.errors import SomaError

MEMBER = Caller(tenant_id=uuid4(), user_id=uuid4(), role="member", agent="assistant")


def fits(name: str, arguments: object) -> bool:
    return jsonschema_rs.validator_for(dict(built_in()[name].parameters)).is_valid(arguments)


async def call(name: str, caller: Caller = MEMBER, **arguments: object) -> str:
    assert fits(name, arguments)
    result = await built_in()[name].run(caller, arguments)
    assert len(result) <= built_in()[name].most_characters
    return result


async def refused(name: str, caller: Caller = MEMBER, **arguments: object) -> SomaError:
    with pytest.raises(SomaError) as error:
        await call(name, caller, **arguments)
    return error.value
