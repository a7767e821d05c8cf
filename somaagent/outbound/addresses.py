"""Which addresses are the public internet's, and which URLs may name them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from yarl import URL

from somaagent.errors import Kind, SomaError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SCHEMES = ("https", "http")
LONGEST_URL = 2000
_V4_NEVER = (ip_network("192.88.99.0/24"),)  # RFC 7526: relays of 6to4
# What IANA gives out as global unicast (RFC 4291, 2.4); no other prefix is a host's on the internet.
_V6_GLOBAL = ip_network("2000::/3")
_V6_NEVER = (ip_network("2002::/16"), ip_network("3fff::/20"))  # RFC 3056: 6to4; RFC 9637: documentation
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052
# WHATWG, URL Standard, "ends in a number": such a host is an IPv4 address in some spelling.
_ENDS_IN_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$", re.IGNORECASE)


class NotPublic(OSError):  # noqa: N818  named for what happened, as the standard library's own
    """An address that must not be connected to. An ``OSError``, because connectors take no other."""


def is_public(address: Address) -> bool:
    """Whether it is a host's of the internet (IANA's special-purpose registries), wrapped up or not."""
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast and not _within(address, _V4_NEVER)
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _V6_GLOBAL and address.is_global and not _within(address, _V6_NEVER)


def is_allowed(address: Address, also: Sequence[Network]) -> bool:
    """Public, or of one of the networks that an operator allows."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return _within(address, also) or is_public(address)


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def allowed_url(text: str, also: Sequence[Network], *, field: str | None = None) -> URL:
    """*text* as the client reads it, if its own words do not name what is not allowed.

    A name is looked up only when it is connected to. Raises ``url_invalid`` or ``url_not_public``.
    """
    try:
        url = URL(text)
        port = url.port
    except ValueError as error:
        raise _invalid("This is no URL.", field) from error
    host = url.raw_host
    if url.scheme not in SCHEMES or not host or not port:
        raise _invalid("Write a whole URL, for example https://example.org/hook.", field)
    if "@" in url.raw_authority:
        raise _invalid("A URL with a user or a password in it is not taken.", field)
    if len(text) > LONGEST_URL or not text.isprintable() or " " in text or "\\" in text:
        raise _invalid("This URL is too long, or has a character in it that does not belong there.", field)
    _check_host(host, also, field)
    return url


def _check_host(host: str, also: Sequence[Network], field: str | None) -> None:
    if "%" in host:
        raise _invalid("A host has no % in it: neither a zone nor characters in disguise.", field)
    try:
        address = ip_address(host)
    except ValueError:
        if _ENDS_IN_NUMBER.search(host) or ":" in host:
            raise _invalid("Write an address as four decimal numbers, or take a name.", field) from None
        return
    if not is_allowed(address, also):
        raise not_public(field)


def not_public(field: str | None = None) -> SomaError:
    """It does not say which address: that would tell what is on the inside."""
    return SomaError(
        Kind.INVALID,
        "url_not_public",
        "This URL does not lead to a public address. An operator can allow others "
        "(SA01_OUTBOUND_ALLOWED_NETWORKS).",
        field=field,
    )


def _invalid(message: str, field: str | None) -> SomaError:
    return SomaError(Kind.INVALID, "url_invalid", message, field=field)
