"""Every relative link of a Markdown file leads to a file that is there, and to its heading."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "features", "training", "experiments", "registry", "serving", "examples")
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [
        *ROOT.glob("*.md"),
        *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md")),
    ]
)


def without_code(text: str) -> str:
    """The text without fenced blocks and code in a line, in which nothing is a link."""
    return re.sub(r"`[^`\n]*`", "``", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def anchors(text: str) -> set[str]:
    """What a code forge calls the headings of a page; a second one of a name gets a number."""
    times: Counter[str] = Counter()
    found = set()
    for title in re.findall(
        r"^#{1,6} (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), flags=re.MULTILINE
    ):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
        name = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        found.add(f"{name}-{times[name]}" if times[name] else name)
        times[name] += 1
    return found


def broken(page: str, text: str) -> list[str]:
    """The links of a page that lead nowhere."""
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, heading = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        if not target.exists():
            wrong.append(link)
        elif heading:
            file = target / "README.md" if target.is_dir() else target
            if file.suffix != ".md" or heading not in anchors(file.read_text(encoding="utf-8")):
                wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_of_a_page_leads_somewhere(page):
    assert broken(page, (ROOT / page).read_text(encoding="utf-8")) == []


def test_a_link_to_no_file_or_no_heading_is_found():
    text = "[a](README.md) [b](nowhere.md) [c](README.md#no-such-heading) [d](#here) `[e](x.md)`"
    assert broken("README.md", text + "\n## Here\n") == [
        "nowhere.md",
        "README.md#no-such-heading",
        "#here",
    ]
