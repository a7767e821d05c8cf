"""Combinations of settings that are each valid and together are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from settings.environment import Environment
from settings.problems import Problem
from settings.registry import Mode

Values = Mapping[str, object]
Complaint = tuple[str, str, str]
"""The setting, what is wrong, and the value that mends it (empty: take the setting away)."""

_OWNER_LOGIN = ("SA01_VAULT_OWNER_ROLE_ID", "SA01_VAULT_OWNER_SECRET_ID_FILE")


def broken(values: Values, mode: str, environment: Environment) -> Iterator[Problem]:
    """A problem for every forbidden combination. Rules pass over settings that have no value."""
    for rule in RULES:
        for name, message, wanted in rule(values, mode):
            mend = environment.mend_missing(name, wanted) if wanted else environment.mend_surplus(name)
            found = environment.found.get(name)
            if wanted and found:
                mend = environment.mend_changed(name, wanted)
            yield Problem(name, found.source if found else environment.places, message, mend)


def _debug(values: Values, mode: str) -> Iterator[Complaint]:
    if mode == Mode.SAAS and values.get("SA01_DEBUG") is True:
        yield "SA01_DEBUG", "the debug page must not be shown in SAAS.", "false"


def _cookies(values: Values, mode: str) -> Iterator[Complaint]:
    secure, url = values.get("SA01_SECURE_COOKIES"), str(values.get("SA01_PUBLIC_URL") or "")
    if mode == Mode.SAAS and secure is False:
        yield "SA01_SECURE_COOKIES", "cookies must not travel over plain HTTP in SAAS.", "true"
    elif mode != Mode.SAAS and secure is True and url.startswith("http:"):
        message = "browsers keep secure cookies from a public URL with plain HTTP: nobody could sign in."
        yield "SA01_SECURE_COOKIES", message, "false"


def _public_url(values: Values, mode: str) -> Iterator[Complaint]:
    url = str(values.get("SA01_PUBLIC_URL") or "")
    if mode == Mode.SAAS and url.startswith("http:"):
        yield "SA01_PUBLIC_URL", "the public URL must be HTTPS in SAAS.", url.replace("http:", "https:", 1)


def _hosts(values: Values, mode: str) -> Iterator[Complaint]:
    hosts, url = values.get("SA01_ALLOWED_HOSTS"), str(values.get("SA01_PUBLIC_URL") or "")
    if not isinstance(hosts, list):
        return
    name = urlsplit(url).hostname
    if mode == Mode.SAAS and "*" in hosts:
        yield "SA01_ALLOWED_HOSTS", "every host name is allowed (*), which must not be in SAAS.", name or ""
    if name and not any(_covers(pattern.lower(), name) for pattern in hosts):
        wanted = ",".join([*hosts, name])
        yield "SA01_ALLOWED_HOSTS", f"the public URL's host {name} is not among them.", wanted


def _covers(pattern: str, host: str) -> bool:
    """The same reading of a pattern as Django's ``ALLOWED_HOSTS``."""
    if pattern.startswith("."):
        return host == pattern[1:] or host.endswith(pattern)
    return pattern == "*" or pattern.strip("[]") == host


def _owner_login(values: Values, mode: str) -> Iterator[Complaint]:
    del mode  # the same in both
    given = [name for name in _OWNER_LOGIN if values.get(name)]
    if len(given) == 1:
        missing = next(name for name in _OWNER_LOGIN if name not in given)
        yield missing, f"is not set, but {given[0]} is; the owner's login needs both.", "..."


def _kafka_password(values: Values, mode: str) -> Iterator[Complaint]:
    del mode  # the same in both
    protocol, mechanism = values.get("SA01_KAFKA_SECURITY_PROTOCOL"), values.get("SA01_KAFKA_SASL_MECHANISM")
    if (protocol, mechanism) == ("SASL_PLAINTEXT", "PLAIN"):
        message = "PLAIN without TLS sends the password for everybody on the way to read."
        yield "SA01_KAFKA_SECURITY_PROTOCOL", message, "SASL_SSL"


RULES: tuple[Callable[[Values, str], Iterator[Complaint]], ...] = (
    _debug,
    _cookies,
    _public_url,
    _hosts,
    _owner_login,
    _kafka_password,
)
