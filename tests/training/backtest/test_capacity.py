from __future__ import annotations

import numpy as np
import pytest

from training.backtest.capacity import captured_share

ONE_DRAW = np.ones((2, 6))


def of(y, value, score, cutoff, capacity, draws=ONE_DRAW, account=None):
    account = np.arange(len(y)) if account is None else account
    return captured_share(
        np.array(y, float),
        np.array(value, float),
        np.array(score, float),
        np.array(cutoff),
        np.array(account),
        draws,
        capacity=capacity,
    )


def test_the_share_is_that_of_the_money_of_the_first_accounts_of_each_cutoff() -> None:
    found = of(
        [1, 0, 1, 0, 1, 0],
        [10, 99, 30, 5, 40, 7],
        [6, 5, 1, 1, 9, 2],
        [0, 0, 0, 1, 1, 1],
        capacity=1,
    )
    assert found.share.value == pytest.approx((10 + 40) / (10 + 30 + 40))
    assert found.lift.value == pytest.approx((2 / 2) / (3 / 6))


def test_a_capacity_for_everybody_captures_everything() -> None:
    found = of(
        [1, 0, 1, 0, 1, 0],
        [10, 99, 30, 5, 40, 7],
        [6, 5, 1, 1, 9, 2],
        [0, 0, 0, 1, 1, 1],
        capacity=50,
    )
    assert (found.share.value, found.lift.value) == (1.0, 1.0)


def test_equal_scores_share_the_last_seat() -> None:
    found = of([1, 0, 1, 0, 0, 0], [10] * 6, [5, 2, 2, 2, 2, 1], [0] * 6, capacity=3)
    assert found.share.value == pytest.approx((1 + 2 / 4) / 2)


@pytest.mark.parametrize("capacity", [1, 4, 9])
def test_a_draw_is_worth_what_its_rows_written_out_are(capacity) -> None:
    rng = np.random.default_rng(capacity)
    n, n_accounts = 60, 20
    y, value = (rng.random(n) < 0.3).astype(float), rng.integers(1, 50, n).astype(float)
    score, cutoff = rng.integers(0, 25, n).astype(float), rng.integers(0, 3, n)
    account = rng.integers(0, n_accounts, n)
    draw = rng.multinomial(n_accounts, np.full(n_accounts, 1 / n_accounts)).astype(float)
    weighted = captured_share(
        y, value, score, cutoff, account, np.stack([draw, draw]), capacity=capacity
    )
    again = np.repeat(np.arange(n), draw[account].astype(int))
    written = captured_share(
        y[again],
        value[again],
        score[again],
        cutoff[again],
        account[again],
        np.ones((2, n_accounts)),
        capacity=capacity,
    )
    assert weighted.share.low == pytest.approx(written.share.value)
    assert weighted.lift.high == pytest.approx(written.lift.value)


def test_a_score_that_knows_nothing_captures_its_share_of_seats() -> None:
    rng = np.random.default_rng(3)
    n = 4000
    y, account = (rng.random(n) < 0.1).astype(float), np.arange(n)
    draws = rng.multinomial(n, np.full(n, 1 / n), size=50).astype(float)
    found = captured_share(
        y, np.ones(n), rng.random(n), np.zeros(n, int), account, draws, capacity=1000
    )
    assert found.share.low < 0.25 < found.share.high
    assert found.lift.low < 1 < found.lift.high
