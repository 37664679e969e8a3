"""Every decision has its parts, and the index of the decisions is the generated one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"
PAGES = sorted(path.name for path in FOLDER.glob("*.md") if path.name != "README.md")
WHOLE = """\
<!-- kind: decision -->
# Decisions of features: time

## Windows are half-open

- Date: 2026-11-21
- Status: accepted

**Reason.** Two windows then share no event.

**What would change our mind.** Nothing so far.
"""


@pytest.fixture(scope="module")
def index() -> ModuleType:
    spec = importlib.util.spec_from_file_location("decisions_index", FOLDER / "index.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES)
def test_every_entry_of_a_page_has_its_parts(index, page):
    _, found = index.decisions_of(page, (FOLDER / page).read_text(encoding="utf-8"))
    assert found
    assert len({decision.title for decision in found}) == len(found)


@pytest.mark.parametrize(
    "part",
    [
        "- Date: 2026-11-21\n",
        "- Status: accepted\n",
        "**Reason.** Two windows then share no event.\n\n",
        "**What would change our mind.** Nothing so far.\n",
    ],
)
def test_an_entry_without_one_of_its_parts_is_named(index, part):
    assert index.decisions_of("time.md", WHOLE)[1][0].title == "Windows are half-open"
    with pytest.raises(index.DecisionError, match=r"time.md: 'Windows are half-open' needs"):
        index.decisions_of("time.md", WHOLE.replace(part, ""))


def test_the_index_is_what_the_pages_say(index):
    held = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert held == index.index(), "run: python docs/decisions/index.py > docs/decisions/README.md"
