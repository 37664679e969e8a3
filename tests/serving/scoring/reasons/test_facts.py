from __future__ import annotations

from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from features.catalogue.catalogue import load_catalogue
from features.health.formula import FORMULAS
from features.health.score import health_column
from registry.bundle.model_forms import TreeForm
from registry.trees.arrays import TreeArrays
from serving.scoring.reasons.facts import Facts

CATALOGUE = load_catalogue().by_name
BALANCED = FORMULAS["balanced"]
HEALTH = ("health_score", "nps_last", "seats")


class Adding:
    """A model that adds this many points for each feature."""

    def __init__(self, points: np.ndarray) -> None:
        self.given = points
        self.usual = {"days_since_activity": 1.0, "adoption_depth_28d": 0.4, "nps_last": 8.0}

    def points(self, matrix, horizon_days, *, raw=None, within=None):
        return self.given.copy(), 0.05

    def zero_at(self, name):
        return 80.0 if name == "health_score" else None


def explained(names, model, frame):
    facts = Facts.of(names, CATALOGUE, BALANCED)
    matrix = frame.select(
        (pl.col(n) if n in frame.columns else pl.lit(None)).cast(pl.Float64).fill_null(np.nan)
        for n in names
    ).to_numpy()
    return facts, facts.explain(model, matrix, 90, frame, raw=np.zeros(len(matrix)))


def test_the_features_that_make_the_health_score_are_facts_too():
    facts = Facts.of(HEALTH, CATALOGUE, BALANCED)
    assert facts.names[:3] == HEALTH
    assert {"days_since_activity", "adoption_depth_28d", "csat_last"} <= set(facts.names)
    assert len(set(facts.names)) == len(facts.names)
    without = Facts.of(("nps_last", "seats"), CATALOGUE, BALANCED)
    assert without.names == ("nps_last", "seats")
    assert without.n_read == 2


def test_what_is_added_for_health_goes_to_the_features_that_made_it():
    """By half on what they say, by half on use; the model's own correction stays on its feature."""
    frame = pl.DataFrame(
        {
            "days_since_activity": [20.0],
            "adoption_depth_28d": [0.4],
            "nps_last": [4.0],
            "seats": [9.0],
        }
    )
    frame = frame.with_columns(health_score=health_column(frame, BALANCED))
    model = Adding(np.array([[0.05, -0.01, 0.0]]))
    facts, found = explained(HEALTH, model, frame)
    points = dict(zip(facts.names, found.points[0], strict=True))
    assert points["health_score"] == 0
    assert points["days_since_activity"] > 0.01
    assert points["nps_last"] > 0  # -0.01 of its own, and more of health
    assert found.points.sum() == pytest.approx(0.04)
    by_theme = dict(zip(facts.themes, found.by_theme[0], strict=True))
    assert by_theme["health"] == 0
    assert by_theme["sentiment"] == pytest.approx(points["nps_last"])
    assert found.total[0] == pytest.approx(0.04)


def test_an_unknown_health_is_told_of_nobody():
    frame = pl.DataFrame({"health_score": [None], "nps_last": [4.0], "seats": [9.0]})
    facts, found = explained(HEALTH, Adding(np.array([[0.05, 0.01, 0.0]])), frame)
    assert found.by_theme.sum() == pytest.approx(0.01)
    assert found.total[0] == pytest.approx(0.06)
    assert found.values[0, facts.place["nps_last"]] == 4.0


class OfTrees:
    """A tree that asks two features of one theme and another between them; points are log-odds here."""

    usual: ClassVar[dict[str, float]] = {}
    form = TreeForm(
        trees=TreeArrays(
            first_node=np.array([0, 3], np.int32), first_leaf=np.array([0, 4], np.int32),
            feature=np.array([0, 2, 1], np.int32), kind=np.zeros(3, np.uint8),
            threshold=np.array([20.0, 4.0, 0.1]), category_set=np.full(3, -1, np.int32),
            left=np.array([1, 2, -1], np.int32), right=np.array([-4, -3, -2], np.int32),
            leaf_value=np.array([-1.0, 0.5, 1.0, 3.0]), leaf_cover=np.array([6.0, 2.0, 4.0, 3.0]),
            first_word=np.zeros(1, np.int32), category_words=np.zeros(0, np.uint32),
        )
    )  # fmt: skip

    def points(self, matrix, horizon_days, *, raw=None, within=None):
        return self.form.contributions_within(matrix, raw, within), self.form.base


def test_the_facts_of_a_theme_add_up_to_what_it_adds_as_one_player():
    names, model = ("errors_7d", "error_rate_7d", "seats"), OfTrees()
    frame = pl.DataFrame(
        {"errors_7d": [9.0, 1.0], "error_rate_7d": [0.2, 0.0], "seats": [3.0, 9.0]}
    )
    facts, found = explained(names, model, frame)
    rows = frame.to_numpy()
    raw = model.form.score(rows)
    themes = model.form.theme_contributions(rows, raw, facts.theme)
    np.testing.assert_allclose(found.by_theme, themes, atol=1e-12)
    np.testing.assert_allclose(found.points @ facts.in_theme, themes, atol=1e-12)
    assert np.abs(found.points - model.form.contributions(rows)).max() > 0.01  # not scaled alone
    np.testing.assert_allclose(found.start + found.total, raw)


def test_values_that_are_words_or_missing_are_unknown():
    frame = pl.DataFrame({"nps_last": ["nine"], "seats": [None]}, schema_overrides={"seats": float})
    facts = Facts.of(("nps_last", "seats", "of_nobody"), CATALOGUE, BALANCED)
    read = np.array([[9.0, np.nan, 0.0]])  # a word may be read as a number of its own
    found = facts.explain(Adding(np.zeros((1, 3))), read, 90, frame, raw=np.zeros(1))
    assert np.isnan(found.values).all()
    assert np.isnan(found.age).all()
