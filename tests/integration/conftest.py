"""What stories inside the process have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.factories import Organisation


@pytest.fixture(scope="module")
def no_message_is_left() -> Iterator[None]:
    """For stories that play the worker themselves: what they sent to the real one is not for others."""
    from somaagent import valkey  # noqa: PLC0415 - Django is not configured before

    yield
    valkey.blocking_client().delete("somaagent")


@pytest.fixture
def acme(db: None) -> Iterator[Organisation]:
    """An organisation, with its tenant's scope open."""
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - Django is not configured before
    from tests.factories import organisation  # noqa: PLC0415 - as above

    made = organisation()
    with tenant_scope(made.tenant.id):
        yield made
