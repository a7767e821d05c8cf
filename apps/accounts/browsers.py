"""A browser and its system in words, out of the header ``User-Agent`` (RFC 9110, section 10.1.5).

Rules for what people use: browsers name themselves last of all, and Safari is what is left.
"""

from __future__ import annotations

_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "a Mac"),
    ("Linux", "Linux"),
)
_LONGEST = 40


def in_words(user_agent: str) -> str:
    """“Firefox on Windows”; what is no browser that people use is given by its own first word."""
    browser = _first(_BROWSERS, user_agent)
    system = _first(_SYSTEMS, user_agent)
    if browser is None:
        words = user_agent.split()
        browser = words[0].partition("/")[0][:_LONGEST] if words else "An unnamed browser"
    return f"{browser} on {system}" if system else browser


def _first(rules: tuple[tuple[str, str], ...], text: str) -> str | None:
    return next((name for mark, name in rules if mark in text), None)
