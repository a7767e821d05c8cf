"""A store that is away is told in the shape of the API that was asked, wherever it was noticed."""

from __future__ import annotations

import json

import pytest
from django.db import OperationalError
from django.test import RequestFactory

from somaagent.web import fallback


@pytest.mark.parametrize("noticed", ["in the view", "before it"])
@pytest.mark.parametrize("path", ["/api/v1/agents", "/v1/models"])
def test_each_api_says_in_its_own_shape_that_a_store_is_away(path, noticed):
    from somaagent.api import api, openai_api  # noqa: PLC0415 needs the stack's settings

    request, away = RequestFactory().get(path), OperationalError("the server closed the connection")
    asked = openai_api if path.startswith("/v1/") else api
    before = noticed == "before it"
    answer = fallback.store_away(request, away) if before else asked.on_exception(request, away)
    assert (answer.status_code, answer["Retry-After"]) == (503, "2")
    body = json.loads(answer.content)
    assert (body["error"] if path.startswith("/v1/") else body)["code"] == "store_unavailable"
    assert "closed the connection" not in answer.content.decode()
