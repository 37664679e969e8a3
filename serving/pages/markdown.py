"""Render our own Markdown (model cards, the documentation) as HTML that nothing can run in.

Raw HTML stays text, a link or picture leads only where the caller lets it, and tables can be
scrolled and read out. The parser is markdown-it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

Address = Callable[[str], str | None]
"""From an address as it is written to the one that is shown, None where it may not be shown."""

PARSER = MarkdownIt("commonmark", {"html": False}).enable("table")


def nowhere(_: str) -> None:
    """No address may be shown."""


def render_markdown(text: str, *, link: Address = nowhere, picture: Address = nowhere) -> Markup:
    """Markdown as HTML.

    Args:
        text: CommonMark with tables.
        link: where a link may lead; the words of any other stay as text.
        picture: where a picture may come from; any other stays as it is written.

    >>> render_markdown("## A <b>")
    Markup('<h2 id="a-b">A &lt;b&gt;</h2>\\n')
    """
    tokens = PARSER.parse(text)
    for place, token in enumerate(tokens):
        if token.children is not None:
            token.children = list(_allowed(token.children, link, picture))
        if token.type == "heading_open":
            token.attrSet("id", anchor(tokens[place + 1].content))
        first = tokens[place - 1].type == "tr_open"
        if token.type == "th_open":
            token.attrSet("scope", "col")
        elif token.type == "td_open" and first:
            token.tag, tokens[place + 2].tag = "th", "th"
            token.attrSet("scope", "row")
        elif token.type == "table_open":
            token.attrSet("class", "metrics")
    made = PARSER.renderer.render(tokens, PARSER.options, {})
    return Markup(  # made by the parser, which escapes all that is text
        re.sub(
            r"<table class=\"metrics\">.*?</table>",
            lambda found: _scrolled(found[0]),
            made,
            flags=re.DOTALL,
        )
    )


def anchor(heading: str) -> str:
    """The address of a heading within its page, as a code forge makes it.

    >>> anchor("MRR rises `by 10 %`")
    'mrr-rises-by-10-'
    """
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _allowed(children: list[Token], link: Address, picture: Address) -> Iterator[Token]:
    dropped = 0
    for token in children:
        if token.type == "link_open":
            shown = link(str(token.attrGet("href")))
            if shown is None:
                dropped += 1
                continue
            token.attrSet("href", shown)
        elif token.type == "link_close" and dropped:
            dropped -= 1
            continue
        elif token.type == "image":
            source = str(token.attrGet("src"))
            shown = picture(source)
            if shown is None:
                yield Token("text", "", 0, content=f"![{token.content}]({source})")
                continue
            token.attrSet("src", shown)
            token.attrSet("loading", "lazy")
        yield token


def _scrolled(table: str) -> str:
    heads = re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", table)
    about = next((re.sub(r"<[^>]+>", "", head) for head in heads if head), "numbers")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Table: {escape(about)}">'
        f"{table}</div>"
    )
