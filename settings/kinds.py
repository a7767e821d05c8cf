"""The types that a setting can have: how its text becomes a value, and what a wrong text is told.

Parsers are casts for django-environ (``Env.parse_value``). They raise ``ValueError`` with a sentence
that completes "SA01_NAME …".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from environ import Env

_FALSE_TEXTS = frozenset({"false", "off", "no", "n", "f", "0"})
_NETWORKS = "networks such as 10.20.0.0/16 or fd00:1::/64, with commas between them"
_HOST = re.compile(r"[A-Za-z0-9_.:\-\[\]%]{1,255}")


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of setting. ``expects`` names what it takes, in words, for documentation and messages."""

    name: str
    expects: str
    cast: Callable[[str], object]

    def parse(self, text: str) -> object:
        """The value of *text*; raises ``ValueError`` with the end of a sentence."""
        return Env.parse_value(text.strip(), self.cast)


def _boolean(text: str) -> bool:
    # django-environ alone takes every unknown word for False; a misspelt "true" must not switch anything off.
    if text.lower() not in {*Env.BOOLEAN_TRUE_STRINGS, *_FALSE_TEXTS}:
        raise ValueError(f"is {text!r}; it takes true or false")
    return bool(Env.parse_value(text, bool))


def _text(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has a character in it that cannot be printed")
    return text


def _host(text: str) -> str:
    if not _HOST.fullmatch(text) or "//" in text:
        raise ValueError(f"is {text!r}; it takes a host name or an address, without scheme or path")
    return text


def _path(text: str) -> Path:
    return Path(_text(text)).expanduser()


def _items(text: str) -> list[str]:
    items = [item.strip() for item in Env.parse_value(text, list)]
    if not all(items) or not items:
        raise ValueError("has an empty item; it takes names with commas between them")
    return items


def _networks(text: str) -> list[IPv4Network | IPv6Network]:
    networks = []
    for item in _items(text):
        try:
            networks.append(ip_network(item))
        except ValueError as error:
            raise ValueError(f"has {item!r} in it; it takes {_NETWORKS}") from error
    return networks


def integer(low: int, high: int) -> Kind:
    """Whole numbers from *low* to *high*, both included."""
    expects = f"a whole number from {low} to {high}"

    def cast(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,12}", text) or not low <= int(text) <= high:
            raise ValueError(f"is {text!r}; it takes {expects}")
        return int(Env.parse_value(text, int))

    return Kind("integer", expects, cast)


def choice(*allowed: str) -> Kind:
    """One of the words *allowed*, exactly as written."""
    expects = " or ".join(allowed) if len(allowed) < 3 else f"{', '.join(allowed[:-1])} or {allowed[-1]}"  # noqa: PLR2004  two words need no comma

    def cast(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"is {text!r}; the allowed values are {expects}")
        return text

    return Kind("choice", expects, cast)


def url(*schemes: str) -> Kind:
    """A URL of one of *schemes*, without credentials, query or fragment. The value has no final slash."""
    expects = f"a URL with {' or '.join(schemes)}"

    # None of these messages repeats the text: a URL is where a password hides.
    def cast(text: str) -> str:
        try:
            parts = urlsplit(_text(text))
            port = parts.port
        except ValueError as error:
            raise ValueError(f"is not {expects} and a host") from error
        if parts.scheme not in schemes or not _HOST.fullmatch(parts.hostname or ""):
            raise ValueError(f"is not {expects} and a host")
        if "@" in parts.netloc:
            raise ValueError("holds a user or a password; credentials belong in Vault")
        if parts.query or parts.fragment or port == 0:
            raise ValueError("has a query, a fragment or port 0; it takes a bare address")
        return text.rstrip("/")

    return Kind("url", expects, cast)


TEXT = Kind("text", "text", _text)
BOOLEAN = Kind("boolean", "true or false", _boolean)
HOST = Kind("host", "a host name or an address", _host)
PATH = Kind("path", "a path", _path)
NETWORKS = Kind("networks", _NETWORKS, _networks)
LIST = Kind("list", "names with commas between them", _items)
PORT = integer(1, 65535)
