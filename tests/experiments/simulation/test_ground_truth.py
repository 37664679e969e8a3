"""What is true of a simulated world: chances that come true, effects as they were designed."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression

from experiments.simulation.ground_truth import add_potential_outcomes, true_effects
from experiments.simulation.hazards import (
    CERTAIN,
    HIGHEST,
    hazard_given_intent,
    intent_chance,
    period_hazard,
)

SEEN = [
    "use",
    "trend",
    "severe_tickets",
    "silence_days",
    "days_to_renewal",
    "age_days",
    "looks_bad",
]


def effect(world, intervention: str, segment: str = "all") -> dict[str, float]:
    return world.truth.effects.row(
        by_predicate=(pl.col("intervention") == intervention) & (pl.col("segment") == segment),
        named=True,
    )


def area_under_curve(chance: pl.Series, outcome: pl.Series) -> float:
    rank = chance.rank().to_numpy()
    happened = outcome.to_numpy()
    n = happened.sum()
    return (rank[happened].sum() - n * (n + 1) / 2) / (n * (len(rank) - n))


def test_both_futures_equal_a_slow_product():
    decisions = pl.DataFrame(
        {
            "decision_id": ["one", "two", "none"],
            "account": [0, 1, 2],
            "day": [100, 100, 100],
            "factor": [0.5, 3.0, 0.5],
        }
    )
    exits = pl.DataFrame(
        {
            "account": [0, 0, 0, 0, 0, 1, 1],
            "day": [100, 101, 150, 189, 190, 120, 180],
            "chance": [0.9, 0.1, 0.2, 0.3, 0.9, 0.5, 0.1],
        }
    )
    found = add_potential_outcomes(decisions, exits)
    assert found["decision_id"].to_list() == ["one", "two", "none"]
    assert np.allclose(found["retained_without"], [0.9 * 0.8 * 0.7, 0.5 * 0.9, 1.0])
    assert np.allclose(found["retained_with"], [0.95 * 0.9 * 0.85, 0.05 * 0.7, 1.0])
    first = 0.1 * 1 + 0.9 * 0.2 * 50 + 0.9 * 0.8 * 0.3 * 89 + 0.9 * 0.8 * 0.7 * 90
    second = 0.5 * 20 + 0.5 * 0.1 * 80 + 0.5 * 0.9 * 90
    assert np.allclose(found["days_without"], [first, second, 90])
    assert np.allclose(found["days_with"][1:], [0.95 * 20 + 0.05 * 0.3 * 80 + 0.05 * 0.7 * 90, 90])


def test_effects_equal_a_slow_mean(small):
    rows = [
        row
        for row in small.truth.decisions.filter("is_mature").to_dicts()
        if row["intervention"] == "success_call_pilot" and row["segment"] == "mid-market"
    ]
    gains = [row["retained_with"] - row["retained_without"] for row in rows]
    drawn = [row["arm"] == "treated" for row in rows]
    money = [gain * row["mrr_at_90d"] for gain, row in zip(gains, rows, strict=True)]
    found = effect(small, "success_call_pilot", "mid-market")
    assert found["n"] == len(rows)
    assert found["n_treated"] == sum(drawn)
    assert found["ate_retention"] == pytest.approx(np.mean(gains))
    assert found["att_retention"] == pytest.approx(np.mean(np.array(gains)[drawn]))
    assert found["itt_retention"] == pytest.approx(np.mean(gains) * (0.9 - 0.03))
    assert found["ate_revenue"] == pytest.approx(np.mean(money))


def test_immature_decisions_are_no_evidence(small):
    immature = small.truth.decisions.filter(~pl.col("is_mature"))
    assert immature.height > 0
    assert true_effects(immature).is_empty()


def test_what_happens_is_what_the_chances_say(small, confounded):
    """Over all decisions: as many stay as the future of what they received says."""
    for world in (small, confounded):
        rows = world.truth.decisions.filter("is_mature")
        chance = rows.select(
            pl.when("executed").then("retained_with").otherwise("retained_without")
        ).to_series()
        error = np.sqrt((chance * (1 - chance)).sum()) / rows.height
        assert abs(rows["retained_90d"].mean() - chance.mean()) <= 3 * error


def test_an_action_changes_what_happens_to_those_who_received_it_and_to_nobody_else(confounded):
    """What happened is likelier by the future of what was received than by the other one."""
    rows = confounded.truth.decisions.filter("is_mature", pl.col("factor") != 1)
    stays = pl.col("retained_90d")
    evidence = rows.with_columns(
        pl.when(stays).then(name).otherwise(1 - pl.col(name)).clip(1e-9).log().alias(name)
        for name in ("retained_with", "retained_without")
    ).with_columns(gain=pl.col("retained_with") - pl.col("retained_without"))
    for received, sign in ((True, 1), (False, -1)):
        gain = evidence.filter(pl.col("executed") == received)["gain"]
        assert sign * gain.sum() > 3  # twenty to one for the future that was lived


def test_the_best_forecast_is_calibrated_and_far_from_certain(small):
    rows = small.truth.chances.filter("is_mature")
    by_account = rows.group_by("account_id").agg(
        gap=(pl.col("churn_probability_90d") - pl.col("left_90d")).sum()
    )
    error = np.sqrt((by_account["gap"] ** 2).sum()) / rows.height
    gap = rows["churn_probability_90d"].mean() - rows["left_90d"].mean()
    assert abs(gap) <= 3 * error + 0.01  # an approximation: a point of bias is allowed
    assert 0.75 < area_under_curve(rows["churn_probability_90d"], rows["left_90d"]) < 0.92


def test_a_longer_horizon_never_lowers_the_chance(small):
    rows = small.truth.chances
    assert (rows["churn_probability_30d"] <= rows["churn_probability_60d"]).all()
    assert (rows["churn_probability_60d"] <= rows["churn_probability_90d"]).all()
    assert rows["churn_probability_90d"].is_between(0, 1).all()


def test_the_call_helps_larger_accounts_and_not_small_ones(small):
    for name in ("success_call_pilot", "success_call_by_judgement"):
        assert effect(small, name, "mid-market")["ate_retention"] > 0.03
        assert effect(small, name, "enterprise")["ate_retention"] > 0.02
        assert 0 <= effect(small, name, "small business")["ate_retention"] < 0.01


def test_the_training_helps_small_accounts_most(small):
    rates = [
        effect(small, "champion_training_pilot", segment)["ate_retention"]
        for segment in ("small business", "mid-market", "enterprise")
    ]
    assert rates[0] > 0.02
    assert rates[0] > 2 * max(rates[1:])


def test_one_action_does_exactly_nothing_and_one_harms(small):
    for segment in ("all", "small business", "mid-market", "enterprise"):
        nothing = effect(small, "tips_email_test", segment)
        assert nothing["ate_retention"] == nothing["ate_revenue"] == 0
        harm = effect(small, "concession_test", segment)
        assert harm["ate_retention"] < -0.005
        assert harm["ate_revenue"] < 0
    sure = small.truth.decisions.filter(pl.col("intervention") == "concession_test")
    woken = sure.filter(pl.col("factor") > 1)
    assert 0.3 < woken.height / sure.height < 0.8
    assert (
        woken["true_monthly_chance"].max()
        < sure.filter(pl.col("factor") == 1)["true_monthly_chance"].min()
    )


def difference(rows: pl.DataFrame) -> tuple[float, float]:
    """Share retained, treated minus control, and its standard error."""
    arms = [
        rows.filter(pl.col("arm") == arm)["retained_90d"].cast(pl.Float64)
        for arm in ("treated", "control")
    ]
    error = np.sqrt(sum(arm.var() / len(arm) for arm in arms))
    return arms[0].mean() - arms[1].mean(), float(error)


def test_the_lottery_is_right_without_adjustment(small):
    for name in (
        "success_call_pilot",
        "champion_training_pilot",
        "tips_email_test",
        "concession_test",
    ):
        rows = small.truth.decisions.filter("is_mature", pl.col("intervention") == name)
        found, error = difference(rows)
        assert abs(found - effect(small, name)["itt_retention"]) <= 3 * error, name


def test_judgement_makes_the_naive_difference_wrong_and_its_sign_too(confounded):
    rows = confounded.truth.decisions.filter(
        "is_mature", pl.col("intervention") == "success_call_by_judgement"
    )
    naive, error = difference(rows)
    truth = effect(confounded, "success_call_by_judgement")["att_retention"]
    assert truth > 0.02
    assert naive < 0
    assert abs(naive - truth) > 3 * error


def test_adjusting_for_what_the_csm_saw_is_right(confounded):
    """A plain cross-fit-free AIPW: linear outcomes per arm, the true propensity."""
    rows = confounded.truth.decisions.filter(
        "is_mature", pl.col("intervention") == "success_call_by_judgement"
    )
    segments = rows["segment"].to_dummies()
    seen = np.column_stack([rows.select(SEEN).to_numpy(), segments.to_numpy()])
    outcome = rows["retained_90d"].cast(pl.Float64).to_numpy()
    treated = (rows["arm"] == "treated").to_numpy()
    propensity = rows["propensity"].to_numpy()
    expected = [
        LinearRegression().fit(seen[arm], outcome[arm]).predict(seen) for arm in (~treated, treated)
    ]
    residual = outcome - np.where(treated, expected[1], expected[0])
    weight = np.where(treated, 1 / propensity, -1 / (1 - propensity))
    score = expected[1] - expected[0] + weight * residual
    by_account = (
        rows.select("account_id")
        .with_columns(gap=pl.Series(score - score.mean()))
        .group_by("account_id")
        .agg(pl.col("gap").sum())
    )
    error = np.sqrt((by_account["gap"] ** 2).sum()) / len(score)
    truth = effect(confounded, "success_call_by_judgement")["ate_retention"]
    assert error < 0.04
    assert abs(score.mean() - truth) <= 3 * error


@pytest.mark.parametrize("hazard", [0.0, 0.01, 0.3, HIGHEST])
def test_announcing_changes_when_not_whether(hazard):
    chance = np.array([hazard])
    said = intent_chance(chance)
    total = said * hazard_given_intent(chance, np.array([True])) + (1 - said) * hazard_given_intent(
        chance, np.array([False])
    )
    assert total == pytest.approx(hazard)
    assert hazard_given_intent(chance, np.array([False]))[0] <= CERTAIN


def test_a_longer_period_gathers_more_months_of_hazard():
    chances = period_hazard(np.full(3, -3.0), np.array([1, 3, 12]))
    assert (np.diff(chances) > 0).all()
    assert period_hazard(np.array([20.0]), np.array([12]))[0] == HIGHEST
