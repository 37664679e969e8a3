"""Count odd wordings on the pages of all accounts: numbers and names as no person writes them."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path

from starlette.testclient import TestClient
from workspace_answers import CLOCK, asked_alone, served, standing

from features.workspace import Workspace

MANY = (
    "accounts actions contacts days hours incidents invoices months people points renewals requests "
    "seats sponsors steps tickets times uses weeks"
).replace(" ", "|")

ODD: Mapping[str, re.Pattern[str]] = {
    "no days, instead of today": re.compile(r"(?<![\d.,])0(\.0)? (days|hours)\b"),
    "days below zero": re.compile(r"(?<![\w.,])[-−]\d[\d,.]* (days|hours|weeks)\b"),
    "zero with a sign": re.compile(r"(?<![\w.,])[-−+]0(\.0+)?%?(?![\d.,]|\w)"),
    "one of many": re.compile(rf"(?<![\d.,–-])1 ([a-z]+ )?({MANY})\b"),
    "a value of a program": re.compile(r"\b(nan|NaN|None(?! of)|null|inf|Infinity|True|False)\b"),
    "two stops": re.compile(r"\.\s?\.(?!\.)|[,;:?!]\s?\.(?!\w)| [,;.](?!\w|\.)"),
    "more digits than a person reads": re.compile(r"\d\.0*[1-9]\d{4,}"),
    "a move by nothing": re.compile(r"\bby 0\.0 points\b|(?<!\S)(\S+) → \1(?!\S)"),
}
"""What is odd, and how it is found in the text of a page."""


BLOCKS = re.compile(
    "address|article|br|dd|div|dt|fieldset|figcaption|footer|form|h[1-6]|header|label|li|main|nav|ol"
    "|option|p|section|summary|td|text|th|title|tr|ul"
)
"""Elements that stand apart from the text around them."""

SILENT = ("script", "style", "pre")


class Text(HTMLParser):
    """What a reader sees of a page, but for scripts and the addresses of links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self._parts: list[str] = []
        self._silent = 0
        self.feed(page)
        self.lines = [
            " ".join(line.split()) for line in "".join(self._parts).split("\n\n") if line.strip()
        ]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a new line with a block; listen to no script."""
        self._silent += tag in SILENT
        if BLOCKS.fullmatch(tag):
            self._parts.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        """End the line of a block; listen again after a script."""
        self._silent -= tag in SILENT
        if BLOCKS.fullmatch(tag):
            self._parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        """Keep what is read."""
        if not self._silent:
            self._parts.append(data.replace("\n", " "))


def odd_wordings(page: str, names: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """What is odd on a page, with the words around it; ``names`` are no words for people either.

    >>> list(odd_wordings("<p>Last active <b>0</b> days ago.</p><p>Seen 10 days ago.</p>"))
    [('no days, instead of today', 'Last active 0 days ago.')]
    """
    for line in Text(page).lines:
        for kind, pattern in ODD.items():
            for found in pattern.finditer(line):
                yield kind, line[max(0, found.start() - 40) : found.end() + 30]
        for word in set(re.findall(r"\b[a-z]+_[a-z0-9_]+\b", line)).intersection(names):
            yield "the name of a feature", f"{word} in: {line[:80]}"


WEEK_OF_USE = re.compile(r"Feature uses a week, .*: ([\d,]+) in the last week")
FACT_OF_USE = re.compile(r"(?<!before: )(?<![\d,])([\d,]+) feature uses? in the last 7 days")


def tells_use_twice(page: str) -> bool:
    """Whether a page states two numbers of feature uses for the last week.

    >>> week = "<p>Feature uses a week, the last 26 weeks up to 1 July: 8 in the last week.</p>"
    >>> [tells_use_twice(f"{week}<p>{n} feature uses in the last 7 days</p>") for n in (8, 9)]
    [False, True]
    """
    text = "\n".join(Text(page).lines)
    return len({*WEEK_OF_USE.findall(text), *FACT_OF_USE.findall(text)}) > 1


def pages_of_accounts(client: TestClient) -> Iterator[tuple[str, str]]:
    """The list of accounts and the page of each, by address."""
    accounts, address = [], "/v1/accounts?limit=500"
    while address:
        answer = client.get(address).json()
        accounts += [row["account_id"] for row in answer["items"]]
        cursor = answer["next_cursor"]
        address = f"/v1/accounts?limit=500&cursor={cursor}" if cursor else ""
    for page in ("/", "/?status=all", *(f"/accounts/{account}" for account in accounts)):
        yield page, client.get(page, headers={"Accept": "text/html"}).text


def counts(workspace: Path) -> list[tuple[str, str]]:
    """What is counted, and the figure in words."""
    names = frozenset(Workspace(workspace).settings.catalogue.by_name)
    pages: Counter[str] = Counter()
    read = 0
    with tempfile.TemporaryDirectory() as folder, asked_alone(), standing(CLOCK):
        copy = Path(folder) / "workspace"
        shutil.copytree(workspace, copy)
        with served(copy) as client:
            for _, page in pages_of_accounts(client):
                read += 1
                pages.update({kind for kind, _ in odd_wordings(page, names)})
                pages["two weeks of use"] += tells_use_twice(page)
    kinds = (*ODD, "the name of a feature")
    return [
        ("pages of accounts that were read", f"{read:,}"),
        *((f"pages with {kind}", f"{pages[kind]:,}") for kind in kinds),
        (
            "pages with two numbers of feature uses in the last week",
            f"{pages['two weeks of use']:,}",
        ),
    ]
