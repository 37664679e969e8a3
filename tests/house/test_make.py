"""The Makefile lists itself, and the documents name only targets that there are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

PROMISED = {"run", "test", "check", "serve", "soak", "bench", "notebooks", "metrics", "help"}


def targets(text: str) -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", text, flags=re.MULTILINE))


def test_make_alone_lists_every_promised_target(pytestconfig):
    run = subprocess.run(
        ["make"], cwd=pytestconfig.rootpath, capture_output=True, text=True, check=True
    )
    assert {line.split()[0] for line in run.stdout.splitlines()} >= PROMISED


def test_documents_name_only_targets_that_there_are(pytestconfig, tracked_files):
    there = targets((pytestconfig.rootpath / "Makefile").read_text(encoding="utf-8"))
    unknown = []
    for name in tracked_files:
        if name.endswith((".md", ".py", ".html", ".ipynb")):
            text = (pytestconfig.rootpath / name).read_text(encoding="utf-8")
            named = re.findall(
                r"(?:^|`|\$ )make (?:[A-Z]+=\S+ )*([a-z][a-z-]*)", text, flags=re.MULTILINE
            )
            unknown += [f"{name}: make {target}" for target in named if target not in there]
    assert unknown == []


def test_the_readme_shows_the_two_commands(pytestconfig):
    text = (pytestconfig.rootpath / "README.md").read_text(encoding="utf-8")
    assert "make run" in text
    assert "make test" in text


def test_ci_runs_make_test_and_requires_what_debian_has(pytestconfig):
    text = (pytestconfig.rootpath / ".ci" / "run").read_text(encoding="utf-8")
    assert (
        "KEEPWELL_REQUIRE_BROWSER=1 KEEPWELL_REQUIRE_FAKETIME=1 KEEPWELL_REQUIRE_POSTGRES=1 "
        "KEEPWELL_REQUIRE_REDIS=1 KEEPWELL_REQUIRE_SPARK=1 make test" in text
    )


def test_make_and_the_command_mean_the_same_workspace(pytestconfig):
    from features.cli.options import DEFAULT_WORKSPACE

    text = (pytestconfig.rootpath / "Makefile").read_text(encoding="utf-8")
    [world] = re.findall(r"^WORLD \?= (\w+)$", text, flags=re.MULTILINE)
    [workspace] = re.findall(r"^WORKSPACE \?= (\S+)$", text, flags=re.MULTILINE)
    assert workspace.replace("$(WORLD)", world) == str(DEFAULT_WORKSPACE)


def test_a_recipe_line_could_be_typed_by_a_person(pytestconfig):
    text = (pytestconfig.rootpath / "Makefile").read_text(encoding="utf-8")
    recipes = [line for line in text.splitlines() if line.startswith("\t")]
    assert [line for line in recipes if line.endswith("\\")] == []


def test_every_skip_for_want_of_a_program_has_its_package_listed(pytestconfig):
    packages = (pytestconfig.rootpath / ".ci" / "apt-packages.txt").read_text(encoding="utf-8")
    assert set(packages.split()) == {
        "chromium",
        "chromium-driver",
        "faketime",
        "postgresql",
        "redis-server",
        "openjdk-17-jre-headless",
    }


def commands(text: str) -> list[list[str]]:
    """The words of every `keepwell …` line: of recipes, and of fenced or quoted text."""
    lines = re.findall(r"(?:^|`|\$ |\$\(BIN\)/)keepwell ([a-z][^`\n]*)", text, flags=re.MULTILINE)
    return [line.split("#")[0].split() for line in lines]


ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
)


@pytest.mark.parametrize("name", ["Makefile", *PAGES])
def test_documents_name_only_commands_and_options_that_there_are(name, pytestconfig):
    import typer

    import keepwell

    unknown = []
    for words in commands((pytestconfig.rootpath / name).read_text(encoding="utf-8")):
        command, path = typer.main.get_command(keepwell.app), []
        while words and words[0] in getattr(command, "commands", {}):
            path.append(words.pop(0))
            command = command.commands[path[-1]]
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        options |= {option for parameter in command.params for option in parameter.secondary_opts}
        if getattr(command, "commands", None) and words:
            unknown.append(f"keepwell {' '.join([*path, words[0]])}")
        unknown += [
            f"keepwell {' '.join([*path, word])}"
            for word in words
            if word.startswith("--") and word.split("=")[0] not in options
        ]
    assert unknown == []
