"""Every page has one kind, its blocks are of known languages, and the READMEs are short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGES = ("features", "training", "serving", "experiments", "registry")
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
KINDS = {
    "tutorials": "tutorial",
    "how-to": "how-to",
    "explanation": "explanation",
    "reference": "reference",
    "decisions": "decision",
}
"""Folder to the kind of its pages; a README is an index."""
LANGUAGES = {"sh", "text", "python", "toml", "csv", "json", "ini"}
COMMENT = re.compile(
    r"kind: [a-z-]+|file: \S+|(with service|may end with 1|not run): \S.*"
    r"|/?metrics"
)
LONGEST_README = 150
every_page = pytest.mark.parametrize("page", PAGES)


@every_page
def test_a_page_says_its_kind_and_title_first_and_once(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    kind = "index" if page.endswith("README.md") else KINDS.get(page.split("/")[0], "reference")
    assert text.startswith(f"<!-- kind: {kind} -->\n# ")
    assert text.count("<!-- kind:") == 1


@every_page
def test_a_block_says_its_language_and_a_comment_is_one_of_those_explained(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    fences = re.findall(r"^ *```(.*)$", text, flags=re.MULTILINE)
    assert len(fences) % 2 == 0
    assert set(fences[::2]) <= LANGUAGES
    assert set(fences[1::2]) <= {""}
    prose = re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    assert [
        said for said in re.findall(r"<!-- (.*?) -->", prose) if not COMMENT.fullmatch(said)
    ] == []


@every_page
def test_a_comment_on_a_block_stands_directly_above_one(page):
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    loose = [
        line
        for line, below in zip(lines, [*lines[1:], ""], strict=True)
        if re.match(r"<!-- (file|with service|may end with 1|not run):", line)
        and not below.startswith(("```", "<!-- "))
    ]
    assert loose == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("how-to/")])
def test_the_entry_page_names_every_how_to(page):
    assert f"({page})" in (DOCS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("readme", ["README.md", *(f"{name}/README.md" for name in PACKAGES)])
def test_a_readme_is_short(readme):
    assert len((ROOT / readme).read_text(encoding="utf-8").splitlines()) <= LONGEST_README


@pytest.mark.parametrize("kind", ["tutorials", "how-to", "explanation", "reference"])
def test_no_page_of_a_kind_is_out_of_reach(kind):
    """Somebody who starts at the entry page comes to every page by links."""
    seen, waiting = set(), [DOCS / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text(encoding="utf-8"))
        waiting += [
            (page.parent / link).resolve() for link in links if not re.match(r"[a-z]+:", link)
        ]
    assert (
        sorted(path.name for path in (DOCS / kind).glob("*.md") if path.resolve() not in seen) == []
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_names_its_folders_and_no_others(package):
    readme = (ROOT / package / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)/` \|", readme, flags=re.MULTILINE)
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert len(named) == len(set(named))
    assert set(named) == folders


@pytest.fixture(scope="module")
def modules() -> set[str]:
    """Every Python file of the project, from a slash on, so that the end of a path can be asked."""
    return {
        f"/{path.relative_to(ROOT).as_posix()}"
        for folder in (*PACKAGES, "tests", "docs")
        for path in (ROOT / folder).rglob("*.py")
    }


@every_page
def test_a_page_names_only_modules_that_there_are(page, modules):
    """Whole, or by the end of the path; a page may write a file of its own."""
    text = (DOCS / page).read_text(encoding="utf-8")
    there = modules | {f"/{name}" for name in re.findall(r"<!-- file: (\S+\.py) -->", text)}
    named = {"/" + name for name in re.findall(r"`([\w/]+\.py)`", text)} - {"/keepwell.py"}
    assert sorted(n for n in named if not any(path.endswith(n) for path in there)) == []
