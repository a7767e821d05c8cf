"""A model's Markdown becomes HTML that can do no harm, whole or while it grows."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.chat.growing import GrowingAnswer
from apps.chat.rendering import LONGEST_KEPT, MOST_HIGHLIGHTED, to_html

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:x)",
    "<javascript:alert(1)>",
    "![x](javascript:alert(1))",
    '![x" onerror="alert(1)](http://example.org)',
    '[x](http://example.org "title\\" onclick=\\"alert(1)")',
    '```"><script>alert(1)</script>\ncode\n```',
    "```html\n</code></pre><script>alert(1)</script>\n```",
    '<a href="http://example.org" style="position:fixed">x</a>',
    "<iframe src=//example.org></iframe>",
    "<form action=/sign-out/ method=post><button>x</button></form>",
    "|a|\n|:-:|\n|<b onclick=alert(1)>x</b>|",
]
TAGS = {
    "a",
    "blockquote",
    "br",
    "button",
    "code",
    "del",
    "div",
    "em",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "input",
    "li",
    "ol",
    "p",
    "pre",
    "s",
    "span",
    "strong",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
}
ATTRIBUTES = {
    "href",
    "title",
    "class",
    "checked",
    "disabled",
    "type",
    "data-copy",
    "start",
    "tabindex",
    "target",
    "rel",
}


class Harmless(HTMLParser):
    """Reads HTML as a browser does, and finds nothing in it that could do harm."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert {name for name, _ in attrs} <= ATTRIBUTES
        address = dict(attrs).get("href")
        assert address is None or address.startswith(("http://", "https://", "mailto:"))


def assert_harmless(html: str) -> None:
    Harmless().feed(html)


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_become_text(attack):
    assert_harmless(to_html(attack))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from([*ATTACKS, "\n", "`", "**", "> ", "- ", "|", "&lt;", '"', "<", "x"]), max_size=12
    )
)
def test_attacks_in_any_company_become_text(pieces):
    assert_harmless(to_html("".join(pieces)))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_text_at_all_can_be_rendered(text):
    assert_harmless(to_html(text))


def test_links_are_marked_and_nothing_is_loaded_from_elsewhere():
    html = to_html("https://example.org/a and main.py and ![a picture](https://example.org/p.png)")
    assert html.count('rel="noopener noreferrer nofollow"') == 2
    assert '<a href="https://example.org/p.png"' in html
    assert "<img" not in html
    assert "main.py</a>" not in html


def test_links_into_this_server_are_dead():
    assert "href" not in to_html("[click](/admin/) [click](//example.org) [click](admin)")


def test_code_is_coloured_where_the_language_is_known():
    assert '<span class="k">def</span>' in to_html("```python\ndef f(): ...\n```")
    assert "x &lt; y" in to_html("```klingon\nx < y\n```")
    assert (
        '<span class="' not in to_html("```python\n" + "x = 1\n" * MOST_HIGHLIGHTED + "```").split("<pre")[1]
    )


def test_a_very_long_answer_is_rendered_though_it_is_not_kept():
    assert to_html("word " * LONGEST_KEPT).startswith("<p>word word")


def test_headings_stay_below_those_of_the_page():
    assert to_html("# One\n\n###### Six") == "<h3>One</h3>\n<h6>Six</h6>\n"


LONG = """# Title

First *paragraph* with a [link][1].

- one
- two

  with a second paragraph

1. first

2. second

```python
def f():

    return 1
```

| a | b |
|---|---|
| 1 | 2 |

> quoted

Last, again a [link][1].

[1]: https://example.org
"""


def shown(text: str, size: int) -> tuple[str, int]:
    """What a client has after ``text`` came in pieces, and the most characters that were rendered at once."""
    growing, page, most = GrowingAnswer(), [], 0
    for start in range(0, len(text), size):
        growing.add(text[start : start + size])
        most = max(most, growing.unsettled)
        change = growing.change()
        page[change.start :] = change.html
    return "".join(page), most


@pytest.mark.parametrize("size", [1, 3, 7, 50, 1000])
def test_an_answer_that_grows_ends_as_the_whole_one(size):
    text = LONG.replace("[link][1]", "link").replace("[1]: https://example.org\n", "")
    assert shown(text, size)[0] == to_html(text)


def test_what_is_settled_is_not_rendered_again():
    text = "A paragraph of some words.\n\n" * 200
    html, most = shown(text, 20)
    assert html == to_html(text)
    assert most < 200


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([*ATTACKS, "\n\n", "text ", "- ", "1. ", "```\n", "|"]), max_size=12),
    st.integers(1, 9),
)
def test_attacks_that_come_in_pieces_become_text(pieces, size):
    assert_harmless(shown("".join(pieces), size)[0])
