from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from registry.bundle.calibration import Calibration, sigmoid
from training.models import calibration
from training.models.calibration import CalibrationError, extended, fit_calibration, unseen_by


def world(seed: int = 0, n: int = 4000, slope: float = 1.5, intercepts=(-3.0, -2.2, -1.8)):
    """Scores and nested outcomes whose probabilities are known."""
    rng = np.random.default_rng(seed)
    f = rng.normal(0, 1, n)
    p = sigmoid(np.array(intercepts)[None, :] + slope * f[:, None])
    outcomes = (rng.random(n)[:, None] < p).astype(float)
    return f, outcomes, np.arange(n), rng


def test_the_truth_is_found() -> None:
    f, outcomes, accounts, rng = world(n=20_000)
    fit = fit_calibration(f, outcomes, accounts, rng=rng)
    assert fit.slope == pytest.approx(1.5, abs=0.1)  # three standard errors at this n
    assert fit.intercepts == pytest.approx([-3.0, -2.2, -1.8], abs=0.12)


def test_how_low_a_chance_can_be_told_is_decided_by_accounts_and_not_by_rows() -> None:
    f = np.repeat(np.arange(500.0), 6)  # 500 accounts, six months each
    accounts = np.repeat(np.arange(500), 6)
    found = unseen_by(f, accounts, 4000, np.random.default_rng(0))
    assert found.chance == pytest.approx(0.5 / 101)  # the lowest fifth: 100 accounts
    assert found.most == pytest.approx(0.0249, abs=2e-4)  # of Beta(1/2, 100 1/2)
    assert found.draws.mean() == pytest.approx(found.chance, rel=0.1)
    assert np.quantile(found.draws, 0.975) == pytest.approx(found.most, rel=0.1)
    alone = unseen_by(f, np.arange(3000), 0, np.random.default_rng(0))
    assert alone.chance == pytest.approx(0.5 / 601)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(40, 200), st.floats(0.0, 3.0))
def test_a_probability_never_falls_with_the_horizon(seed: int, n: int, slope: float) -> None:
    f, outcomes, accounts, rng = world(seed, n, slope)
    if not 0 < outcomes[:, -1].sum() < n:
        return
    fit = fit_calibration(f, outcomes, accounts, n_draws=3, rng=rng)
    for row in (np.r_[fit.slope, fit.intercepts], *fit.draws):
        assert row[0] > 0
        assert (np.diff(row[1:]) >= 0).all()


def test_the_gradient_is_that_of_the_loss() -> None:
    f, outcomes, _, _ = world(n=300)
    outcomes[:40, 2] = np.nan
    rows = calibration._Intervals.of(f, outcomes, np.linspace(0.2, 1.0, len(f)))
    theta = np.array([-2.5, -0.3, -0.9, 0.4])
    _, gradient = calibration._posterior(theta, rows, 0.4)
    numeric = approx_fprime(theta, lambda t: calibration._posterior(t, rows, 0.4)[0], 1e-6)
    assert gradient == pytest.approx(numeric, rel=1e-3, abs=1e-3)  # forward differences


def test_one_horizon_is_a_plain_logistic_calibration() -> None:
    from sklearn.linear_model import LogisticRegression

    f, outcomes, accounts, rng = world()
    fit = fit_calibration(f, outcomes[:, 2:], accounts, rng=rng)
    plain = LogisticRegression(C=np.inf).fit(f[:, None], outcomes[:, 2])
    assert fit.slope == pytest.approx(plain.coef_[0, 0], abs=0.04)  # the prior pulls a little
    assert fit.intercepts[0] == pytest.approx(plain.intercept_[0], abs=0.04)


def test_rows_that_are_not_decided_at_the_longest_horizon_still_count() -> None:
    f, outcomes, accounts, rng = world(n=20_000)
    censored = outcomes.copy()
    censored[10_000:, 1:] = np.where(censored[10_000:, :1] == 1, 1.0, np.nan)
    fit = fit_calibration(f, censored, accounts, rng=rng)
    assert fit.intercepts == pytest.approx([-3.0, -2.2, -1.8], abs=0.15)


def test_the_mean_probability_is_the_observed_rate() -> None:
    f, outcomes, accounts, rng = world()
    fit = fit_calibration(f, outcomes, accounts, rng=rng)
    for position in range(3):
        assert fit.probability(f, position).mean() == pytest.approx(
            outcomes[:, position].mean(), abs=0.005
        )  # joint fit and a prior


def test_draws_spread_like_the_estimate() -> None:
    slopes = []
    for seed in range(30):
        f, outcomes, accounts, rng = world(seed, n=800)
        slopes.append(fit_calibration(f, outcomes, accounts, rng=rng).slope)
    f, outcomes, accounts, rng = world(99, n=800)
    drawn = fit_calibration(f, outcomes, accounts, n_draws=100, rng=rng).draws[:, 0]
    assert 0.6 < drawn.std() / np.std(slopes) < 1.6


