"""The estimate before labels: right where probabilities are right, and said to be doubtful else."""

from __future__ import annotations

import numpy as np
import pytest

from training.metrics import auc, log_loss
from training.monitor.drift import Drift
from training.monitor.estimate import (
    LEAST_ROWS,
    MOST_OUTSIDE,
    estimate,
    expected_auc,
    expected_log_loss,
    past_error,
)
from training.monitor.matured import MaturedRows


def drawn(seed: int = 0, n: int = 600, *, wrong: float = 0.0) -> MaturedRows:
    """Rows of as many accounts; ``wrong`` is what the truth adds to the model's log-odds."""
    rng = np.random.default_rng(seed)
    logit = -2 + rng.normal(size=n)
    p, truth = 1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(-logit - wrong))
    return MaturedRows(
        horizon=30,
        outcome=(rng.random(n) < truth).astype(float),
        probability=p,
        instead=None,
        account=np.arange(n),
        cutoff=np.zeros(n, dtype=np.int64),
        segment=np.full(n, "unknown segment"),
    )


def of(rows: MaturedRows, *past: MaturedRows, **changes):
    p = rows.probability
    given = {"drift": still(), "past": past, "rng": np.random.default_rng(1)} | changes
    return estimate(p, 0.8 * p, 1.2 * p, 90, **given)


def still(*, distance: float = 0.02, outside: float = 0.0) -> Drift:
    return Drift(distance=distance, limit=0.1, outside=outside, n_then=1000, n_now=600, features=())


def test_it_says_what_comes_when_the_probabilities_are_right():
    rows = drawn(n=60_000)
    ones = np.ones((1, 60_000))
    told = of(rows)
    assert told.log_loss == pytest.approx(
        log_loss(rows.outcome, rows.probability, ones)[0], abs=0.01
    )
    assert told.auc == pytest.approx(auc(rows.outcome, rows.probability, ones)[0], abs=0.01)
    assert told.outcomes.value == pytest.approx(rows.outcome.sum(), rel=0.03)
    assert told.outcomes.low < told.outcomes.value < told.outcomes.high


def test_the_expected_auc_is_the_mean_over_what_may_come():
    rng = np.random.default_rng(3)
    p = np.round(rng.uniform(0.05, 0.9, 30), 1)  # with ties
    pairs = [
        (p[i] * (1 - p[j]), 1.0 if p[i] > p[j] else 0.5 if p[i] == p[j] else 0.0)
        for i in range(30)
        for j in range(30)
        if i != j
    ]
    slow = sum(w * v for w, v in pairs) / sum(w for w, _ in pairs)
    assert expected_auc(p) == pytest.approx(slow)


def test_nobody_to_order_is_unknown():
    assert expected_auc(np.zeros(5)) is None


def test_certainty_is_expected_to_be_right():
    np.testing.assert_allclose(expected_log_loss(np.array([0.0, 1.0])), 0.0, atol=2e-5)  # clipped


def test_right_on_what_has_matured_it_is_reliable():
    told = of(drawn(1), drawn(2))
    assert (told.trust, told.doubts) == ("reliable", ())


def test_without_matured_labels_it_is_not_checked():
    told = of(drawn(1))
    assert told.trust == "not checked"
    assert "no horizon has matured labels of 10 accounts" in told.doubts[0]


@pytest.mark.parametrize(
    ("rows", "changes", "doubt"),
    [
        (drawn(1, LEAST_ROWS - 1), {}, "about 99 accounts, fewer than 100"),
        (drawn(1), {"drift": still(outside=MOST_OUTSIDE + 0.01)}, "6% of what the scores rest on"),
        (drawn(1), {"drift": still(distance=0.2)}, "have drifted by 0.20, more than 0.10"),
        (drawn(1), {"drift": None}, "the drift of its features is not known"),
    ],
    ids=["few", "outside", "drifted", "drift not known"],
)
def test_it_says_why_it_is_not_reliable(rows, changes, doubt):
    told = of(rows, drawn(2), **changes)
    assert told.trust == "not reliable"
    assert len(told.doubts) == 1
    assert doubt in told.doubts[0]


@pytest.mark.parametrize("wrong", [1.0, -1.2], ids=["more leave", "fewer leave"])
def test_wrong_on_what_has_matured_it_is_not_reliable(wrong):
    told = of(drawn(1), drawn(2, wrong=wrong))
    assert told.trust == "not reliable"
    assert "the log loss was" in told.doubts[0]


def test_a_good_estimate_is_seldom_called_wrong():
    wrong = [
        past_error(drawn(seed), rng=np.random.default_rng(seed)).is_wrong for seed in range(60)
    ]
    assert np.mean(wrong) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 60)
