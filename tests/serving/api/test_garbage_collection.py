"""The collector looks at what comes, and no longer at what was loaded."""

from __future__ import annotations

import gc
import weakref

from serving.api.garbage_collection import freeze_loaded_objects


class Node:
    """Something that can be part of a circle."""

    other: Node


def circle() -> weakref.ref[Node]:
    one, two = Node(), Node()
    one.other, two.other = two, one
    return weakref.ref(one)


def test_only_what_comes_later_is_looked_at() -> None:
    loaded, garbage = Node(), circle()
    try:
        n_left_alone = freeze_loaded_objects()
        assert garbage() is None  # what is garbage already goes before
        assert n_left_alone > 1_000
        looked_at = gc.get_objects()
        assert not any(each is loaded for each in looked_at)
        assert len(looked_at) < n_left_alone
        later = circle()
        gc.collect()
        assert later() is None
    finally:
        gc.unfreeze()
    assert any(each is loaded for each in gc.get_objects())
