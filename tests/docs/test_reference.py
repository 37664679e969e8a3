"""What is looked up is made from the code: no command, setting or variable without its row."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PACKAGES = ("features", "registry", "training", "experiments", "serving")


def load_generator():
    path = REFERENCE / "generate.py"
    spec = importlib.util.spec_from_file_location("generate_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()


@pytest.mark.parametrize("name", GENERATOR.PAGES)
def test_a_page_is_what_the_code_says(name):
    text = (REFERENCE / name).read_text(encoding="utf-8")
    assert text == GENERATOR.page(name), "run: python docs/reference/generate.py"


@pytest.mark.parametrize("name", GENERATOR.PAGES)
def test_the_entry_page_names_what_is_generated(name):
    assert f"(reference/{name})" in (ROOT / "docs" / "README.md").read_text(encoding="utf-8")


def test_every_variable_of_the_environment_is_explained():
    text = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    read = {
        name
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for name in re.findall(r'"(KEEPWELL_[A-Z_]+)"', path.read_text(encoding="utf-8"))
    }
    assert len(read) > 5
    assert {name for name in read if f"`{name}`" not in text} == set()
