"""The collector looks at what comes, and no longer at what was loaded."""

from __future__ import annotations

import gc
import weakref

from features.garbage_collection import collection_off, freeze_loaded_objects


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


def test_no_collection_while_it_is_off_and_as_before_after_it() -> None:
    with collection_off():
        assert not gc.isenabled()
        with collection_off():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with collection_off():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
