"""Keep what stays away from garbage collection: what is loaded, and what is being built.

Libraries and the first portfolio are hundreds of thousands of objects that are there for good. A
full collection looks at every one of them, and no request is answered meanwhile.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_off() -> Iterator[None]:
    """No garbage collection in the block, of the whole process.

    A collection looks at every object that is new, and all of these are kept: with 20,000 accounts it
    took 5/6 of the time of reading their features and a sixth of that of scoring them, and found
    nothing.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def freeze_loaded_objects() -> int:
    """Keep all objects loaded so far away from the garbage collector; returns their number.

    For a process that serves until it ends, after all is loaded: a circle of these objects that
    becomes garbage later stays in memory.
    """
    gc.collect()
    gc.freeze()
    return gc.get_freeze_count()
