"""An installation that is for one tenant takes no second one, whichever way it comes."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.urls import reverse

from somaagent.errors import Kind, SomaError
from somaagent.tenancy.models import Tenant
from somaagent.tenancy.services import tenant_create
from tests.factories import operator_client, organisation

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme(settings):
    acme = organisation()
    settings.MANY_TENANTS = False
    return acme


def slugs():
    return set(Tenant.objects.values_list("slug", flat=True))


def test_the_second_is_refused_with_what_to_do(acme):
    before = slugs()
    with pytest.raises(SomaError) as refused:
        tenant_create(slug="second", name="Second")
    assert (refused.value.kind, refused.value.code) == (Kind.CONFLICT, "one_tenant_only")
    assert "SA01_DEPLOYMENT_MODE=SAAS" in refused.value.message
    assert slugs() == before


def test_an_operator_is_told_so_in_the_form(acme, settings):
    operator = operator_client(acme.owner)
    form = {"name": "Second", "slug": "second-by-form"}
    told = operator.post(reverse("admin:tenancy_tenant_add"), form)
    assert told.status_code == 200
    assert "This installation is for one tenant" in told.content.decode()
    assert "second-by-form" not in slugs()
    changed = operator.post(
        reverse("admin:tenancy_tenant_change", args=[acme.tenant.id]),
        {"name": "Acme Limited", "slug": acme.tenant.slug},
    )
    assert changed.status_code == 302
    assert Tenant.objects.get(id=acme.tenant.id).name == "Acme Limited"

    settings.MANY_TENANTS = True
    assert operator.post(reverse("admin:tenancy_tenant_add"), form).status_code == 302
    assert "second-by-form" in slugs()


def test_a_start_finds_its_tenant_again(acme):
    before = slugs()
    call_command("seed", "--json")
    assert slugs() == before
