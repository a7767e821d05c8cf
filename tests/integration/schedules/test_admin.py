"""Operators pause, resume and run their users' schedules."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.messages import get_messages
from django.contrib.messages.storage.cookie import CookieStorage
from django.test import RequestFactory

from apps.chat.models import Turn
from apps.chat.schedules import services
from apps.chat.schedules.models import Schedule
from somaagent.tenancy.models import Membership, Role
from tests.factories import person, user_of

pytestmark = pytest.mark.django_db


def schedule_of(actor) -> Schedule:
    return services.schedule_create(actor=actor, prompt="say: hi", cron="0 8 * * *", time_zone="UTC")


def chosen(acme, act: str) -> list[str]:
    """What the operator is told after ``act`` on all schedules."""
    request: Any = RequestFactory().post("/admin/")
    request.user, request.actor = user_of(acme.owner), acme.owner
    request._messages = CookieStorage(request)
    shown = admin.site._registry[Schedule]
    getattr(shown, act)(request, shown.get_queryset(request))
    return [str(message) for message in get_messages(request)]


def test_pause_and_resume(acme):
    member = person("member", acme.tenant)
    schedule = schedule_of(member)
    planned = schedule.next_run_at
    assert chosen(acme, "pause") == ["Paused: 1."]
    assert chosen(acme, "pause") == ["Paused: 0."]
    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.next_run_at, schedule.paused_code) == (
        False,
        None,
        "paused_by_operator",
    )
    assert chosen(acme, "resume") == ["Resumed: 1."]
    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.next_run_at, schedule.paused_code) == (True, planned, "")


def test_run_now_is_the_user_s_turn_and_says_where_it_cannot_be(acme):
    member, viewer = person("member", acme.tenant), person("viewer", acme.tenant)
    schedule_of(member)
    schedule_of(viewer)
    Membership.objects.filter(user_id=viewer.user_id).update(role=Role.VIEWER)
    told = chosen(acme, "run")
    assert told[-1] == "Begun: 1."
    assert "may only read" in told[0]
    assert Turn.objects.get().user_id == member.user_id
