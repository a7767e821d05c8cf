"""One set of embedded servers, the local model too, that the stories of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from somaagent.embedded import Stack
from tests.integration.embedded.house import House
from tests.servers import started


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Servers that run, in a folder with a longer name than the path of a socket may have."""
    stack = Stack(tmp_path_factory.mktemp("embedded") / ("a long nÄme, isn't it? " * 7) / "data")
    with stack.lock(), started(stack) as processes:
        stack.environment()
        yield House(stack, processes)
