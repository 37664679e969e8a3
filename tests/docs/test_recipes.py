"""Every recipe of CONTRIBUTING.md is performed on a copy of the tree, and does what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COPIED = ("features", "registry", "training", "experiments", "serving", "docs", "tests", "examples",
          "keepwell.py", "pyproject.toml", "README.md", "Makefile", "CHANGELOG.md",
          "ARCHITECTURE.md", "CONTRIBUTING.md")  # fmt: skip
STEP = re.compile(
    r"<!-- (?P<what>insert into|append to|new file|run)(?:: (?P<file>\S+)"
    r"(?: (?P<where>before|after): (?P<mark>.+?))?)? -->\n```\w+\n(?P<text>.*?)```",
    flags=re.DOTALL,
)
MOST_FILES = 3
MOST_LINES = 75
"""A screen, with its blocks."""


def recipes() -> dict[str, str]:
    parts = re.split(r"^### (.+)$", TEXT.split("## Recipes")[1], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


RECIPES = recipes()
every_recipe = pytest.mark.parametrize("name", RECIPES)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy; files keep their times, so that what numba compiled is found again."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("*.pyc", "benchmarks", "workspaces", "*.parquet")
            shutil.copytree(source, tmp_path / name, ignore=ignored)
        else:
            shutil.copy2(source, tmp_path / name)
    return tmp_path


def do(step: re.Match[str], tree: Path) -> None:
    if step["what"] == "run":
        own = Path(sys.executable).parent
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", step["text"]],
            cwd=tree,
            env={
                **os.environ,
                "PATH": f"{own}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(tree),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
        return
    path = tree / step["file"]
    if step["what"] == "new file":
        assert not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(step["text"], encoding="utf-8")
        return
    text = path.read_text(encoding="utf-8")
    if step["what"] == "append to":
        path.write_text(f"{text}\n{step['text']}", encoding="utf-8")
        return
    assert text.count(step["mark"]) == 1, f"{step['mark']!r} is not once in {step['file']}"
    before, after = text.split(step["mark"])
    if step["where"] == "after":
        path.write_text(f"{before}{step['mark']}\n{step['text'].rstrip()}{after}", encoding="utf-8")
    else:
        path.write_text(f"{before}{step['text']}{step['mark']}{after}", encoding="utf-8")


@pytest.mark.slow
@every_recipe
def test_a_recipe_does_what_it_says(name: str, tree: Path) -> None:
    steps = list(STEP.finditer(RECIPES[name]))
    assert steps, "a recipe has steps"
    assert steps[-1]["what"] == "run"
    for step in steps:
        do(step, tree)


@every_recipe
def test_a_recipe_is_a_screen_and_touches_few_files(name: str) -> None:
    touched = {step["file"] for step in STEP.finditer(RECIPES[name]) if step["file"]}
    assert len(touched) <= MOST_FILES
    assert len(RECIPES[name].splitlines()) <= MOST_LINES


def test_the_recipes_are_the_common_changes() -> None:
    assert set(RECIPES) == {
        "A feature",
        "An outcome",
        "A form of model",
        "An action",
        "An alert rule",
        "A health formula",
        "A check of a causal report",
        "A route",
        "A page",
        "A database of the ledger",
    }
