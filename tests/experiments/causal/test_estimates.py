from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from experiments.causal.contrast import Contrast, effective_size
from experiments.causal.estimates import (
    Estimate,
    clustered_error,
    estimate_of,
    heterogeneity,
    holm,
    segment_effects,
    tipping_risk_ratio,
    verdict_of,
)
from experiments.causal.sample import Sample, SampleError


def fit_of(values: np.ndarray, treated: np.ndarray, cluster: np.ndarray | None = None) -> Contrast:
    """A contrast whose effect is the plain difference of means."""
    share = treated.mean()
    means = {arm: values[treated == arm].mean() for arm in (True, False)}
    centred = np.where(
        treated, (values - means[True]) / share, -(values - means[False]) / (1 - share)
    )
    rows = len(values)
    sample = Sample.of_two_arms(
        covariates=np.empty((rows, 0)),
        covariate_names=(),
        treated=treated,
        propensity=np.full(rows, 0.5),
        cluster=np.arange(rows) if cluster is None else cluster,
    )
    return Contrast(
        sample=sample,
        action=1,
        estimand="ITT",
        numerator=(centred + means[True] - means[False])[None, :],
        denominator=np.ones((1, rows)),
        propensity=sample.propensity,
        weight=np.ones(rows),
        comparable=np.ones(rows, dtype=bool),
        kept=np.ones(rows, dtype=bool),
    )


def an_estimate(low: float, high: float) -> Estimate:
    return Estimate(
        estimand="ITT",
        estimate=(low + high) / 2,
        standard_error=(high - low) / 4,
        low=low,
        high=high,
        p_value=0.5,
        n=100,
        n_treated=50,
        n_control=50,
        n_clusters=100,
    )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_without_clusters_the_error_is_that_of_two_means(rng: np.random.Generator) -> None:
    treated = np.arange(400) % 2 == 0
    values = rng.normal(size=400) + 0.3 * treated
    estimate = estimate_of(fit_of(values, treated))
    peer = stats.ttest_ind(values[treated], values[~treated], equal_var=False)
    assert estimate.estimate == pytest.approx(values[treated].mean() - values[~treated].mean())
    # 1 %: Welch divides by n - 1 in each arm, the sandwich scales once by G / (G - 1).
    assert estimate.estimate / estimate.standard_error == pytest.approx(peer.statistic, rel=0.01)


def test_repeating_every_row_in_its_cluster_adds_no_certainty(rng: np.random.Generator) -> None:
    treated = np.arange(200) % 2 == 0
    values = rng.normal(size=200)
    once = estimate_of(fit_of(values, treated))
    twice = estimate_of(
        fit_of(np.repeat(values, 2), np.repeat(treated, 2), np.repeat(np.arange(200), 2))
    )
    assert twice.standard_error == pytest.approx(once.standard_error)
    assert (twice.n, twice.n_clusters) == (400, 200)


def test_the_order_of_rows_does_not_matter(rng: np.random.Generator) -> None:
    treated = np.arange(100) % 3 == 0
    values = rng.normal(size=100)
    cluster = np.arange(100) // 4
    order = rng.permutation(100)
    one = estimate_of(fit_of(values, treated, cluster))
    other = estimate_of(fit_of(values[order], treated[order], cluster[order]))
    assert one.low == pytest.approx(other.low)


