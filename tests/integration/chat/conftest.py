"""What stories of turns share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import model_server


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    """The address of a scripted model server."""
    with model_server.process() as url:
        yield url
