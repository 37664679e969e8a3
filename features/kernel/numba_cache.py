"""Compile with numba, and cache the result on disk until code that it contains changes.

Compiled functions are cached beside their source, so that a second process starts within a second.
Numba compiles again when a function's own file has changed, but not when the file of a function that
it calls has. Here a change of any module that a function's file imports makes the cache stale.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba

ROOT = Path(__file__).parents[__name__.count(".")]
"""The folder of the packages."""

PACKAGES = "features|registry|training|experiments|serving"

IMPORT = re.compile(
    rf"""^[ \t]*(?:from|import)[ \t]+
    (\.+|(?=(?:{PACKAGES})\b)) ([\w.]*)
    (?:[ \t]+import[ \t]* (\((?:[^)\#]|\#.*)*\) | (?:.*\\\n)*.*))?""",
    re.MULTILINE | re.VERBOSE,
)
"""An import of the project's own code: the dots of a relative name, the module, the names."""


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function on its first call and cache it on disk; it releases the GIL.

    A division by zero gives infinity or NaN, as in numpy, and never raises.
    """
    return _kept(numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def compiled_in_place(function: Callable[..., Any]) -> Any:
    """Compile a function that makes no arrays but only writes into its arguments.

    Such a function needs no reference counts of arrays, which would cost more than a short inner
    loop itself.
    """
    uncounted: dict[str, Any] = {"_nrt": False}  # an option that numba's own tests use
    return _kept(numba.njit(cache=True, nogil=True, error_model="numpy", **uncounted)(function))


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function into each function that calls it."""
    return numba.njit(nogil=True, inline="always", error_model="numpy")(function)


def _kept(dispatcher: Any) -> Any:
    if not hasattr(dispatcher, "_cache"):  # NUMBA_DISABLE_JIT, to step through the code
        return dispatcher
    # Numba has no public way to set the stamp that it compares; test_numba_cache.py tests this one.
    kept = dispatcher._cache._cache_file
    source = Path(dispatcher.py_func.__code__.co_filename)
    kept._source_stamp = f"{kept._source_stamp} {source_digest(source)}"
    return dispatcher


@cache
def source_digest(file: Path) -> str:
    """Digest of a source file and of all files that it imports from the project, directly or not.

    Compiled code contains functions and the values of constants of the modules that it imports.
    """
    files, waiting = {file}, [file]
    while waiting:
        found = _imported_files(waiting.pop()) - files
        files |= found
        waiting += found
    digest = hashlib.blake2b(digest_size=16)
    for each in sorted(files):
        text = _text(each)
        digest.update(f"{each.name}\0{len(text)}\0{text}".encode())
    return digest.hexdigest()


@cache
def _imported_files(file: Path) -> frozenset[Path]:
    """The project's files that a source file imports by name."""
    found: list[Path | None] = []
    for dots, module, names in IMPORT.findall(_text(file)):
        start = file.parents[len(dots) - 1] if dots else ROOT
        place = start.joinpath(*module.split("."))
        found.append(_source_file(place))
        if names and place.is_dir():
            found += [_source_file(place / name) for name in re.findall(r"\w+", names)]
    return frozenset(each for each in found if each is not None)


@cache
def _source_file(place: Path) -> Path | None:
    """The file of the module, or else of the package, at a path without ending."""
    files = (place.parent / f"{place.name}.py", place / "__init__.py")
    return next((file for file in files if file.is_file()), None)


@cache
def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""
