"""This module is about compiling a numeric kernel once and keeping the result where that may be.

numba keeps compiled code beside the source file, or in the user's cache folder. Where neither can
be written (a read-only image without a home) the kernel is compiled in memory at each start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., object])


def compiled(kernel: Kernel) -> Kernel:
    """The kernel as machine code, from numba's cache where a folder for it can be written."""
    try:
        return cast(Kernel, numba.njit(cache=True, nogil=True)(kernel))
    except RuntimeError as exc:
        if "no locator available" not in str(exc):
            raise
        return cast(Kernel, numba.njit(nogil=True)(kernel))
