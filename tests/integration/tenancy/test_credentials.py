"""Who a credential stands for, and when it stands for nobody."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from somaagent.errors import SomaError
from somaagent.tenancy import services
from somaagent.tenancy.models import ApiKey, Membership, Role, Tenant, User
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.selectors import actor_by_api_key, actor_by_user
from tests.factories import key_of, organisation, person

pytestmark = pytest.mark.django_db


def test_a_key_stands_for_its_user_in_its_tenant():
    acme = organisation()
    actor = actor_by_api_key(key_of(acme.owner))
    assert actor is not None
    assert (actor.tenant_id, actor.user_id, actor.role) == (acme.tenant.id, acme.owner.user_id, Role.OWNER)
    assert actor.scopes == {"read", "write"}


def test_a_key_is_kept_as_a_digest_alone():
    acme = organisation()
    text = key_of(acme.owner)
    with tenant_scope(acme.tenant.id):
        key = ApiKey.objects.get()
    assert text.startswith(key.prefix)
    assert len(text) > len(key.prefix) + 30
    assert bytes(key.digest) != text.encode()


@pytest.mark.parametrize(
    "ending", ["revoked", "expired", "user off", "tenant off", "no membership", "unknown"]
)
def test_a_dead_key_stands_for_nobody(ending):
    acme = organisation()
    text = key_of(acme.owner)
    now = timezone.now()
    with tenant_scope(acme.tenant.id):
        if ending == "revoked":
            services.api_key_revoke(actor=acme.owner, key_id=ApiKey.objects.get().id)
        elif ending == "expired":
            ApiKey.objects.update(expires_at=now - timedelta(seconds=1))
        elif ending == "user off":
            User.objects.filter(id=acme.owner.user_id).update(is_active=False)
        elif ending == "tenant off":
            Tenant.objects.filter(id=acme.tenant.id).update(suspended_at=now)
        elif ending == "no membership":
            Membership.objects.all().delete()
        else:
            text = text[:-1] + ("a" if text[-1] != "a" else "b")
    assert actor_by_api_key(text) is None


def test_a_key_notes_its_use():
    acme = organisation()
    text = key_of(acme.owner)
    actor_by_api_key(text)
    with tenant_scope(acme.tenant.id):
        assert ApiKey.objects.get().last_used_at is not None


def test_an_outsider_cannot_revoke_a_key():
    acme, other = organisation("acme"), organisation("other")
    text = key_of(acme.owner)
    with tenant_scope(acme.tenant.id):
        key = ApiKey.objects.get()
    with pytest.raises(SomaError) as refused:
        services.api_key_revoke(actor=other.owner, key_id=key.id)
    assert refused.value.code == "not_found"
    assert actor_by_api_key(text) is not None


def test_a_viewer_can_only_read():
    acme = organisation()
    viewer = person("viewer", acme.tenant, Role.VIEWER)
    assert viewer.scopes == {"read"}
    actor = actor_by_api_key(key_of(viewer))
    assert actor is not None
    assert actor.scopes == {"read"}


def test_a_suspended_tenant_lets_nobody_in():
    acme = organisation()
    Tenant.objects.filter(id=acme.tenant.id).update(suspended_at=timezone.now())
    assert actor_by_user(acme.owner.user_id) is None
