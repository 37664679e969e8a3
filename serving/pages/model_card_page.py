"""This module is about the page of a model card: the card of one version as a person reads it.

A card is Markdown of our own making: headings, paragraphs, lists, tables, pictures that the same
run kept, `code` and **weight**. Whatever else stands in it, a segment's name or a tag, is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup, escape

from serving.pages.frame import Frame
from serving.scoring.models_served import SERVED_LABELS

CARD = "model_card.md"
HEADING = re.compile(r"(#{1,4}) (.+)")
PICTURE = re.compile(r"!\[([^]]*)]\(plots/([a-z_0-9]+\.png)\)")
RULE = re.compile(r"\|(?:\s*:?-+:?\s*\|)+")
INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")

Block = Callable[[list[str]], Markup]


@dataclass(frozen=True, kw_only=True)
class ModelCardPage:
    """The card of one version as a page."""

    frame: Frame
    heading: str
    content: Markup


def model_card_page(card: str, *, label: str, version: int, tenant: str) -> ModelCardPage:
    """The page of a card.

    Args:
        card: the Markdown that the training wrote.
        label: of the model.
        version: of the model.
        tenant: whose it is.
    """
    opening, _, rest = card.strip().partition("\n")
    found = HEADING.fullmatch(opening)
    title = f"{label}, version {version}" if found is None else f"{found[2]}, version {version}"
    return ModelCardPage(
        frame=Frame(
            title=f"Model card of {label}, version {version}", section="models", tenant=tenant
        ),
        heading=title,
        content=as_html(rest if found else card, pictures=card_address(label, version)),
    )


def card_address(label: str, version: int) -> str:
    """Where the card of a version is.

    >>> card_address("churn", 3)
    '/models/churn/3'
    """
    return f"/models/{label}/{version}"


def is_served_label(label: str) -> bool:
    """Whether there may be models of this name."""
    return label in SERVED_LABELS


def as_html(text: str, *, pictures: str) -> Markup:
    """A card's Markdown as HTML, everything that is no mark of it escaped.

    >>> as_html("## A <b>\\n\\n- x `y`", pictures="/models/churn/1")
    Markup('<h2>A &lt;b&gt;</h2>\\n<ul><li>x <code>y</code></li></ul>')
    """
    blocks: list[Markup] = []
    lines = [line.rstrip() for line in text.splitlines()]
    start = 0
    while start < len(lines):
        kind = _kind(lines[start])
        end = start + 1
        while (
            kind not in ("", "heading", "picture")
            and end < len(lines)
            and _kind(lines[end]) == kind
        ):
            end += 1
        if kind:
            blocks.append(_block(kind, lines[start:end], pictures))
        start = end
    return Markup("\n").join(blocks)


def _kind(line: str) -> str:
    if HEADING.fullmatch(line):
        return "heading"
    if PICTURE.fullmatch(line):
        return "picture"
    return {"|": "table", "-": "list"}.get(
        line[:1] if line[:2] != "--" else "", "paragraph" if line else ""
    )


def _block(kind: str, lines: list[str], pictures: str) -> Markup:
    if kind == "heading":
        found = HEADING.fullmatch(lines[0])
        assert found is not None, "its kind says so"
        level = len(found[1])
        return Markup("<h{0}>{1}</h{0}>").format(level, _inline(found[2]))
    if kind == "picture":
        shown = PICTURE.fullmatch(lines[0])
        assert shown is not None, "its kind says so"
        return Markup('<p><img src="{}/plots/{}" alt="{}" loading="lazy"></p>').format(
            pictures, shown[2], shown[1]
        )
    if kind == "list":
        items = Markup("").join(
            Markup("<li>{}</li>").format(_inline(line.removeprefix("- "))) for line in lines
        )
        return Markup("<ul>{}</ul>").format(items)
    if kind == "table":
        return _table(lines)
    return Markup("<p>{}</p>").format(_inline(" ".join(lines)))


def _table(lines: list[str]) -> Markup:
    head, *body = [_cells(line) for line in lines if not RULE.fullmatch(line)]
    heads = Markup("").join(Markup('<th scope="col">{}</th>').format(_inline(c)) for c in head)
    rows = Markup("").join(
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            _inline(first),
            Markup("").join(Markup("<td>{}</td>").format(_inline(cell)) for cell in rest),
        )
        for first, *rest in body
    )
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="Table: {}"><table '
        'class="metrics"><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(next((cell for cell in head if cell), "numbers"), heads, rows)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _inline(text: str) -> Markup:
    """Text with code and weight marked, the rest escaped."""
    parts, reached = [], 0
    for mark in INLINE.finditer(text):
        parts.append(escape(text[reached : mark.start()]))
        parts.append(
            Markup("<code>{}</code>").format(mark[1])
            if mark[1] is not None
            else Markup("<strong>{}</strong>").format(mark[2])
        )
        reached = mark.end()
    return Markup("").join([*parts, escape(text[reached:])])
