from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from features.health.formula import FORMULAS
from features.health.parts import deciding_features, health_parts
from features.health.score import health_column

USUAL = {
    "days_since_activity": 1.0,
    "adoption_depth_28d": 0.4,
    "nps_last": 8.0,
    "csat_last": 4.0,
    "invoice_days_overdue": 0.0,
}

formulas = pytest.mark.parametrize("name", sorted(FORMULAS))


def accounts(n: int, seed: int = 0) -> pl.DataFrame:
    """Features of every formula, a third of them unknown."""
    rng = np.random.default_rng(seed)
    names = dict.fromkeys(name for formula in FORMULAS.values() for name in formula.inputs)
    return pl.DataFrame(
        {
            name: pl.Series(
                np.where(rng.random(n) < 0.3, np.nan, rng.choice([0.0, 0.3, 1.0, 9.0, 40.0], n))
            ).fill_nan(None)
            for name in names
        }
    )


@formulas
def test_parts_sum_to_the_distance_from_the_reference(name):
    frame = accounts(200)
    parts = health_parts(FORMULAS[name], frame, USUAL, 71.0)
    score = health_column(frame, FORMULAS[name]).to_numpy()
    known = ~np.isnan(score)
    assert known.sum() > 20
    np.testing.assert_allclose(parts.moved.sum(axis=1)[known], score[known] - 71.0, atol=1e-9)


def test_what_the_score_adds_is_handed_back_whole():
    frame = accounts(200)
    parts = health_parts(FORMULAS["balanced"], frame, USUAL, 71.0)
    score = health_column(frame, FORMULAS["balanced"]).to_numpy()
    added = np.where(np.isnan(score), 0.4, -0.003 * (score - 71.0))
    shared = parts.share_out(added, score, 71.0)
    known = ~np.isnan(score)
    np.testing.assert_allclose(shared.sum(axis=1)[known], added[known], atol=1e-12)
    assert not shared[~known].any()


def test_the_part_that_is_worse_than_usual_raises_and_the_better_one_lowers():
    frame = pl.DataFrame(
        {
            "days_since_activity": [1.0, 1.0, 20.0],
            "adoption_depth_28d": [0.4, 0.9, 0.4],
            "nps_last": [3.0, 8.0, 10.0],
            "invoice_days_overdue": [0.0, 0.0, 0.0],
            "invoices_failed_90d": [0.0, 0.0, 0.0],
        }
    )
    score = health_column(frame, FORMULAS["balanced"]).to_numpy()
    usual = health_column(pl.DataFrame([USUAL | {"nps_last": 8.0}]), FORMULAS["balanced"])
    parts = health_parts(FORMULAS["balanced"], frame, USUAL, usual[0])
    raised = parts.share_out(-0.01 * (score - usual[0]), score, usual[0])
    raised = {name: raised[:, n] for n, name in enumerate(parts.names)}
    assert np.sign(raised["nps_last"].round(9)).tolist() == [1, 0, -1]
    assert np.sign(raised["adoption_depth_28d"].round(9)).tolist() == [0, -1, 0]
    assert np.sign(raised["days_since_activity"].round(9)).tolist() == [0, 0, 1]
    assert not raised["invoice_days_overdue"].round(9).any()


def test_a_score_at_the_reference_and_an_unknown_one_share_nothing():
    frame = pl.DataFrame({"nps_last": [4.0, 4.0]})
    parts = health_parts(FORMULAS["balanced"], frame, USUAL, 50.0)
    assert not parts.share_out(np.ones(2), np.array([50.0, np.nan]), 50.0).any()


def test_the_worst_of_several_measures_is_the_one_that_decided():
    formula = FORMULAS["usage_led"]
    frame = pl.DataFrame({"invoice_days_overdue": [9.0], "invoices_failed_90d": [0.0]})
    parts = health_parts(formula, frame, {}, 60.0)
    moved = dict(zip(parts.names, parts.moved[0], strict=True))
    assert moved["invoice_days_overdue"] < 0
    assert moved["invoices_failed_90d"] == 0


@formulas
def test_only_features_of_components_that_count_decide(name):
    formula = FORMULAS[name]
    shown_only = {m.feature for c in formula.components if not c.weight for m in c.measures}
    counted = {m.feature for c in formula.components if c.weight for m in c.measures}
    assert set(deciding_features(formula)) == counted
    assert not (shown_only - counted) & set(deciding_features(formula))
