"""Identity providers, as an operator writes them down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from settings.oidc import OIDC_PROVIDERS, OidcProvider

ACME = {
    "name": "Acme",
    "issuer": "https://id.acme.example",
    "client_id": "us",
    "tenant": "acme",
    "role": "member",
}


def test_an_object_and_a_file_of_it_say_the_same(tmp_path: Path):
    file = tmp_path / "providers.json"
    file.write_text(json.dumps({"acme": ACME}))
    wanted = [OidcProvider(slug="acme", **ACME)]  # type: ignore[arg-type]
    assert OIDC_PROVIDERS.parse(json.dumps({"acme": ACME})) == wanted
    assert OIDC_PROVIDERS.parse(str(file)) == wanted
    assert [str(each) for each in wanted] == ["acme"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"issuer": "id.acme.example"}, "is wrong at acme.issuer"),
        ({"issuer": "https://id.acme.example/?x=hunter2"}, "is wrong at acme.issuer"),
        ({"client_secret": "hunter2"}, "is wrong at acme"),
        ({"domains": {"acme.example": "acme"}}, "is wrong at acme"),
        ({"roles": {"staff": "hunter2"}}, "is wrong at acme.roles.staff"),
        ({"role": "operator"}, "is wrong at acme.role"),
        ({"scopes": ["email"]}, "is wrong at acme.scopes"),
    ],
)
def test_what_is_wrong_is_named_by_its_place_and_not_repeated(changed: dict[str, object], said: str):
    with pytest.raises(ValueError, match=said) as error:
        OIDC_PROVIDERS.parse(json.dumps({"acme": ACME | changed}))
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("missing", ["name", "issuer", "client_id", "tenant", "role"])
def test_nothing_is_assumed(missing: str):
    declared = {name: value for name, value in ACME.items() if name != missing}
    with pytest.raises(ValueError, match="is wrong at acme"):
        OIDC_PROVIDERS.parse(json.dumps({"acme": declared}))