def test_few_clusters_widen_the_interval() -> None:
    treated = np.arange(40) % 2 == 0
    values = np.tile([0.0, 1.0, 1.0, 0.0], 10)
    few = estimate_of(fit_of(values, treated, np.arange(40) // 10))
    reach = (few.high - few.low) / 2 / few.standard_error
    assert reach == pytest.approx(stats.t.ppf(0.975, 3))


def test_one_cluster_gives_no_error() -> None:
    with pytest.raises(SampleError, match="one cluster"):
        clustered_error(np.array([1.0, -1.0]), np.array([7, 7]))


def test_a_part_without_an_arm_has_no_effect() -> None:
    treated = np.arange(20) % 2 == 0
    with pytest.raises(SampleError, match="10 treated and 0 untreated"):
        estimate_of(fit_of(np.arange(20.0), treated), rows=treated)


def test_the_median_over_repeats_carries_their_spread() -> None:
    treated = np.arange(60) % 2 == 0
    one = fit_of(np.arange(60.0) % 7, treated)
    shifted = replace(
        one,
        numerator=np.vstack([one.numerator - 5, one.numerator, one.numerator + 5]),
        denominator=np.ones((3, 60)),
    )
    alone, together = estimate_of(one), estimate_of(shifted)
    assert together.estimate == pytest.approx(alone.estimate)
    assert together.standard_error == pytest.approx(np.hypot(alone.standard_error, 5))


@pytest.mark.parametrize(
    ("low", "high", "goal", "verdict"),
    [
        (-0.09, -0.01, "lower", "works"),
        (0.01, 0.09, "lower", "harms"),
        (-0.09, 0.01, "lower", "unknown"),
        (-0.004, 0.05, "lower", "does not work"),
        (10.0, 90.0, "higher", "works"),
        (-90.0, -10.0, "higher", "harms"),
    ],
)
def test_only_a_whole_interval_claims(low: float, high: float, goal: str, verdict: str) -> None:
    assert verdict_of(an_estimate(low, high), goal=goal, smallest_effect=0.005) == verdict


def test_holm_is_the_step_down_of_bonferroni() -> None:
    assert holm([0.001, 0.5, 0.02]) == pytest.approx((0.003, 0.5, 0.04))
    assert holm([0.6, 0.7]) == (1.0, 1.0)
    assert holm([]) == ()


def test_segments_are_read_together(rng: np.random.Generator) -> None:
    treated = np.arange(900) % 2 == 0
    segments = np.array(["a", "b", "c"])[np.arange(900) // 2 % 3]
    values = rng.normal(size=900) - 1.0 * treated * (segments == "a")
    fit = fit_of(values, treated)
    effects, small = segment_effects(fit, segments, goal="lower", smallest_effect=0.01)
    assert [effect.segment for effect in effects] == ["a", "b", "c"]
    assert not small
    assert effects[0].verdict == "works"
    alone = estimate_of(fit, rows=segments == "a")
    assert effects[0].estimate.low < alone.low  # wider, because three are read at once
    found = heterogeneity(effects)
    assert found is not None
    assert found.p_value < 0.001


def test_a_small_segment_is_named_and_not_estimated() -> None:
    treated = np.arange(200) % 2 == 0
    segments = ["big"] * 190 + ["tiny"] * 10
    effects, small = segment_effects(
        fit_of(np.arange(200.0), treated), segments, goal="lower", smallest_effect=0.01
    )
    assert ([effect.segment for effect in effects], small) == (["big"], ("tiny",))
    assert heterogeneity(effects) is None


@pytest.mark.slow
def test_among_useless_actions_one_in_twenty_claims_a_segment() -> None:
    claims = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        treated = rng.random(600) < 0.5
        segments = np.array(["a", "b", "c", "d"])[np.arange(600) % 4]
        effects, _ = segment_effects(
            fit_of(rng.normal(size=600), treated), segments, goal="lower", smallest_effect=0.01
        )
        claims += any(effect.verdict in ("works", "harms") for effect in effects)
    assert claims <= 32  # 99.7th percentile of a binomial of 400 with chance 0.05


def test_the_tipping_value_is_the_published_e_value() -> None:
    # Risk ratio 0.5 at the bound: 2 + sqrt(2) by VanderWeele and Ding (2017).
    assert tipping_risk_ratio(an_estimate(-0.15, -0.10), control_rate=0.2) == pytest.approx(
        2 + np.sqrt(2)
    )
    assert tipping_risk_ratio(an_estimate(-0.15, 0.10), control_rate=0.2) is None
    assert tipping_risk_ratio(an_estimate(-0.5, -0.3), control_rate=0.2) is None


def test_effective_size_counts_what_weights_leave() -> None:
    assert effective_size(np.ones(50)) == pytest.approx(50)
    assert effective_size(np.zeros(3)) == 0.0


def test_scaling_by_a_negative_turns_the_interval_round() -> None:
    turned = an_estimate(1.0, 3.0).scaled(-2.0)
    assert (turned.low, turned.high, turned.standard_error) == (-6.0, -2.0, 1.0)
    moved = an_estimate(1.0, 3.0).shifted(-5.0)
    assert moved.p_value < 0.05 < an_estimate(1.0, 3.0).shifted(-2.0).p_value
    assert (moved.low, moved.high, moved.standard_error) == (-4.0, -2.0, 0.5)
