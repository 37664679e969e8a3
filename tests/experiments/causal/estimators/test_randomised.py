from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from causal_worlds import sample_world

from experiments.causal.estimates import estimate_of, mean_effects
from experiments.causal.estimators.nuisances import design_matrix
from experiments.causal.estimators.randomised import estimate_randomised, score_lottery
from experiments.causal.sample import Sample, SampleError


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_it_equals_the_interacted_regression_of_a_library(rng: np.random.Generator) -> None:
    """Lin (2013) as one weighted regression with centred, interacted covariates."""
    world = sample_world(rng, confounded=False, rows=2000, draws=3)
    fit = estimate_randomised(world.sample, {"y": world.continuous}, estimand="ITT", rng=rng)["y"]
    treated, stratum = world.sample.treated.astype(float), world.sample.stratum
    covariates = np.column_stack(
        [
            design_matrix(world.sample.covariates),
            *[(stratum == draw).astype(float) for draw in (1, 2)],
        ]
    )
    centred = covariates - covariates.mean(axis=0)
    columns = np.column_stack([np.ones(2000), treated, centred, centred * treated[:, None]])
    peer = sm.WLS(world.continuous, columns, weights=fit.weight).fit(
        cov_type="cluster", cov_kwds={"groups": world.sample.cluster}
    )
    ours = estimate_of(fit)
    assert ours.estimate == pytest.approx(peer.params[1], rel=1e-9)
    # 5 %: ours also counts that the centre of the covariates is itself estimated.
    assert ours.standard_error == pytest.approx(peer.bse[1], rel=0.05)


def test_without_covariates_it_is_the_weighted_difference_of_means(
    rng: np.random.Generator,
) -> None:
    world = sample_world(rng, confounded=False, rows=1200, draws=3)
    bare = world.sample.columns(())
    one_draw = replace(bare, stratum=None)
    fit = estimate_randomised(one_draw, {"y": world.outcome}, estimand="ITT", rng=rng)["y"]
    treated, p = bare.treated, bare.propensity[:, 1]
    by_hand = np.average(world.outcome[treated], weights=1 / p[treated]) - np.average(
        world.outcome[~treated], weights=1 / (1 - p[~treated])
    )
    assert estimate_of(fit).estimate == pytest.approx(by_hand)


def test_draws_with_other_odds_and_other_risks_do_not_mislead() -> None:
    """Where odds and risk both differ between draws, the plain difference is wrong."""
    found, plain, truth = [], [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        world = sample_world(rng, confounded=False, rows=3000, draws=3)
        fit = estimate_randomised(world.sample, {"y": world.outcome}, estimand="ITT", rng=rng)["y"]
        treated = world.sample.treated
        found.append(estimate_of(fit).estimate - world.ate)
        plain.append(world.outcome[treated].mean() - world.outcome[~treated].mean() - world.ate)
        truth.append(estimate_of(fit).standard_error)
    error = np.mean(truth) / np.sqrt(6)
    assert abs(np.mean(found)) < 3 * error
    assert abs(np.mean(plain)) > 3 * error


def test_covariates_sharpen_the_interval(rng: np.random.Generator) -> None:
    world = sample_world(rng, confounded=False, rows=2000)
    outcomes = {"y": world.continuous}
    with_them = estimate_randomised(world.sample, outcomes, estimand="ITT", rng=rng)["y"]
    without = estimate_randomised(world.sample.columns(()), outcomes, estimand="ITT", rng=rng)["y"]
    assert estimate_of(with_them).standard_error < 0.9 * estimate_of(without).standard_error


def test_a_small_lottery_takes_only_what_its_rows_allow(rng: np.random.Generator) -> None:
    world = sample_world(rng, confounded=False, rows=40)
    wide = replace(
        world.sample,
        covariates=rng.normal(size=(40, 39)),
        covariate_names=tuple(f"x{number}" for number in range(39)),
    )
    fit = estimate_randomised(wide, {"y": world.outcome}, estimand="ITT", rng=rng)["y"]
    plain = estimate_randomised(wide.columns(()), {"y": world.outcome}, estimand="ITT", rng=rng)[
        "y"
    ]
    assert estimate_of(fit) == estimate_of(plain)


def test_the_effect_on_staying_is_that_on_leaving_with_the_other_sign(
    rng: np.random.Generator,
) -> None:
    """Also where a column is constant in one arm, so that its coefficient there is not identified."""
    world = sample_world(rng, confounded=False, rows=400)
    only_untreated = np.where(world.sample.treated, 1.0, rng.normal(size=400))
    sample = replace(
        world.sample,
        covariates=np.column_stack([only_untreated, world.sample.covariates]),
        covariate_names=("only_untreated", *world.sample.covariate_names),
    )
    leaving, staying = (
        estimate_of(estimate_randomised(sample, {"y": y}, estimand="ITT", rng=rng)["y"])
        for y in (world.outcome, 1 - world.outcome)
    )
    assert staying.estimate == pytest.approx(-leaving.estimate, rel=1e-9)
    assert staying.standard_error == pytest.approx(leaving.standard_error, rel=1e-9)


@pytest.mark.parametrize("wrong", [np.nan, 0.0, 1.0])
def test_chance_must_have_decided(rng: np.random.Generator, wrong: float) -> None:
    world = sample_world(rng, confounded=False, rows=100)
    propensity = world.sample.propensity.copy()
    propensity[7] = [1 - wrong, wrong]
    judged = replace(world.sample, propensity=propensity)
    with pytest.raises(SampleError, match="1 of 100 trials have no logged propensity"):
        estimate_randomised(judged, {"y": world.outcome}, estimand="ITT", rng=rng)


def test_several_arms_are_scored_as_two_are() -> None:
    """The arms of a lottery do not see each other: an action's score is that of its own pair."""
    rng = np.random.default_rng(1)
    rows = 3000
    x = rng.normal(size=(rows, 2))
    arm = rng.integers(3, size=rows)
    outcome = x[:, 0] + np.array([0.0, 0.5, -0.3])[arm] + rng.normal(size=rows)
    sample = Sample(
        covariates=x,
        covariate_names=("health", "load"),
        arm=arm,
        arms=("none", "call", "training"),
        propensity=np.full((rows, 3), 1 / 3),
        segment=np.full(rows, "all"),
        cluster=np.arange(rows),
    )
    found = mean_effects(score_lottery(sample, outcome))
    for action, effect in enumerate((0.5, -0.3), 1):
        alone = estimate_randomised(sample, {"y": outcome}, estimand="ITT", rng=rng, action=action)[
            "y"
        ]
        assert estimate_of(alone).estimate == found[action - 1].estimate
        assert abs(found[action - 1].estimate - effect) < 3 * found[action - 1].standard_error
