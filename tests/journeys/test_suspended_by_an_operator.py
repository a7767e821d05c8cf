"""An operator shuts a tenant, then a person: what is open ends at once, what comes is refused.

The streams are of a turn that waits for approval: nothing is told there until somebody answers.
"""

from __future__ import annotations

from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.client import Client
from tests.journeys.gateway import Gateway
from tests.journeys.house import House, house
from tests.journeys.test_ended_credentials import SOON, following, following_over_websocket, waiting_turn

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def operator(gateway: Gateway) -> Client:
    """With a key that operates the platform."""

    def key() -> str:
        from somaagent.tenancy.models import Scope, User  # noqa: PLC0415 - Django is not configured before
        from somaagent.tenancy.selectors import actor_by_user  # noqa: PLC0415 - as above
        from somaagent.tenancy.services import api_key_create  # noqa: PLC0415 - as above

        actor = actor_by_user(User.objects.get(username=gateway.operator.name).pk)
        assert actor is not None
        facts: Any = {"tenant_id": actor.tenant_id, "user_id": actor.user_id}
        return api_key_create(**facts, name="operating", scopes=list(Scope))[1]

    return Client(gateway.url, gateway.in_database(key))


def _tenant(operator: Client, home: House) -> str:
    return f"/admin/tenants/{home.tenant_id}"


def _user(operator: Client, home: House) -> str:
    (found,) = operator.get(f"/admin/users?search={home.member.name}").json()["items"]
    return f"/admin/users/{found['id']}"


@pytest.mark.parametrize("whom", [_tenant, _user])
def test_streams_end_credentials_are_refused_and_come_back(gateway, operator, whom):
    home, elsewhere = house(gateway), house(gateway)
    member, stranger = Client(gateway.url, home.member.api_key), Client(gateway.url, elsewhere.member.api_key)
    turn, other = waiting_turn(member), waiting_turn(stranger)
    where = whom(operator, home)
    with (
        following(member, turn) as stream,
        following_over_websocket(gateway, home.member, turn) as socket,
        following(stranger, other) as untouched,
    ):
        assert operator.post(f"{where}/suspend").status_code == 200
        assert stream() == []  # it is over, and nobody said that the turn is
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(SOON)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401
        assert stranger.post(f"/turns/{other}/cancel").status_code == 202
        assert untouched()[-1].type == "turn.cancelled"
    refused = member.get("/turns")
    assert (refused.status_code, refused.json()["code"]) == (401, "credential_refused")
    assert operator.post(f"{where}/resume").status_code == 200
    with following(member, turn) as again:
        assert member.post(f"/turns/{turn}/cancel").status_code == 202
        assert again()[-1].type == "turn.cancelled"
