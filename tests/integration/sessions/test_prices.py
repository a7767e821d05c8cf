"""What a model costs, as its profile says."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from apps.sessions.models import PRICES, ModelProfile
from somaagent.tenancy.scope import tenant_scope
from tests.factories import organisation

pytestmark = pytest.mark.django_db


def test_prices_are_kept_to_the_last_digit_and_may_be_unknown_or_nothing():
    acme = organisation("acme")
    with tenant_scope(acme.tenant.id):
        profile = ModelProfile.objects.get(slug="scripted")
        assert [getattr(profile, price) for price in PRICES] == [None] * 4
        profile.input_price, profile.cached_price = Decimal("0.150001"), Decimal(0)
        profile.full_clean()
        profile.save()
        kept = ModelProfile.objects.get(slug="scripted")
        assert (kept.input_price, kept.cached_price, kept.output_price) == (Decimal("0.150001"), 0, None)


@pytest.mark.parametrize("price", PRICES)
def test_a_negative_price_is_refused_in_the_form_and_in_the_database(price):
    acme = organisation("acme")
    with tenant_scope(acme.tenant.id):
        profile = ModelProfile.objects.get(slug="scripted")
        setattr(profile, price, Decimal("-0.01"))
        with pytest.raises(ValidationError, match="greater than or equal to 0"):
            profile.full_clean()
        with pytest.raises(IntegrityError, match="model_profile_prices_not_negative"), transaction.atomic():
            profile.save()


@pytest.mark.parametrize("price", PRICES)
def test_an_absurd_price_is_refused_in_the_form_and_in_the_database(price):
    acme = organisation("acme")
    with tenant_scope(acme.tenant.id):
        profile = ModelProfile.objects.get(slug="scripted")
        setattr(profile, price, Decimal("100000.01"))
        with pytest.raises(ValidationError, match="less than or equal to 100000"):
            profile.full_clean()
        with pytest.raises(IntegrityError, match="model_profile_prices_not_absurd"), transaction.atomic():
            profile.save()


def test_what_a_model_may_write_leaves_room_for_what_it_reads():
    acme = organisation("acme")
    with tenant_scope(acme.tenant.id):
        profile = ModelProfile.objects.get(slug="scripted")
        profile.context_tokens, profile.max_output_tokens = 2048, 1024
        profile.full_clean()
        profile.max_output_tokens = 1025
        with pytest.raises(ValidationError, match="At most half of the context window"):
            profile.full_clean()
