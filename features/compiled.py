"""This module is about compiled code: what numba is told, and when what it kept is out of date.

Compiled functions are kept on disk beside their source, so that a second process starts within a
second. Numba sees that a function's own file has changed, but not the file of a function that was
compiled into it; here a change of any module with compiled code makes all of it stale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function on its first call, keep it on disk, and let other threads run meanwhile.

    Dividing by zero gives infinity or NaN, as in numpy, and never raises.
    """
    return _kept(numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def compiled_in_place(function: Callable[..., Any]) -> Any:
    """Compile a function that makes no array, only writes into those it is given.

    Arrays are then not counted by who holds them, which would cost more than what an inner loop
    of few steps does with them.
    """
    uncounted: dict[str, Any] = {"_nrt": False}  # an option that numba's own tests use
    return _kept(numba.njit(cache=True, nogil=True, error_model="numpy", **uncounted)(function))


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function into each that calls it."""
    return numba.njit(nogil=True, inline="always", error_model="numpy")(function)


def _kept(dispatcher: Any) -> Any:
    if not hasattr(dispatcher, "_cache"):  # NUMBA_DISABLE_JIT, to step through the code
        return dispatcher
    # No public way leads to the stamp that numba compares; test_compiled.py sees it work.
    kept = dispatcher._cache._cache_file
    kept._source_stamp = f"{kept._source_stamp} {digest_of_compiled(Path(__file__).parent)}"
    return dispatcher


@cache
def digest_of_compiled(folder: Path) -> str:
    """Digest of a package's modules that hold compiled code: those that import this one."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.glob("*.py")):
        text = path.read_bytes()
        if b"from features.compiled import" in text:
            digest.update(path.name.encode() + b"\0" + text)
    return digest.hexdigest()
