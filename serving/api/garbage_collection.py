"""Exclude what lives as long as the service from garbage collection.

Libraries and the first portfolio are hundreds of thousands of objects that are there for good. A
full collection looks at every one of them, and no request is answered meanwhile.
"""

from __future__ import annotations

import gc


def freeze_loaded_objects() -> int:
    """Keep all objects loaded so far away from the garbage collector; returns their number.

    For a process that serves until it ends, after all is loaded: a circle of these objects that
    becomes garbage later stays in memory.
    """
    gc.collect()
    gc.freeze()
    return gc.get_freeze_count()
