"""Rows that are made and read without Django's constructor are what it makes."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import models

from somaagent.tenancy.fields import TenantOwned, uuid7
from somaagent.tenancy.scripts import fresh, read

OURS = [model for model in apps.get_models() if issubclass(model, TenantOwned)]
MADE_ANEW = {"id", "created_at"}


def facts(row: models.Model) -> dict[str, Any]:
    """What a row holds, and what Django notes of it."""
    state = {name: value for name, value in vars(row._state).items() if name != "fields_cache"}
    return {name: value for name, value in vars(row).items() if name not in MADE_ANEW} | {"_state": state}


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_a_new_row_is_what_django_makes_of_the_same_values(model):
    tenant = uuid7()
    ours, django_s = fresh(model, tenant_id=tenant), model(tenant_id=tenant)
    times = {name for name, value in facts(ours).items() if hasattr(value, "tzinfo")}
    plain = [
        {name: value for name, value in facts(row).items() if name not in times} for row in (ours, django_s)
    ]
    assert plain[0] == plain[1]
    assert vars(ours).keys() == vars(django_s).keys()
    assert ours.id != fresh(model).id


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_a_row_that_was_read_is_what_django_makes_of_it(model):
    names = [field.attname for field in model._meta.concrete_fields]
    row = [f"the {name}" for name in names]
    ours, django_s = read(model, row), model.from_db("default", names, row)
    assert facts(ours) == facts(django_s)
    assert ours == django_s


def test_two_rows_share_no_list_and_no_name_is_taken_that_a_model_has_not():
    agent = apps.get_model("agent_sessions", "Agent")
    first, second = fresh(agent), fresh(agent)
    first.tools.append("look")
    assert second.tools == []
    with pytest.raises(TypeError, match="Agent has no colour, shape"):
        fresh(agent, shape="round", colour="red")
