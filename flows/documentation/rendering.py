"""Markdown to HTML: anchors at headings, tables, highlighted code, links between the pages."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.anchors import anchors_plugin
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

# Of a link: the file that it names, from the root of the project, to an address or None.
Resolve = Callable[[str], str | None]

FORMATTER = HtmlFormatter(nowrap=True)
WITH_BREAK = r"\g<0><wbr>"


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with the text below it; the page's own has no anchor."""

    level: int
    anchor: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Rendered:
    html: str
    sections: tuple[Section, ...]


def render(text: str, folder: str, resolve: Resolve) -> Rendered:
    """Render a page. Its relative links begin at `folder`, a path from the root of the project."""
    tokens = list(_without_pictures(MARKDOWN.parse(text)))
    _without_empty_heads(tokens)
    _label_cells(tokens)
    for token in tokens:
        token.children = list(_with_links(token.children or (), folder, resolve))
    html: str = MARKDOWN.renderer.render(tokens, MARKDOWN.options, {})
    return Rendered(html, tuple(_sections(tokens)))


def slug(title: str) -> str:
    """Return the anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _highlighted(code: str, language: str, attributes: str) -> str:
    try:
        marked: str = highlight(code, get_lexer_by_name(language), FORMATTER)
    except ClassNotFound:
        marked = escape(code)
    # A long line is scrolled, with the keyboard, too.
    return f'<pre class="code" tabindex="0"><code>{marked}</code></pre>'


def _code(_: Any, tokens: Sequence[Token], at: int, *args: Any) -> str:
    """Write a name in a text; a long one may be broken at its underscores and slashes."""
    return f"<code>{re.sub('[_/](?=.)', WITH_BREAK, escape(tokens[at].content))}</code>"


def _table_open(*args: Any) -> str:
    return '<div class="table" tabindex="0"><table>\n'


def _table_close(*args: Any) -> str:
    return "</table></div>\n"


def _markdown() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True, "highlight": _highlighted})
    parser.enable(["table", "strikethrough"]).use(anchors_plugin, max_level=4, slug_func=slug)
    parser.add_render_rule("code_inline", _code)
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", _table_close)
    return parser


MARKDOWN = _markdown()


def _without_pictures(tokens: Sequence[Token]) -> Iterator[Token]:
    """Leave out the pictures of the first page, which are in no package."""
    return (each for each in tokens if each.type != "html_block" or "<img" not in each.content)


def _without_empty_heads(tokens: list[Token]) -> None:
    """Remove the heads of tables whose columns have no titles."""
    ends = [at for at, each in enumerate(tokens) if each.type == "thead_close"]
    for end in reversed(ends):
        begin = max(at for at in range(end) if tokens[at].type == "thead_open")
        if not any(each.content for each in tokens[begin:end]):
            del tokens[begin : end + 1]


def _label_cells(tokens: list[Token]) -> None:
    """Give each cell but the first the title of its column, which a phone shows beside it."""
    titles: list[str] = []
    column = 0
    for at, token in enumerate(tokens):
        if token.type == "table_open":
            titles = []
        elif token.type == "tr_open":
            column = 0
        elif token.type == "th_open":
            titles.append(_plain(tokens[at + 1]))
        elif token.type == "td_open":
            if column and (label := "".join(titles[column : column + 1])):
                token.attrSet("data-label", label)
            column += 1


def _with_links(children: Sequence[Token], folder: str, resolve: Resolve) -> Iterator[Token]:
    """Yield the tokens of a text; a link to what is not served becomes its text."""
    is_dropped = False
    for token in children:
        if token.type == "link_open":
            address = _address(str(token.attrs["href"]), folder, resolve)
            is_dropped = address is None
            if address is not None:
                token.attrs["href"] = address
                yield token
        elif token.type == "link_close" and is_dropped:
            is_dropped = False
        else:
            yield token


def _address(link: str, folder: str, resolve: Resolve) -> str | None:
    path, hash_sign, anchor = link.partition("#")
    if not path or "://" in path or path.startswith("mailto:"):
        return link
    address = resolve(posixpath.normpath(posixpath.join(folder, path)))
    return None if address is None else f"{address}{hash_sign}{anchor}"


def _sections(tokens: Sequence[Token]) -> Iterator[Section]:
    level, anchor, title = 1, "", ""
    text: list[str] = []
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            if title or text:
                yield Section(level, anchor, title, " ".join(text))
            level, text = int(token.tag[1:]), []
            anchor = "" if level == 1 else str(token.attrs.get("id", ""))
            title = _plain(tokens[at + 1])
        elif token.type == "inline" and tokens[at - 1].type != "heading_open":
            text.append(_plain(token))
        elif token.type == "fence":
            text.append(token.content)
    yield Section(level, anchor, title, " ".join(text))


def _plain(token: Token) -> str:
    return "".join(
        " " if each.type.endswith("break") else each.content
        for each in token.children or ()
        if each.type in {"text", "code_inline", "softbreak", "hardbreak"}
    )
