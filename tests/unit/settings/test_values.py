"""What each type of setting takes, what it refuses, and which values do not go together."""

from __future__ import annotations

import copy
import pickle

import pytest

from settings.problems import describe
from settings.secret import Secret
from tests.unit.settings.sound import SAAS, SOUND, complaints, offline


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("SA01_DEPLOYMENT_MODE", "standalone", "is 'standalone'; the allowed values are STANDALONE or SAAS."),
        ("SA01_GATEWAY_PORT", "http", "is 'http'; it takes a whole number from 1 to 65535."),
        ("SA01_GATEWAY_PORT", "65536", "is '65536'; it takes a whole number from 1 to 65535."),
        ("SA01_GATEWAY_PORT", "8080.5", "is '8080.5'; it takes a whole number from 1 to 65535."),
        ("SA01_DEBUG", "treu", "is 'treu'; it takes true or false."),
        ("SA01_DEBUG", "2", "is '2'; it takes true or false."),
        (
            "SA01_DB_HOST",
            "http://db",
            "is 'http://db'; it takes a host name or an address, without scheme or path.",
        ),
        ("SA01_ALLOWED_HOSTS", ",", "has an empty item; it takes names with commas between them."),
        ("SA01_LOG_LEVEL", "LOUD", "is 'LOUD'; the allowed values are DEBUG, INFO, WARNING or ERROR."),
        ("SA01_PUBLIC_URL", "agents.example.org", "is not a URL with http or https and a host."),
        (
            "SA01_PUBLIC_URL",
            "https://agents.example.org?x=1",
            "has a query, a fragment or port 0; it takes a bare address.",
        ),
        (
            "SA01_PUBLIC_URL",
            "https://agents.example.org:99999",
            "is not a URL with http or https and a host.",
        ),
        ("SA01_DB_NAME", "so\x00ma", "has a character in it that cannot be printed."),
    ],
)
def test_a_wrong_value_is_told_what_is_right(name: str, text: str, message: str):
    assert complaints(offline(SOUND, **{name: text}))[name] == message


def test_a_password_in_a_url_is_refused_without_being_repeated():
    found = offline(SOUND, SA01_OTLP_ENDPOINT="https://me:hunter2@collector.example.org")

    assert "credentials belong in Vault" in complaints(found)["SA01_OTLP_ENDPOINT"]
    assert "hunter2" not in describe(found.problems) + str(found.rows)


@pytest.mark.parametrize("text", ["true", "True", "on", "1", "yes", "TRUE"])
def test_true_in_its_usual_spellings(text: str):
    assert offline(SOUND, SA01_VALKEY_TLS=text).value("SA01_VALKEY_TLS") is True


@pytest.mark.parametrize("text", ["false", "False", "off", "0", "no"])
def test_false_in_its_usual_spellings(text: str):
    assert offline(SOUND, SA01_VALKEY_TLS=text).value("SA01_VALKEY_TLS") is False


def test_a_dollar_sign_is_no_reference_to_another_variable():
    assert offline(SOUND, SA01_DB_NAME="$HOME", HOME="/root").value("SA01_DB_NAME") == "$HOME"


@pytest.mark.parametrize(
    ("changes", "setting", "message"),
    [
        ({"SA01_DEBUG": "true"}, "SA01_DEBUG", "the debug page must not be shown in SAAS."),
        (
            {"SA01_SECURE_COOKIES": "false"},
            "SA01_SECURE_COOKIES",
            "cookies must not travel over plain HTTP in SAAS.",
        ),
        (
            {"SA01_PUBLIC_URL": "http://agents.example.org"},
            "SA01_PUBLIC_URL",
            "the public URL must be HTTPS in SAAS.",
        ),
        (
            {"SA01_ALLOWED_HOSTS": "*"},
            "SA01_ALLOWED_HOSTS",
            "every host name is allowed (*), which must not be in SAAS.",
        ),
    ],
)
def test_what_must_not_be_in_saas_may_be_in_standalone(changes: dict[str, str], setting: str, message: str):
    assert complaints(offline(SAAS, **changes)) == {setting: message}
    assert complaints(offline(SOUND, **changes)) == {}


def test_combinations_that_cannot_work_in_either_mode():
    plain = offline(SOUND, SA01_SECURE_COOKIES=None)
    assert "nobody could sign in" in complaints(plain)["SA01_SECURE_COOKIES"]
    assert plain.problems[0].mend == "export SA01_SECURE_COOKIES=false"

    elsewhere = offline(SOUND, SA01_ALLOWED_HOSTS="other.example.org,.example.com")
    assert (
        complaints(elsewhere)["SA01_ALLOWED_HOSTS"]
        == "the public URL's host agents.example.org is not among them."
    )
    assert elsewhere.problems[0].mend.endswith("=other.example.org,.example.com,agents.example.org")
    assert offline(SOUND, SA01_ALLOWED_HOSTS=".example.org").problems == []

    half = offline(SOUND, SA01_VAULT_OWNER_ROLE_ID="r")
    assert "the owner's login needs both" in complaints(half)["SA01_VAULT_OWNER_SECRET_ID_FILE"]


def test_a_secret_does_not_show_itself():
    secret = Secret("hunter2")
    for text in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>9}",
        str([secret]),
        str({"a": secret}),
        "%s" % secret,  # noqa: UP031  every way to format
    ):
        assert "hunter2" not in text
        assert "••••" in text
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2")
    assert secret != Secret("hunter3")
    assert not hasattr(secret, "__dict__")
    for copying in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            copying(secret)
