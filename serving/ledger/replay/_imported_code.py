"""The source text of a module and of all that it imports.

Imports are read from the source, not from what is loaded, so the answer does not depend on what
else the process has done. Only the project's own packages are followed: the versions of libraries
are in the lock file.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("features", "registry", "training", "experiments", "serving")


def imported_code(
    modules: Iterable[str], read: Callable[[Path], bytes] = Path.read_bytes
) -> dict[str, bytes]:
    """Source text of modules and of all that they import, directly or not, by module name.

    Imports inside functions count, those for the type checker alone do not. An imported submodule
    brings the ``__init__`` of every package that it lies in, for Python runs them too.

    Args:
        modules: full names of the modules to start from.
        read: returns the text of a source file.
    """
    code: dict[str, bytes] = {}
    waiting = [*modules]
    while waiting:
        name = waiting.pop()
        file = None if name in code else _source_file(name)
        if file is None:
            continue
        code[name] = read(file)
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        waiting += [name.rpartition(".")[0], *_imported_names(code[name], package)]
    return code


def _source_file(name: str) -> Path | None:
    """The file of a module of the project; None for a library, or for no module at all."""
    top, *parts = name.split(".")
    if top not in PACKAGES:
        return None
    place = _folder_of_package(top).joinpath(*parts)
    files = (place.parent / f"{place.name}.py", place / "__init__.py")
    return next((file for file in files if file.is_file()), None)


@cache
def _folder_of_package(name: str) -> Path:
    spec = find_spec(name)  # finds a package of the top level without importing it
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _imported_names(text: bytes, package: str) -> Iterator[str]:
    """The names that a source text imports, as far as they may be modules."""
    for node in _statements(ast.parse(text).body):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            start = ".".join([*(above if node.level else ()), *filter(None, [node.module])])
            yield start
            yield from (f"{start}.{alias.name}" for alias in node.names)


def _statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All statements, those inside others too, but not what only the type checker reads."""
    for node in body:
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            if part != "body" or not _is_for_type_checking(node):
                yield from _statements(getattr(node, part, ()))


def _is_for_type_checking(node: ast.AST) -> bool:
    if not isinstance(node, ast.If):
        return False
    tested = node.test
    return "TYPE_CHECKING" in (getattr(tested, "id", None), getattr(tested, "attr", None))
