"""ARCHITECTURE.md says what the code is: its folders, and three ways whose hops exist and go down."""

from __future__ import annotations

import importlib
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
MOST_HOPS = 15
HOP = re.compile(r"^\d+\. `([a-z_.]+):([A-Za-z_.]+)`", flags=re.MULTILINE)
PACKAGES = ("serving", "experiments", "training", "features", "registry")
"""From the roof down; the last two lie beside each other."""


def ways() -> dict[str, list[list[tuple[str, str]]]]:
    """Title to its chains of calls, each a list of (module, name)."""
    parts = re.split(r"^### (.+)$", TEXT.split("## Three ways")[1].split("## The folders")[0],
                     flags=re.MULTILINE)  # fmt: skip
    return {
        title: [HOP.findall(chain) for chain in body.split("<!-- way -->")[1:]]
        for title, body in zip(parts[1::2], parts[2::2], strict=True)
    }


WAYS = ways()
HOPS = [hop for chains in WAYS.values() for chain in chains for hop in chain]


def levels() -> dict[str, int]:
    """Each folder of a package to its layer, the roof is 0."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = {}
    for contract in table["tool"]["importlinter"]["contracts"]:
        if contract["id"].startswith("rooms-of-"):
            package = contract["containers"][0]
            for level, names in enumerate(contract["layers"]):
                found |= {f"{package}.{name.strip()}": level for name in names.split("|")}
    return found


LEVELS = levels()


def height(module: str) -> tuple[int, int]:
    package, folder, *_ = module.split(".")
    return min(PACKAGES.index(package), 3), LEVELS[f"{package}.{folder}"]


def test_there_are_three_ways():
    assert list(WAYS) == [
        "A row to a score",
        "A request to the ledger",
        "A training to a bundle",
    ]
    assert all(1 < sum(map(len, chains)) <= MOST_HOPS for chains in WAYS.values())


@pytest.mark.parametrize(("module", "name"), HOPS, ids=lambda part: part)
def test_a_hop_is_there(module, name):
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    assert callable(found)


@pytest.mark.parametrize("title", WAYS)
def test_no_hop_goes_back_up(title):
    for chain in WAYS[title]:
        heights = [height(module) for module, _ in chain]
        assert heights == sorted(heights), chain


def test_the_inventory_is_that_of_the_folders():
    path = ROOT / "docs" / "reference" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate_architecture", path)
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.architecture() == TEXT, "run: python docs/reference/generate.py"
