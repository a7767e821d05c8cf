"""Whose an e-mail address is, when a provider sends somebody: a claim is no proof, and in nobody's way."""

from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress

from apps.accounts.arriving import Arrival, account_of, claim
from somaagent.errors import SomaError
from somaagent.tenancy import services
from somaagent.tenancy.models import Role, User
from tests.factories import Organisation, organisation, person, user_of

pytestmark = pytest.mark.django_db

EMAIL = "grace@acme.example"


@pytest.fixture
def acme() -> Organisation:
    return organisation("acme")


def arriving(home: Organisation) -> Arrival:
    return Arrival(home.tenant.id, Role.MEMBER, False, EMAIL)


def who_says(home: Organisation) -> User:
    """Somebody who made an account by an invitation, and said that the address is theirs."""
    user = user_of(person("claimant", home.tenant))
    user.email = EMAIL
    user.save()
    claim(user, EMAIL)
    return user


def test_a_claim_elsewhere_stands_in_nobodys_way_and_is_merged_with_nobody(acme):
    who_says(organisation("elsewhere"))
    assert account_of(EMAIL, EMAIL, arriving(acme)) is None
    verified = user_of(person("grace", acme.tenant))
    EmailAddress.objects.create(user=verified, email=EMAIL, verified=True, primary=True)
    assert account_of(EMAIL, EMAIL, arriving(acme)) == verified


def test_a_claim_of_a_colleague_is_for_the_operator_to_settle(acme):
    claimant = who_says(acme)
    with pytest.raises(SomaError) as refused:
        account_of(EMAIL, EMAIL, arriving(acme))
    assert refused.value.code == "email_taken"
    # What an operator wrote down is no claim, wherever its account is.
    EmailAddress.objects.filter(user=claimant).delete()
    with pytest.raises(SomaError):
        account_of(EMAIL, EMAIL, arriving(organisation("elsewhere")))


def test_somebody_of_two_organisations_is_merged_into_neither(acme):
    grace = user_of(person("grace", acme.tenant))
    EmailAddress.objects.create(user=grace, email=EMAIL, verified=True, primary=True)
    services.membership_create(tenant=organisation("elsewhere").tenant, user=grace, role=Role.MEMBER)
    with pytest.raises(SomaError):
        account_of(EMAIL, EMAIL, arriving(acme))