def test_a_draw_by_one_step_is_close_to_a_refit_on_the_drawn_accounts() -> None:
    rng = np.random.default_rng(3)
    f, outcomes, _, _ = world(5, n=1500)
    accounts = rng.integers(0, 300, 1500)
    fit = fit_calibration(f, outcomes, accounts, n_draws=300, rng=rng)
    refits = []
    for _ in range(60):
        drawn = rng.integers(0, 300, 300)
        rows = np.concatenate([np.flatnonzero(accounts == a) for a in drawn])
        again = fit_calibration(f[rows], outcomes[rows], np.arange(len(rows)) // 5, rng=rng)
        refits.append(np.r_[again.slope, again.intercepts])
    ratio = fit.draws.std(axis=0) / np.std(refits, axis=0)
    assert ratio == pytest.approx(np.ones(4), abs=0.3)  # 60 refits know a spread to 9 %


def test_rows_that_repeat_their_account_let_the_prior_weigh_more() -> None:
    f, outcomes, accounts, rng = world(n=300, slope=2.5)
    alone = fit_calibration(f, outcomes, accounts, rng=rng)
    shared = fit_calibration(f, outcomes, accounts // 10, rng=rng)
    assert 1 < shared.slope < alone.slope


def test_a_shift_of_the_scores_changes_no_probability() -> None:
    f, outcomes, accounts, rng = world(n=500)
    fit = fit_calibration(f, outcomes, accounts, n_draws=20, rng=rng)
    moved = fit.shifted(1.7)
    for position in range(3):
        assert moved.probability(f + 1.7, position) == pytest.approx(fit.probability(f, position))
    high = sigmoid(moved.draws[:, 1] + moved.draws[:, 0] * (f[0] + 1.7))
    assert high == pytest.approx(sigmoid(fit.draws[:, 1] + fit.draws[:, 0] * f[0]))


def test_the_same_seed_gives_the_same_draws() -> None:
    f, outcomes, accounts, _ = world(n=500)
    one, two = (
        fit_calibration(f, outcomes, accounts, n_draws=5, rng=np.random.default_rng(7))
        for _ in range(2)
    )
    assert np.array_equal(one.draws, two.draws)


def test_an_interval_without_outcomes_stays_finite() -> None:
    f, outcomes, accounts, rng = world(n=500)
    outcomes[:, 0] = 0
    fit = fit_calibration(f, outcomes, accounts, rng=rng)
    assert np.isfinite(fit.intercepts).all()
    assert fit.probability(np.zeros(1), 0)[0] < 0.01


def test_the_served_value_has_the_same_probabilities() -> None:
    f, outcomes, accounts, rng = world(n=500)
    fit = fit_calibration(f, outcomes, accounts, n_draws=20, rng=rng)
    served = fit.for_serving((30, 60, 90))
    assert np.array_equal(served.probability(f, 60), fit.probability(f, 1))


def test_scores_that_are_not_finite_are_refused() -> None:
    f, outcomes, accounts, rng = world(n=100)
    f[3] = np.nan
    with pytest.raises(CalibrationError, match="1 of 100 raw scores are not finite"):
        fit_calibration(f, outcomes, accounts, rng=rng)


def test_one_class_is_refused() -> None:
    f, outcomes, accounts, rng = world(n=100)
    with pytest.raises(CalibrationError, match="only one class"):
        fit_calibration(f, np.zeros_like(outcomes), accounts, rng=rng)


@pytest.fixture
def one_month() -> tuple[np.ndarray, Calibration]:
    f, outcomes, accounts, rng = world(n=3_000)
    fit = fit_calibration(f, outcomes[:, :1], accounts, n_draws=200, rng=rng)
    return f, fit.for_serving((30,))


def test_longer_horizons_take_the_rate_of_the_longest_to_go_on(one_month) -> None:
    f, learned = one_month
    found = extended(learned, f, (60, 90), seed=1)
    assert (found.horizons, found.slope) == ((30, 60, 90), learned.slope)
    p = {days: found.probability(f, days) for days in found.horizons}
    assert (p[30] == learned.probability(f, 30)).all()
    for days in (60, 90):
        wanted = (1 - (1 - p[30]) ** (days / 30)).mean()
        assert p[days].mean() == pytest.approx(wanted, rel=0.01)
        assert (np.argsort(p[days]) == np.argsort(p[30])).all()
    assert (p[90] > p[60]).all()


def test_the_interval_of_what_was_not_learned_is_wider(one_month) -> None:
    f, learned = one_month
    found = extended(learned, f, (90,), seed=1)
    odds = {
        days: [np.log(p / (1 - p)) for p in found.probability_interval(f[:200], days)]
        for days in (30, 90)
    }
    width = {days: high - low for days, (low, high) in odds.items()}
    assert np.median(width[90]) > 1.5 * np.median(width[30])
    low, high = found.probability_interval(f, 90)
    assert ((low <= found.probability(f, 90)) & (found.probability(f, 90) <= high)).all()
