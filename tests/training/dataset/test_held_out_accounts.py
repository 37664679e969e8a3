"""Holding accounts out: whole families, a third of each class, whatever the order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.dataset.held_out_accounts import families_of, hold_out

NAMES = [f"a{number:03}" for number in range(300)]


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([*NAMES, "holding"])), max_size=40)
)
def test_a_family_is_never_on_both_sides(parents) -> None:
    families = families_of(NAMES, parents)
    held = hold_out(NAMES, families, np.arange(300) % 7 == 0)
    sides = dict(zip(NAMES, held.tolist(), strict=True))
    for child, parent in parents:
        if parent in sides:
            assert sides[child] == sides[parent]
    for family in range(families.max() + 1):
        assert len(set(held[families == family].tolist())) == 1


def test_a_third_of_those_with_the_outcome_judges_and_a_third_of_the_others() -> None:
    had = np.arange(300) % 10 == 0
    held = hold_out(NAMES, families_of(NAMES, ()), had)
    assert held[had].sum() == 10
    assert held[~had].sum() == 90


def test_the_draw_does_not_depend_on_the_order() -> None:
    had = np.arange(300) % 10 == 0
    held = dict(zip(NAMES, hold_out(NAMES, families_of(NAMES, ()), had).tolist(), strict=True))
    turned = NAMES[::-1]
    again = hold_out(turned, families_of(turned, ()), had[::-1])
    assert held == dict(zip(turned, again.tolist(), strict=True))


def test_two_accounts_that_share_a_parent_which_has_no_rows_are_one_family() -> None:
    found = families_of(["a", "b", "c"], [("a", "group"), ("group", "holding"), ("c", "holding")])
    assert found.tolist() == [0, 1, 0]
