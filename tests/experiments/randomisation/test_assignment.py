from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.randomisation.assignment import LotteryError, draw_assignments, hash_position

names = st.lists(st.text(min_size=1, max_size=6), min_size=2, max_size=30, unique=True)


@given(accounts=names, data=st.data())
def test_a_lottery_draws_exactly_k_whatever_the_order(
    accounts: list[str], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(accounts) - 1))
    shuffled = data.draw(st.permutations(accounts))
    drawn = draw_assignments("design", accounts, k=k, draw="march")
    assert drawn == draw_assignments("design", shuffled, k=k, draw="march")
    assert sum(item.arm == "treated" for item in drawn) == k
    assert {item.propensity for item in drawn} == {k / len(accounts)}
    assert {item.account_id for item in drawn} == set(accounts)


def test_draws_and_designs_are_independent() -> None:
    accounts = [f"a{number}" for number in range(2000)]

    def treated(design: str, draw: str) -> np.ndarray:
        return np.array(
            [
                item.arm == "treated"
                for item in draw_assignments(design, accounts, k=1000, draw=draw)
            ]
        )

    same = (treated("one", "march") == treated("one", "april")).mean()
    other = (treated("one", "march") == treated("two", "march")).mean()
    # 4 standard deviations of a share of 2,000 fair coins.
    assert abs(same - 0.5) < 0.045
    assert abs(other - 0.5) < 0.045


def test_positions_are_uniform() -> None:
    positions = [hash_position("d", str(number)) for number in range(4000)]
    counts, _ = np.histogram(positions, bins=10, range=(0, 1))
    assert counts.min() > 320  # 4 standard deviations below 400
    assert min(positions) >= 0
    assert max(positions) < 1


@pytest.mark.parametrize("k", [0, 3, 4])
def test_a_lottery_needs_both_arms(k: int) -> None:
    with pytest.raises(LotteryError, match="somebody has to be drawn and somebody left out"):
        draw_assignments("d", ["a", "b", "c"], k=k, draw="x")


def test_a_lottery_names_nobody_twice() -> None:
    with pytest.raises(LotteryError, match="has a name twice"):
        draw_assignments("d", ["a", "a", "b"], k=1, draw="x")
