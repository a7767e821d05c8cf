"""What stories inside the process have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.factories import Organisation


@pytest.fixture
def acme(db: None) -> Iterator[Organisation]:
    """An organisation, with its tenant's scope open."""
    from somaagent.tenancy.scope import tenant_scope  # noqa: PLC0415 - Django is not configured before
    from tests.factories import organisation  # noqa: PLC0415 - as above

    made = organisation()
    with tenant_scope(made.tenant.id):
        yield made
