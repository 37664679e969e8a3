from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from training import metrics as evaluation
from training.metrics import (
    EvaluationError,
    Interval,
    account_draws,
    evaluate,
    flat,
    groups_covered,
    metrics_by_draw,
)


def rows(seed: int = 0, n: int = 400, n_accounts: int = 60):
    rng = np.random.default_rng(seed)
    p = np.round(rng.beta(1, 8, n), 2)  # ties on purpose
    y = (rng.random(n) < p).astype(float)
    return y, p, rng.integers(0, n_accounts, n)


def top_lift(y: np.ndarray, p: np.ndarray) -> float:
    """Mean over many random orders of ties: slow and obvious."""
    rng = np.random.default_rng(1)
    k = len(y) // 10
    rates = [y[np.lexsort((rng.random(len(y)), -p))[:k]].mean() for _ in range(4000)]
    return float(np.mean(rates) / y.mean())


REFERENCE = {
    "log_loss": reference.log_loss,
    "brier": reference.brier_score_loss,
    "auc": reference.roc_auc_score,
    "average_precision": reference.average_precision_score,
}


@pytest.mark.parametrize("name", REFERENCE)
@settings(deadline=None, max_examples=50)
@given(weights=st.lists(st.integers(0, 3), min_size=400, max_size=400))
def test_a_weighted_metric_equals_that_of_repeated_rows(name: str, weights: list[int]) -> None:
    y, p, _ = rows()
    w = np.array(weights, dtype=float)
    repeated = np.repeat(np.arange(len(y)), weights)
    if not 0 < y[repeated].sum() < len(repeated):
        return
    mine = metrics_by_draw(y, p, w[None, :])[name][0]
    q = np.clip(p[repeated], evaluation.SMALLEST, 1 - evaluation.SMALLEST)
    assert mine == pytest.approx(REFERENCE[name](y[repeated], q), abs=1e-9)  # sums in two orders


def test_lift_shares_the_last_place_among_ties() -> None:
    y, p, _ = rows()
    lift = metrics_by_draw(y, p, np.ones((1, len(y))))["lift_at_10_percent"][0]
    assert lift == pytest.approx(top_lift(y, p), abs=0.05)  # Monte Carlo of the reference


def test_calibration_error_of_ten_groups_by_hand() -> None:
    p = np.repeat(np.arange(10) / 10 + 0.05, 10)
    y = np.tile([1.0] + [0.0] * 9, 10)  # every group has a rate of 0.1
    error = metrics_by_draw(y, p, np.ones((1, 100)))["calibration_error"][0]
    assert error == pytest.approx(np.abs(np.arange(10) / 10 + 0.05 - 0.1).mean())


def test_metrics_do_not_depend_on_the_order_of_rows() -> None:
    y, _, _ = rows()
    p = np.random.default_rng(3).random(len(y))
    order = np.random.default_rng(4).permutation(len(y))
    one = np.ones((1, len(y)))
    expected = metrics_by_draw(y, p, one)
    for metric, found in metrics_by_draw(y[order], p[order], one).items():
        assert found == pytest.approx(expected[metric]), metric


def test_intervals_widen_when_rows_repeat_their_account() -> None:
    y, p, _ = rows(n=300)
    rng = np.random.default_rng(0)
    alone, shared = np.arange(300), np.arange(300)
    y4, p4 = np.tile(y, 4), np.tile(p, 4)

    def widths(accounts: np.ndarray) -> float:
        found = evaluate(y4, p4, accounts, account_draws(accounts, 300, rng))["log_loss"]
        return found.high - found.low

    assert widths(np.tile(shared, 4)) > 1.6 * widths(
        np.r_[alone, 300 + alone, 600 + alone, 900 + alone]
    )


def test_the_interval_of_the_mean_loss_covers_the_truth() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    truth = -np.mean(
        [q * np.log(q) + (1 - q) * np.log(1 - q) for q in rng.uniform(0.05, 0.4, 200_000)]
    )
    for _ in range(100):
        q = rng.uniform(0.05, 0.4, 300)
        y = (rng.random(300) < q).astype(float)
        accounts = np.arange(300)
        found = evaluate(y, q, accounts, account_draws(accounts, 200, rng))["log_loss"]
        covered += found.low <= truth <= found.high
    assert covered >= 88  # 95 of 100 expected; 88 is three standard errors below


def test_the_interval_of_the_calibration_error_holds_its_value() -> None:
    for seed in range(10):
        y, p, accounts = rows(seed, n=1000)
        draws = account_draws(accounts, 100, np.random.default_rng(seed))
        found = evaluate(y, p, accounts, draws)["calibration_error"]
        assert 0 <= found.low <= found.value <= found.high


def test_blocks_of_draws_give_the_same_numbers() -> None:
    y, p, accounts = rows()
    draws = account_draws(accounts, 50, np.random.default_rng(0))
    whole = evaluate(y, p, accounts, draws)
    in_blocks = evaluate(y, p, accounts, draws, cells=7 * len(y))
    # BLAS adds in another order for another number of draws
    assert flat(in_blocks) == pytest.approx(flat(whole), rel=1e-12)


def test_flat_numbers_carry_their_interval() -> None:
    numbers = flat({"auc": Interval(value=0.7, low=0.6, high=0.8)}, prefix="test_90d_")
    assert numbers == {"test_90d_auc": 0.7, "test_90d_auc_low": 0.6, "test_90d_auc_high": 0.8}


def test_one_class_is_refused() -> None:
    y, p, accounts = rows()
    draws = account_draws(accounts, 5, np.random.default_rng(0))
    with pytest.raises(EvaluationError, match="only one class"):
        evaluate(np.zeros(len(y)), p, accounts, draws)


def test_no_rows_are_refused() -> None:
    with pytest.raises(EvaluationError, match="no rows"):
        account_draws(np.array([], dtype=np.int64), 5, np.random.default_rng(0))


def test_intervals_cover_the_rate_of_a_group_as_often_as_they_say() -> None:
    """A fit to few accounts, whose interval is right, covers 95 % of groups; a third of it, fewer."""
    rng, wide, narrow = np.random.default_rng(4), [], []
    for _ in range(60):
        true = np.sort(rng.beta(2, 18, 4_000))
        error = rng.normal(0, 0.25)  # one error for all, as of an intercept
        odds = np.log(true / (1 - true)) + error
        p, ends = (
            1 / (1 + np.exp(-odds)),
            [1 / (1 + np.exp(-odds - w * 1.96 * 0.25)) for w in (-1, 1, -1 / 3, 1 / 3)],
        )
        y = (rng.random(len(true)) < true).astype(float)
        account = np.arange(len(true))
        wide.append(groups_covered(y, p, ends[0], ends[1], account).mean())
        narrow.append(groups_covered(y, p, ends[2], ends[3], account).mean())
    assert 0.93 <= np.mean(wide) <= 0.99
    assert np.mean(narrow) < 0.88


def test_rows_of_one_account_are_one_draw_in_the_error_of_a_group() -> None:
    """Twenty rows an account that come together: a group is a few draws, not hundreds."""
    rng = np.random.default_rng(0)
    account = np.repeat(np.arange(400), 20)
    y = np.repeat((rng.random(400) < 0.1).astype(float), 20)
    p = np.full(len(y), 0.1) + np.linspace(0, 1e-6, len(y))
    assert groups_covered(y, p, p, p, account, groups=20).mean() >= 0.7
    assert groups_covered(y, p, p, p, np.arange(len(y)), groups=20).mean() < 0.6
