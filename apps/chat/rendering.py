"""A model's Markdown as HTML that is safe to put into the page.

CommonMark with tables, strikethrough, bare links and task lists. HTML in the Markdown is shown as text;
what the renderer makes is sanitised once more. Nothing is loaded from elsewhere: an image becomes a link.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from html import escape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from mdit_py_plugins.tasklists import tasklists_plugin
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

# Past this many characters a code block is shown without colours: a lexer takes some 7 ms for each 1,000.
MOST_HIGHLIGHTED = 10_000
# Answers do not change: the HTML of the last ones is kept, unless it would fill the memory.
KEPT_ANSWERS = 256
LONGEST_KEPT = 20_000
HEADINGS_DOWN = 2
DEEPEST_HEADING = 6
LANGUAGE_LENGTH = 30

_TAGS = frozenset(
    {
        "a",
        "blockquote",
        "br",
        "button",
        "code",
        "del",
        "div",
        "em",
        "hr",
        "input",
        "li",
        "ol",
        "p",
        "pre",
        "s",
    }
    | {"span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul", "h3", "h4", "h5", "h6"}
)
_cleaner = nh3.Cleaner(
    tags=set(_TAGS),
    clean_content_tags={"script", "style"},
    attributes={
        "a": {"href", "title"},
        "code": {"class"},
        "div": {"class"},
        "input": {"checked", "disabled", "class"},
        "li": {"class"},
        "ol": {"start"},
        "span": {"class"},
        "td": {"class"},
        "th": {"class"},
        "ul": {"class"},
    },
    tag_attribute_values={
        "button": {"type": {"button"}, "data-copy": {"code"}, "class": {"copy"}},
        "input": {"type": {"checkbox"}},
        "pre": {"tabindex": {"0"}},
    },
    set_tag_attribute_values={"a": {"target": "_blank"}},
    link_rel="noopener noreferrer nofollow",
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",
)
_formatter = HtmlFormatter(nowrap=True)


def to_html(text: str) -> str:
    """The whole of ``text`` as safe HTML."""
    return _kept(text) if len(text) <= LONGEST_KEPT else _rendered(text)


@functools.lru_cache(maxsize=KEPT_ANSWERS)
def _kept(text: str) -> str:
    return _rendered(text)


def _rendered(text: str) -> str:
    markdown = _markdown()
    references: dict[str, Any] = {}
    tokens = markdown.parse(text, references)
    return _clean(markdown.renderer.render(tokens, markdown.options, references))


def blocks(text: str, references: dict[str, Any]) -> list[tuple[int, str]]:
    """``text`` in its top-level blocks: the line after each one's last, and its safe HTML.

    ``references`` keeps the link definitions that earlier parts of the same text gave.
    """
    markdown = _markdown()
    tokens = markdown.parse(text, references)
    return [
        (end, _clean(markdown.renderer.render(group, markdown.options, references)))
        for end, group in _top_level(tokens)
    ]


def _top_level(tokens: Iterable[Token]) -> Iterable[tuple[int, list[Token]]]:
    group: list[Token] = []
    end = 0
    for token in tokens:
        group.append(token)
        if token.map:
            end = max(end, token.map[1])
        if token.level == 0 and token.nesting <= 0:
            yield end, group
            group = []


def _clean(html: str) -> str:
    return _cleaner.clean(html)


@functools.lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "linkify": True}).enable(
        ["table", "strikethrough", "linkify"]
    )
    tasklists_plugin(markdown)
    # Without a scheme “main.py” would be a host in Paraguay.
    markdown.linkify.set({"fuzzy_link": False, "fuzzy_email": False})  # type: ignore[union-attr]
    markdown.core.ruler.push("page", _adapt)
    markdown.add_render_rule("image", _image)
    markdown.add_render_rule("fence", _fence)
    markdown.add_render_rule("code_block", _fence)
    return markdown


def _adapt(state: StateCore) -> None:
    """Headings go below the page's own, and a column's alignment becomes a class: styles are not allowed."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + HEADINGS_DOWN, DEEPEST_HEADING)}"
        elif token.type in ("th_open", "td_open"):
            style = str(token.attrs.pop("style", ""))
            if style.startswith("text-align:"):
                token.attrs["class"] = f"align-{style.removeprefix('text-align:').strip()}"


def _image(renderer: Any, tokens: list[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    alt = renderer.renderInlineAsText(token.children or [], options, env) or "image"
    return f'<a href="{escape(str(token.attrs.get("src", "")))}">{escape(alt)}</a>'


def _fence(renderer: Any, tokens: list[Token], index: int, options: Any, env: Any) -> str:
    del renderer, options, env
    token = tokens[index]
    language = (token.info.split() or [""])[0][:LANGUAGE_LENGTH]
    code = _highlighted(token.content, language)
    return (
        f'<div class="code-block"><div class="code-head"><span>{escape(language) or "text"}</span>'
        '<button type="button" data-copy="code" class="copy">Copy</button></div>'
        f'<pre tabindex="0"><code class="highlight">{code}</code></pre></div>\n'
    )


def _highlighted(code: str, language: str) -> str:
    if not language or len(code) > MOST_HIGHLIGHTED:
        return escape(code)
    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        # A name that Pygments does not know: the code is shown as it is.
        return escape(code)
    coloured: str = highlight(code, lexer, _formatter)
    return coloured
