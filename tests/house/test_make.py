"""The Makefile lists itself, and the documents name only targets that there are."""

from __future__ import annotations

import re
import subprocess

import pytest

PROMISED = {"run", "test", "check", "serve", "soak", "bench", "notebooks", "metrics", "help"}


def targets(text: str) -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", text, flags=re.MULTILINE))


def test_make_alone_lists_every_promised_target(pytestconfig):
    run = subprocess.run(["make"], cwd=pytestconfig.rootpath, capture_output=True, text=True,
                         check=True)
    assert {line.split()[0] for line in run.stdout.splitlines()} >= PROMISED


def test_documents_name_only_targets_that_there_are(pytestconfig, tracked_files):
    there = targets((pytestconfig.rootpath / "Makefile").read_text(encoding="utf-8"))
    unknown = []
    for name in tracked_files:
        if name.endswith((".md", ".py", ".html", ".ipynb")):
            text = (pytestconfig.rootpath / name).read_text(encoding="utf-8")
            named = re.findall(r"(?:^|`|\$ )make (?:[A-Z]+=\S+ )*([a-z][a-z-]*)", text,
                               flags=re.MULTILINE)
            unknown += [f"{name}: make {target}" for target in named if target not in there]
    assert unknown == []


def test_the_readme_shows_the_two_commands(pytestconfig):
    readme = pytestconfig.rootpath / "README.md"
    if not readme.exists():
        pytest.skip("README.md is not written yet")
    text = readme.read_text(encoding="utf-8")
    assert "make run" in text
    assert "make test" in text


def test_ci_runs_make_test_and_requires_a_browser(pytestconfig):
    text = (pytestconfig.rootpath / ".ci" / "run").read_text(encoding="utf-8")
    assert "KEEPWELL_REQUIRE_BROWSER=1 make test" in text


def test_a_recipe_line_could_be_typed_by_a_person(pytestconfig):
    text = (pytestconfig.rootpath / "Makefile").read_text(encoding="utf-8")
    recipes = [line for line in text.splitlines() if line.startswith("\t")]
    assert [line for line in recipes if line.endswith("\\")] == []


def test_every_skip_of_a_browser_has_its_package_listed(pytestconfig):
    packages = (pytestconfig.rootpath / ".ci" / "apt-packages.txt").read_text(encoding="utf-8")
    assert packages.split()[0] == "chromium"
