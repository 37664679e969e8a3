"""Names say something, and say it in the words of the field."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGES = ("features", "training", "serving", "experiments", "registry")
SAYS_NOTHING = {"base", "common", "core", "helper", "helpers", "misc", "util", "utils"}
SAYS_NOTHING_AS_SUFFIX = ("Manager", "Handler", "Helper", "Processor", "Service", "Wrapper")
TOP_LEVEL = {
    "docs",
    "features",
    "training",
    "serving",
    "experiments",
    "registry",
    "notebooks",
    "tests",
    "examples",
}


def modules(root: Path) -> list[Path]:
    """Every Python file of the product."""
    files = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    return [path for path in [*files, root / "keepwell.py"] if path.exists()]


def test_module_names_say_something(pytestconfig):
    names = [
        part
        for path in modules(pytestconfig.rootpath)
        for part in path.relative_to(pytestconfig.rootpath).with_suffix("").parts
    ]
    assert [name for name in names if set(name.split("_")) & SAYS_NOTHING] == []


def test_class_names_say_something(pytestconfig):
    empty = [
        f"{path.name}: {node.name}"
        for path in modules(pytestconfig.rootpath)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name.endswith(SAYS_NOTHING_AS_SUFFIX)
    ]
    assert empty == []


def test_every_module_has_a_docstring(pytestconfig):
    root = pytestconfig.rootpath
    assert [
        str(path.relative_to(root))
        for path in modules(root)
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ] == []


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


def test_top_level_folders_are_the_agreed_ones(pytestconfig, tracked_files):
    folders = {path.split("/")[0] for path in tracked_files if "/" in path}
    assert {name for name in folders if not name.startswith(".")} <= TOP_LEVEL
