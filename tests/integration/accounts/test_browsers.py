"""A browser and its system, in words."""

from __future__ import annotations

import pytest

from apps.accounts.browsers import in_words

KNOWN = {
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0": "Firefox on Windows",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Safari/605.1.15": "Safari on a Mac",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "CriOS/137.0.7151.51 Mobile/15E148 Safari/604.1": "Chrome on an iPhone",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 "
    "Safari/537.36 Edg/137.0.0.0": "Edge on Windows",
    "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 "
    "Chrome/130.0.0.0 Mobile Safari/537.36": "Samsung Internet on Android",
    "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 "
    "Safari/537.36": "Chrome on ChromeOS",
    "curl/8.14.1": "curl",
    "": "An unnamed browser",
    "<script>" * 20: "<script>" * 5,
}


@pytest.mark.parametrize("user_agent", KNOWN)
def test_in_words(user_agent):
    assert in_words(user_agent) == KNOWN[user_agent]
