"""Names say something, and say it in the words of the field."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGES = ("features", "training", "serving", "experiments", "registry")
SAYS_NOTHING = {"base", "common", "core", "helper", "helpers", "misc", "util", "utils"}
SAYS_NOTHING_AS_SUFFIX = ("Manager", "Handler", "Helper", "Processor", "Service", "Wrapper")
TOP_LEVEL = {"features", "training", "serving", "experiments", "registry", "notebooks", "tests",
             "examples"}


def modules(root: Path) -> list[Path]:
    """Every Python file of the product."""
    files = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    return [path for path in [*files, root / "keepwell.py"] if path.exists()]


def test_module_names_say_something(pytestconfig):
    names = [part for path in modules(pytestconfig.rootpath)
             for part in path.relative_to(pytestconfig.rootpath).with_suffix("").parts]
    assert [name for name in names if set(name.split("_")) & SAYS_NOTHING] == []


def test_class_names_say_something(pytestconfig):
    empty = [f"{path.name}: {node.name}" for path in modules(pytestconfig.rootpath)
             for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
             if isinstance(node, ast.ClassDef) and node.name.endswith(SAYS_NOTHING_AS_SUFFIX)]
    assert empty == []


def test_every_module_says_what_it_is_about(pytestconfig):
    silent = []
    for path in modules(pytestconfig.rootpath):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        opening = ("This package", "Keepwell") if path.name == "__init__.py" else (
            "This module is about", "The command", "Keepwell")
        if not (docstring.startswith(opening) or (path.name == "__init__.py" and docstring)):
            silent.append(str(path.relative_to(pytestconfig.rootpath)))
    assert silent == []


def test_exceptions_are_called_errors(pytestconfig):
    wrong = []
    for path in modules(pytestconfig.rootpath):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases = {ast.unparse(parent).rsplit(".", 1)[-1] for parent in node.bases}
                raised = any(name.endswith(("Error", "Exception")) for name in bases)
                if raised and not node.name.endswith("Error"):
                    wrong.append(f"{path.name}: {node.name}")
    assert wrong == []


def test_tests_are_not_packages(pytestconfig):
    assert list((pytestconfig.rootpath / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_explains_itself_and_its_decisions(pytestconfig, package):
    readme = pytestconfig.rootpath / package / "README.md"
    assert "Decisions" in readme.read_text(encoding="utf-8")


WHOLE_FOLDERS = ("features/definitions", "serving/routes", "experiments/checks",
                 "experiments/estimators", "experiments/simulation")
"""A README says of these what their files are: so many of one kind, or a folder with a README."""


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_names_each_of_its_modules(pytestconfig, package):
    """As `module.py`, `module`, or a word of a picture: whoever looks for it finds its row."""
    root = pytestconfig.rootpath
    text = (root / package / "README.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", " ".join(re.findall(r"```.*?```|`[^`\n]*`", text, re.DOTALL))))
    modules_of_package = [path.relative_to(root) for path in modules(root)
                          if path.relative_to(root).parts[0] == package]
    assert [str(path) for path in modules_of_package
            if path.stem != "__init__" and path.stem not in words
            and not path.as_posix().startswith(WHOLE_FOLDERS)] == []


def test_top_level_folders_are_the_agreed_ones(pytestconfig, tracked_files):
    folders = {path.split("/")[0] for path in tracked_files if "/" in path}
    assert {name for name in folders if not name.startswith(".")} <= TOP_LEVEL
