"""What a URL may name: the public internet, in no disguise."""

# ruff: noqa: S104  nothing is bound: these are addresses that must be refused

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from somaagent.errors import SomaError
from somaagent.outbound.addresses import allowed_url, is_allowed, is_public

INSIDE = (
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.2", "127.255.255.254", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.2", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.2", "::8.8.8.8",
    "::ffff:0:127.0.0.2", "64:ff9b::127.0.0.2", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8", "100::1",
    "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1",
    "fd00:ec2::254", "fe80::1", "febf::1", "fec0::1", "ff02::1", "ff0e::1",
)  # fmt: skip
OUTSIDE = ("8.8.8.8", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111", "2a00:1450::1")


@pytest.mark.parametrize("text", INSIDE)
def test_an_address_of_the_inside_is_not_public(text):
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", [*OUTSIDE, "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_an_address_of_the_outside_is_public_also_wrapped_up(text):
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "url",
    [
        *(f"http://[{text}]/" if ":" in text else f"https://{text}/" for text in INSIDE),
        "http://①②⑦.⓪.⓪.①/",
        "http://１２７.0.0.1/",
        "http://127。0。0。1/",
        "http://[::ffff:7f00:1]:8080/hook",
    ],
)
def test_a_url_with_an_address_of_the_inside_is_refused(url):
    assert refusal(url) == "url_not_public"


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://0/",
        "http://127.0.0.2./",
        "http://something.0x7f/",
        "http://%31%32%37.0.0.1/",
        "http://[fe80::1%25eth0]/",
        "http://[2606:4700::1%25eth0]/",
        "http://127.0.0.2\\@example.org/",
        "http://user@example.org/",
        "http://user:password@example.org/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org/",
        "//example.org/",
        "example.org",
        "",
        "http://",
        "http:///path",
        "http://example.org:0/",
        "http://example.org:99999/",
        "http://exa mple.org/",
        "http://example.org/\x00",
        "http://example.org/" + "a" * 2000,
    ],
)
def test_a_url_that_is_not_plain_is_refused(url):
    assert refusal(url) == "url_invalid"


def refusal(url: str) -> str:
    with pytest.raises(SomaError) as refused:
        allowed_url(url, (), field="body.url")
    assert refused.value.field == "body.url"
    return refused.value.code


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/hook?a=b#c",
        "http://EXAMPLE.org:8080",
        "https://bücher.example/",
        "https://xn--bcher-kva.example/",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]/",
        "https://1password.example/",
        "https://abc.de/",
    ],
)
def test_a_public_url_is_taken(url):
    assert allowed_url(url, ()).raw_host


def test_an_operator_can_allow_networks_and_nothing_beside_them():
    ours = [ip_network("10.20.0.0/16"), ip_network("fd00:1::/64")]
    for text, allowed in {
        "10.20.3.4": True,
        "::ffff:10.20.3.4": True,
        "fd00:1::5": True,
        "10.21.0.1": False,
        "fd00:2::5": False,
        "127.0.0.2": False,
    }.items():
        assert is_allowed(ip_address(text), ours) is allowed
