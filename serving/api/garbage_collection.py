"""Exclude what lives as long as the service from garbage collection.

Libraries and the first portfolio are hundreds of thousands of objects that are there for good. A
full collection looks at every one of them, and no request is answered meanwhile.
"""

from __future__ import annotations

import gc


def freeze_loaded_objects() -> int:
    """Take what is loaded now out of what the collector looks at; how many objects that is.

    For a process that serves until it ends, once all is loaded: what of it turns into a circle of
    garbage later stays.
    """
    gc.collect()
    gc.freeze()
    return gc.get_freeze_count()
