"""Print the index of the decisions: one table a theme, from the pages beside this file.

``python docs/decisions/index.py > docs/decisions/README.md`` writes it; a test compares the two.
An entry of a page is a heading, its date and status as a list, the reason, and what would change
our mind; an entry that lacks one of them is an error that names it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ABOUT = """\
<!-- kind: index -->
# Decisions

Each decision has a date, a status, the reason, and what would change our mind. Search this page for
a word of the title; the link leads to the reason. A decision that was replaced stays, and says by
which one. Nobody edits the reason afterwards: a new finding is a new decision.

A figure is repeated by the command, benchmark or test that the decision names, or by
`tests/benchmarks/RESULTS.md`. Where neither is named, it was measured once, for the decision.

`python docs/decisions/index.py > docs/decisions/README.md` writes this page.
"""
ENTRY = re.compile(
    r"- Date: (?P<date>\d{4}-\d\d-\d\d)\n"
    r"- Status: (?P<status>accepted|superseded (?:in part )?by \[[^\n]+\]\([^\n]+\))\n\n"
    r"\*\*Reason\.\*\* (?P<reason>\S.*?)\n\n"
    r"\*\*What would change our mind\.\*\* (?P<change>\S.*)\Z",
    re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One entry of a page."""

    page: str
    title: str
    date: str
    status: str
    change: str


class DecisionError(ValueError):
    """An entry that lacks one of its parts."""


def anchor(title: str) -> str:
    """The address of a heading within its page, as a code forge makes it.

    >>> anchor("MRR rises `by 10 %`")
    'mrr-rises-by-10-'
    """
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def decisions_of(page: str, text: str) -> tuple[str, list[Decision]]:
    """The title of a page, and its entries."""
    head, *entries = re.split(r"^## ", text, flags=re.MULTILINE)
    found = []
    for entry in entries:
        title, _, body = entry.partition("\n\n")
        parts = ENTRY.match(body.strip())
        if parts is None:
            raise DecisionError(
                f"{page}: {title!r} needs the lines Date and Status, a paragraph "
                "**Reason.** and, last, **What would change our mind.**"
            )
        found.append(
            Decision(
                page=page,
                title=title,
                date=parts["date"],
                status=parts["status"],
                change=" ".join(parts["change"].split()),
            )
        )
    [heading] = re.findall(r"^# Decisions of (.+)$", head, flags=re.MULTILINE)
    return heading, found


def index(folder: Path = FOLDER) -> str:
    """The whole page."""
    parts = [ABOUT]
    for path in sorted(folder.glob("*.md")):
        if path.name != "README.md":
            heading, found = decisions_of(path.name, path.read_text(encoding="utf-8"))
            parts += [
                f"## {heading[0].upper()}{heading[1:]}\n",
                "| date | decision | status | what would change our mind |",
                "|---|---|---|---|",
                *map(_row, found),
                "",
            ]
    return "\n".join(parts).rstrip() + "\n"


def _row(decision: Decision) -> str:
    link = f"[{decision.title}]({decision.page}#{anchor(decision.title)})"
    status = decision.status.replace("](#", f"]({decision.page}#")
    return f"| {decision.date} | {link} | {status} | {decision.change} |"


if __name__ == "__main__":
    sys.stdout.write(index())
