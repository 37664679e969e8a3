"""Every package declares its own commands, and `keepwell.py` lists each of them once."""

from __future__ import annotations

import importlib
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

import keepwell
from features.cli.options import InWorkspace

LISTED: dict[str, Callable[..., None]] = {
    **keepwell.COMMANDS,
    **{
        f"{group} {name}": command
        for group, (_, commands) in keepwell.GROUPS.items()
        for name, command in commands.items()
    },
}
WITHOUT_A_WORKSPACE = {
    "init": "names the one that ingest will make",
    "ingest": "makes it",
    "consume": "makes it",
    "demo": "makes it",
    "features": "lists what is declared",
    "audit": "can read a file",
    "evaluate-policy": "can read a file, or a ledger elsewhere",
    "backup": "can list and verify a target alone",
    "restore": "makes it",
    "keys review": "can check a file elsewhere",
    "ledger verify": "can read a ledger elsewhere",
    "ledger replay": "can read a ledger elsewhere",
    "whom-to-act-on": "with the file of a lottery it reads none",
}
every_command = pytest.mark.parametrize("words", LISTED)


def is_command(thing: object) -> bool:
    """Whether a function takes words of a command line."""
    if not inspect.isfunction(thing):
        return False
    try:
        types = inspect.get_annotations(thing, eval_str=True).values()
    except NameError:  # of a type that is imported for checking only: no word of a command line
        return False
    return any(
        isinstance(said, typer.models.ParameterInfo)
        for one in types
        for said in getattr(one, "__metadata__", ())
    )


def declared(root: Path) -> Iterator[Callable[..., None]]:
    """The commands of every file that is about commands."""
    files = [
        path
        for package in ("features", "training", "experiments", "serving")
        for pattern in ("**/cli.py", "**/cli/**/*.py")
        for path in sorted((root / package).glob(pattern))
    ]
    assert len(files) > 5
    for path in [root / "keepwell.py", *files]:
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for thing in vars(importlib.import_module(name)).values():
            own = getattr(thing, "__module__", None) == name
            if is_command(thing) and own and thing is not keepwell.whole:
                yield thing


def test_every_command_that_is_declared_is_listed_once(pytestconfig):
    assert Counter(LISTED.values()) == Counter(declared(pytestconfig.rootpath))


@every_command
def test_a_command_says_what_it_does_in_one_line(words):
    first = inspect.getdoc(LISTED[words]).splitlines()[0]
    assert first.endswith((".", "?"))
    assert len(first) <= 100


@every_command
def test_a_command_is_named_in_the_documents(words, pytestconfig):
    """As ``keepwell models list``, or in the table of its group as ``list``."""
    group, _, name = words.rpartition(" ")
    pages = [
        path.read_text(encoding="utf-8")
        for path in (pytestconfig.rootpath / "docs").rglob("*.md")
        if path.parent.name != "decisions"
    ]
    table = rf"\| `keepwell {group}` \|(?:.*\n\|)+? `{name}\b" if group else r"(?!)"
    assert any(re.search(rf"\bkeepwell\s+{words}\b|{table}", text) for text in pages)


@every_command
def test_every_word_of_a_command_is_explained(words):
    command = LISTED[words]
    silent = [
        name
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items()
        if not any(getattr(said, "help", None) for said in parameter.annotation.__metadata__)
    ]
    assert silent == []


def test_a_command_that_reads_a_workspace_says_where_there_is_none():
    lenient = {
        words
        for words, command in LISTED.items()
        if (annotations := inspect.get_annotations(command, eval_str=True)).get("workspace")
        and annotations["workspace"] != InWorkspace
    }
    assert lenient == WITHOUT_A_WORKSPACE.keys()


def test_the_list_is_what_the_command_line_knows():
    known = typer.main.get_command(keepwell.app).commands
    words = [
        f"{group} {name}" if below else group
        for group, one in known.items()
        for below in [getattr(one, "commands", {})]
        for name in below or [""]
    ]
    assert words == list(LISTED)
