from __future__ import annotations

import pytest

from .boots import Boot


@pytest.fixture
def boot(tmp_path):
    it = Boot(tmp_path)
    yield it
    it.clean_up()
