"""A snippet of Python defines or imports every name that it uses, and what it imports is there."""

from __future__ import annotations

import ast
import builtins
import importlib
import re
import textwrap
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SNIPPET = re.compile(r"^ *```python\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)
PAGES = {
    page.relative_to(DOCS).as_posix(): [
        ast.parse(textwrap.dedent(text)) for text in SNIPPET.findall(page.read_text("utf-8"))
    ]
    for page in sorted(DOCS.rglob("*.md"))
    if "```python" in page.read_text(encoding="utf-8")
}
OWN = ("features", "training", "serving", "experiments", "registry")


def defined(tree: ast.Module) -> set[str]:
    """The names that a snippet assigns, imports or takes as arguments."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {one.asname or one.name.split(".")[0] for one in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name is not None:
            found.add(node.name)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_a_snippet_defines_what_it_uses(page: str) -> None:
    known = set(dir(builtins))
    for tree in PAGES[page]:
        known |= defined(tree)
        used = {
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }
        assert used - known == set(), f"{page} does not define them"


@pytest.mark.parametrize("page", PAGES)
def test_what_a_snippet_imports_of_ours_is_there(page: str) -> None:
    for tree in PAGES[page]:
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(OWN):
                module = importlib.import_module(node.module or "")
                assert [one.name for one in node.names if not hasattr(module, one.name)] == []
