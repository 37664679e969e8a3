"""Which test files a change can touch, nearest first, by the graph of imports.

A test file is as far from a change as its shortest chain of imports to a changed module: 0 where
the file itself has changed, 1 where it imports a changed module, and so on. A file that is no
Python (a template, a table of actions) stands for the modules of its folder. What a test reaches
in no such way is not selected: `make test` runs everything.
"""

from __future__ import annotations

import ast
import subprocess
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

PACKAGES = ("features", "training", "serving", "experiments", "registry")
HELPERS = ("tests/parity", "tests/tools", "tests/benchmarks")
"""Folders whose modules tests import by their bare names."""


def changed_files(root: Path, since: str) -> list[str]:
    """Paths that differ from a revision, those that git does not know yet among them."""
    asked = (
        ["git", "diff", "--name-only", "--no-renames", since],
        ["git", "ls-files", "--others", "--exclude-standard"],
    )
    lines = (
        subprocess.run(words, cwd=root, capture_output=True, text=True, check=True).stdout
        for words in asked
    )
    return sorted({line for text in lines for line in text.splitlines()})


def distances(root: Path, changed: Collection[str]) -> dict[Path, int]:
    """Files with tests that the changed files can touch, by their distance."""
    files = python_files(root)
    imports = {path: imported_files(root, path, files) for path in set(files.values())}
    starts = {root / name for name in changed}
    starts |= {
        path
        for start in starts
        if start.suffix != ".py"
        for path in imports
        if path.parent in (start.parent, *start.parent.parents[:1]) and path.parent != root
    }
    return nearest(starts, imports)


def nearest(starts: Iterable[Path], imports: Mapping[Path, Collection[Path]]) -> dict[Path, int]:
    """The steps from each file down its imports to the nearest start."""
    importers: defaultdict[Path, set[Path]] = defaultdict(set)
    for path, imported in imports.items():
        for one in imported:
            importers[one].add(path)
    found = dict.fromkeys(starts, 0)
    waiting = deque(found)
    while waiting:
        path = waiting.popleft()
        for importer in importers[path] - found.keys():
            found[importer] = found[path] + 1
            waiting.append(importer)
    return found


def python_files(root: Path) -> dict[str, Path]:
    """Every module of the product and of the tests, by the name it is imported by."""
    files = {}
    for package in PACKAGES:
        for path in (root / package).rglob("*.py"):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            files[name.removesuffix(".__init__")] = path
    files["keepwell"] = root / "keepwell.py"
    for path in (root / "tests").rglob("*.py"):
        helper = str(path.parent.relative_to(root)) in HELPERS
        files[path.stem if helper else str(path.relative_to(root))] = path
    return files


def imported_files(root: Path, path: Path, files: Mapping[str, Path]) -> set[Path]:
    """The files that a file imports; a test also has the ``conftest.py`` of its folders."""
    found = {
        files[name] for name in imported_names(path.read_text(encoding="utf-8")) if name in files
    }
    if path.is_relative_to(root / "tests"):
        found |= {
            folder / "conftest.py"
            for folder in path.parents
            if folder.is_relative_to(root / "tests") and (folder / "conftest.py").exists()
        }
    return found - {path}


def imported_names(text: str) -> Iterator[str]:
    """The modules that a source text imports, also within functions."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
