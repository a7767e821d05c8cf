"""The ORM's connections outlive a server that closes them."""

from __future__ import annotations

import pytest
from django.db import close_old_connections, connection

from somaagent.tenancy.models import Tenant
from tests.factories import organisation
from tests.stack import RunningStack

pytestmark = pytest.mark.django_db(transaction=True)


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def test_one_that_the_server_closed_is_replaced_unnoticed(stack: RunningStack):
    acme = organisation()
    before = backend()
    close_old_connections()
    assert backend() == before
    with stack.superuser() as superuser:
        superuser.execute("SELECT pg_terminate_backend(%s, 1000)", [before])
    close_old_connections()
    assert Tenant.objects.filter(id=acme.tenant.id).exists()
    assert backend() != before


def test_one_that_is_in_order_is_told_from_one_that_is_not(stack: RunningStack):
    found = backend()
    assert connection.is_usable()
    with stack.superuser() as superuser:
        superuser.execute("SELECT pg_terminate_backend(%s, 1000)", [found])
    assert not connection.is_usable()
    connection.close()
    assert not connection.is_usable()
