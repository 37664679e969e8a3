"""The documentation as pages of the running service: the same Markdown as in `docs/`, offline."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markupsafe import Markup

from serving.pages.frame import Frame
from serving.pages.markdown import render_markdown

DOCS = Path(__file__).parents[2] / "docs"
START = "README"
ADDRESS = "/help"


@dataclass(frozen=True, kw_only=True)
class HelpPage:
    """One page of the documentation."""

    frame: Frame
    content: Markup


@cache
def help_names(docs: Path = DOCS) -> frozenset[str]:
    """The pages there are, without their ending: ``how-to/set-limits``."""
    return frozenset(
        path.relative_to(docs).with_suffix("").as_posix() for path in docs.rglob("*.md")
    )


def help_page(name: str, *, tenant: str, docs: Path = DOCS) -> HelpPage | None:
    """A page by its name; None where there is none of this name.

    Only names that are there are opened, so no name leads out of the folder.
    """
    if name not in help_names(docs):
        return None
    text = (docs / f"{name}.md").read_text(encoding="utf-8")
    shown = "\n".join(line for line in text.splitlines() if not line.startswith("<!--"))
    title = next(line[2:] for line in shown.splitlines() if line.startswith("# "))
    return HelpPage(
        frame=Frame(title=title, section="help", tenant=tenant),
        content=render_markdown(shown, link=lambda target: help_address(name, target, docs)),
    )


def help_address(name: str, target: str, docs: Path = DOCS) -> str | None:
    """Where a link of a page leads in the service; None where the service does not show it.

    >>> help_address("how-to/set-limits", "../glossary.md#account")
    '/help/glossary#account'
    >>> help_address("README", "https://example.org") is None
    True
    """
    path, mark, part = target.partition("#")
    fragment = f"{mark}{part}"
    if not path:
        return fragment
    found = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
    if not found.endswith(".md") or found.removesuffix(".md") not in help_names(docs):
        return None
    return f"{ADDRESS}/{found.removesuffix('.md')}{fragment}"
