"""Compile a numeric kernel once and cache the result where the disk allows it.

numba keeps compiled code beside the source file, or in the user's cache folder. Where neither can
be written (a read-only image without a home) the kernel is compiled in memory at each start. Numba
sees that a kernel's own file has changed, but not the file of a function that was compiled into it:
here a change of any module that a kernel's file imports makes it stale, as does one that tells
numba how to make code (``_simd``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

ROOT = Path(__file__).parents[__name__.count(".")]
"""The folder in which the packages lie."""

PACKAGES = "features|registry|training|experiments|serving"

IMPORT = re.compile(
    rf"""^[ \t]*(?:from|import)[ \t]+
    (\.+|(?=(?:{PACKAGES})\b)) ([\w.]*)
    (?:[ \t]+import[ \t]* (\((?:[^)\#]|\#.*)*\) | (?:.*\\\n)*.*))?""",
    re.MULTILINE | re.VERBOSE,
)
"""An import of the project's own code: dots before a relative name, the module, what is taken."""

Kernel = TypeVar("Kernel", bound=Callable[..., object])


def compiled(kernel: Kernel) -> Kernel:
    """The kernel as machine code, from numba's cache where a folder for it can be written."""
    try:
        dispatcher: Any = numba.njit(cache=True, nogil=True)(kernel)
    except RuntimeError as exc:
        if "no locator available" not in str(exc):
            raise
        return cast(Kernel, numba.njit(nogil=True)(kernel))
    if hasattr(dispatcher, "_cache"):  # not with NUMBA_DISABLE_JIT, to step through the code
        # No public way leads to the stamp that numba compares; test_numba_cache.py sees it work.
        kept = dispatcher._cache._cache_file
        source = Path(dispatcher.py_func.__code__.co_filename)
        kept._source_stamp = f"{kept._source_stamp} {source_digest(source)}"
    return cast(Kernel, dispatcher)


@cache
def source_digest(file: Path) -> str:
    """Digest of a source file and of all that it imports from the project, directly or not.

    What compiled code takes from other modules, it imports: functions that are compiled into it,
    and constants, whose values are frozen into it. Wherever those modules lie, they are found.
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
    """The file of the module, or else of the package, that is at a place without its ending."""
    files = (place.parent / f"{place.name}.py", place / "__init__.py")
    return next((file for file in files if file.is_file()), None)


@cache
def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""
