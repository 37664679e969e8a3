"""A draw is believed, and what is none is found by the sizes of its arms or by its facts."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.causal.sample import NO_ACTION, Sample
from experiments.targeting.randomisation_check import find_draw_problem

ACTIONS = ("nothing", "call", "mail")
ODDS = np.array([0.5, 0.3, 0.2])


def drawn(seed, *, rows=600, odds=ODDS, promised=None):
    """Trials by these odds, with a number that few are far from the others in, and a rare flag."""
    rng = np.random.default_rng(seed)
    return Sample(
        covariates=np.column_stack([np.exp(1.5 * rng.normal(size=rows)), rng.random(rows) < 0.05]),
        covariate_names=("history", "is_odd"),
        arm=rng.choice(3, rows, p=odds),
        arms=(NO_ACTION, "call", "mail"),
        propensity=np.tile(ODDS if promised is None else promised, (rows, 1)),
        segment=np.full(rows, "all"),
        cluster=np.arange(rows),
    )


def with_fact(sample, column):
    return Sample(
        covariates=np.column_stack([sample.covariates, column]),
        covariate_names=(*sample.covariate_names, "visit"),
        arm=sample.arm,
        arms=sample.arms,
        propensity=sample.propensity,
        segment=sample.segment,
        cluster=sample.cluster,
    )


def test_a_draw_is_hardly_ever_doubted():
    doubted = [seed for seed in range(300) if find_draw_problem(drawn(seed), ACTIONS) is not None]
    assert len(doubted) <= 3  # .7 are expected, of 9,000 others 13 were


def test_arms_of_another_size_are_found():
    found = find_draw_problem(drawn(1, odds=np.array([0.3, 0.5, 0.2])), ACTIONS)
    assert found is not None
    assert found.startswith(
        "180 of 600 rows with a known outcome have the action 'nothing', and "
        "their propensities promise 300"
    )


def test_accounts_that_were_drawn_once_for_many_rows_are_one_draw():
    """Forty accounts of a hundred rows each: arms are as large as forty draws make them."""
    rng = np.random.default_rng(3)
    once = rng.choice(3, 40, p=ODDS)
    one = drawn(3, rows=4000)
    many = Sample(
        covariates=np.repeat(one.covariates[:40], 100, axis=0),
        arm=np.repeat(once, 100),
        covariate_names=one.covariate_names,
        arms=one.arms,
        propensity=one.propensity,
        segment=one.segment,
        cluster=np.repeat(np.arange(40), 100),
    )
    assert find_draw_problem(many, ACTIONS) is None


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (lambda arm, rng: rng.random(len(arm)) < 0.1 + 0.2 * (arm > 0), "'visit' is 0."),
        (lambda arm, rng: arm == 1, "'visit' is 1 on average in rows with the action 'call'"),
        (
            lambda arm, rng: np.where(arm > 0, rng.normal(size=len(arm)), np.nan),
            "'visit: not known' is 1 on average in rows with the action 'nothing'",
        ),
    ],
    ids=["more often", "the action itself", "known of the acted on alone"],
)
def test_what_came_after_the_draw_is_found(column, said):
    sample = drawn(5)
    found = find_draw_problem(
        with_fact(sample, column(sample.arm, np.random.default_rng(6)).astype(float)), ACTIONS
    )
    assert found is not None
    assert said in found
    assert "leave out (--leave-out COLUMN), or name it as a stage" in found


def test_all_that_came_after_the_draw_is_named_at_once():
    sample = drawn(7)
    late = with_fact(sample, (sample.arm == 1).astype(float))
    both = Sample(
        covariates=np.column_stack([late.covariates, late.arm == 2]),
        covariate_names=(*late.covariate_names, "opened"),
        arm=late.arm,
        arms=late.arms,
        propensity=late.propensity,
        segment=late.segment,
        cluster=late.cluster,
    )
    found = find_draw_problem(both, ACTIONS)
    assert found is not None
    assert "The same goes for 'visit'" in found or "The same goes for 'opened'" in found


def test_a_fact_by_which_the_odds_were_set_is_none_against_the_draw():
    """Large accounts were drawn more often, and the odds say so."""
    rng = np.random.default_rng(8)
    is_large = rng.random(2000) < 0.5
    chance = np.where(is_large, 0.8, 0.2)
    sample = Sample(
        covariates=is_large[:, None].astype(float),
        covariate_names=("is_large",),
        arm=(rng.random(2000) < chance).astype(int),
        arms=(NO_ACTION, "call"),
        propensity=np.column_stack([1 - chance, chance]),
        segment=np.full(2000, "all"),
        cluster=np.arange(2000),
    )
    assert find_draw_problem(sample, ACTIONS[:2]) is None
