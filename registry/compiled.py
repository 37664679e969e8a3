"""This module is about compiling a numeric kernel once and keeping the result where that may be.

numba keeps compiled code beside the source file, or in the user's cache folder. Where neither can
be written (a read-only image without a home) the kernel is compiled in memory at each start. Numba
sees that a kernel's own file has changed, but not the file of a function that was compiled into it:
here a change of any module with compiled code makes all of it stale, as does one that tells numba
how to make code (``lanes``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

MARKS = (b"from registry.compiled import", b"from numba.extending import")
"""A module that has one of these ends up in compiled code."""

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
        # No public way leads to the stamp that numba compares; test_compiled.py sees it work.
        kept = dispatcher._cache._cache_file
        kept._source_stamp = f"{kept._source_stamp} {_digest_of_compiled(Path(__file__).parent)}"
    return cast(Kernel, dispatcher)


@cache
def _digest_of_compiled(folder: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.glob("*.py")):
        text = path.read_bytes()
        if any(mark in text for mark in MARKS):
            digest.update(path.name.encode() + b"\0" + text)
    return digest.hexdigest()
