"""A user's server, a network that their operator allows, and what the stories do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

import somaagent.celery  # noqa: F401 messages are sent to this application's broker
from apps.chat import hosting
from apps.chat.hosting import Outcome
from apps.chat.models import Turn, TurnState
from apps.chat.webhooks import delivery, services, tasks
from apps.chat.webhooks.models import DeliveryState, Webhook, WebhookDelivery, every_event
from somaagent.agent.messages import Usage
from somaagent.background import run_coroutine
from somaagent.embedded.addresses import loopback
from somaagent.tenancy.actor import Actor
from somaagent.tenancy.scope import tenant_scope
from somaagent.tenancy.scripts import performed
from tests.factories import Organisation, organisation, submitted, taken
from tests.integration.webhooks.receiver import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture(autouse=True)
def _allowed(settings) -> None:
    """Our own network, as an operator with receivers of their own would allow it."""
    settings.OUTBOUND_ALLOWED_NETWORKS = [ip_network(f"{loopback()}/8", strict=False)]


@pytest.fixture
def acme(transactional_db) -> Organisation:
    return organisation("acme")


class Story:
    """What a user does, and what the platform does in its own time."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor

    def listen(self, url: str, *events: str, **facts: Any) -> tuple[Webhook, str]:
        with tenant_scope(self.actor.tenant_id):
            return services.webhook_create(actor=self.actor, url=url, events=events or every_event(), **facts)

    def turn(self, state: TurnState = TurnState.COMPLETED, **facts: Any) -> Turn:
        """A turn that ended so."""
        with tenant_scope(self.actor.tenant_id):
            turn = submitted(self.actor, "What is the capital of France?").turn
            outcome = Outcome(state, "Paris.", Usage(5, 0, 2, 0), last_event=4, **facts)
            performed(hosting.turn_finish(work=taken(turn), outcome=outcome))
            return Turn.objects.get(id=turn.id)

    def deliveries(self, **facts: Any) -> list[WebhookDelivery]:
        with tenant_scope(self.actor.tenant_id):
            found = WebhookDelivery.objects.filter(webhook__user_id=self.actor.user_id, **facts)
            return list(found.order_by("id"))

    def deliver(self, *, in_time: bool = False) -> list[WebhookDelivery]:
        """What workers do about all that is pending: at once, or (``in_time``) when it is due again."""
        pending = self.deliveries(state=DeliveryState.PENDING)
        if in_time:
            self.pass_time()
        for each in pending:
            self.wake(each.id)
        return self.deliveries()

    def wake(self, *delivery_ids: UUID) -> None:
        for delivery_id in delivery_ids:
            tasks.webhook_deliver(str(delivery_id), str(self.actor.tenant_id))
        run_coroutine(delivery.idle())

    def pass_time(self, **facts: Any) -> None:
        """Until everything that is pending is due, and ``facts`` of its webhooks are as if it were."""
        with tenant_scope(self.actor.tenant_id):
            WebhookDelivery.objects.filter(state=DeliveryState.PENDING).update(
                next_attempt_at=timezone.now() - timedelta(seconds=10)
            )
            if facts:
                Webhook.objects.update(**facts)

    def webhook(self) -> Webhook:
        with tenant_scope(self.actor.tenant_id):
            return Webhook.objects.get(user_id=self.actor.user_id)


@pytest.fixture
def story(acme: Organisation) -> Story:
    return Story(acme.owner)
