"""The reasons of many rows are those that each row is given by itself."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scores_one_by_one import reasons_one_by_one

from features.catalogue.catalogue import load_catalogue
from serving.scoring.explanations import MOST_REASONS, PeerGroup, Peers
from serving.scoring.reason_themes import Themes
from serving.scoring.score import NONE
from serving.scoring.scores_file.reason_columns import ReasonSentences

CATALOGUE = load_catalogue().by_name
NAMES = (*tuple(CATALOGUE)[::2], "not_declared", "another_one")
GROUP = PeerGroup(where="among all accounts", medians=dict.fromkeys(NAMES[::3], 2.0))
PEERS = Peers(groups={(): {(): GROUP.medians}})


def contributions(size: float) -> np.ndarray:
    rng = np.random.default_rng(4)
    points = rng.normal(0, size, (300, len(NAMES)))
    points[rng.random(points.shape) < 0.3] = 0.0
    return points


def one_by_one(points, values, most):
    known = {
        name: None if value != value else float(value)
        for name, value in zip(NAMES, values, strict=True)
    }
    return reasons_one_by_one(NAMES, points, 0.1, known, CATALOGUE, (GROUP,)).top(most)


@pytest.mark.parametrize("most", [1, 5, 15])
@pytest.mark.parametrize("size", [0.02, 0.0005, 0.00002], ids=["large", "small", "hardly any"])
def test_reasons_points_and_words_are_those_of_each_row(most, size):
    points = contributions(size)
    values = np.random.default_rng(5).normal(2, 1, points.shape).round(1)
    values[:, ::7] = np.nan
    found = Themes.of(NAMES, CATALOGUE).foremost(points, most)
    leading = np.take_along_axis(values, np.maximum(found.leading, 0), axis=1)
    said = ReasonSentences(NAMES, CATALOGUE, PEERS).columns(
        pl.DataFrame({"account_id": ["a"] * len(points)}), found.leading, leading
    )
    numbers = []
    for row in range(len(points)):
        expected = one_by_one(points[row], values[row], most)
        numbers.append(len(expected))
        told = [rank for rank in range(found.leading.shape[1]) if found.leading[row, rank] != NONE]
        assert [NAMES[found.leading[row, rank]] for rank in told] == [r.feature for r in expected]
        assert [said[rank][row] for rank in told] == [r.sentence for r in expected]
        np.testing.assert_allclose(
            found.points[row, told], [r.points for r in expected], rtol=1e-12
        )
    assert max(numbers) == (0 if size == 0.00002 else most)


def test_a_list_says_so_many_at_most():
    """More than that would point one way, and the smallest of them are left out as for one."""
    points = contributions(0.02)
    themes = {(CATALOGUE[n].role, CATALOGUE[n].theme) for n in NAMES if n in CATALOGUE}
    assert sum(role == "signal" for role, _ in themes) > MOST_REASONS
    found = Themes.of(NAMES, CATALOGUE).foremost(points, 100)
    signals = [
        sum(
            feature != NONE
            and (NAMES[feature] not in CATALOGUE or CATALOGUE[NAMES[feature]].role == "signal")
            for feature in row
        )
        for row in found.leading.tolist()
    ]
    assert set(signals) == {MOST_REASONS}


def test_equal_points_are_told_by_name():
    names = ("errors_7d", "errors_28d")
    found = Themes.of(names, CATALOGUE).foremost(np.full((3, 2), 0.01), 1)
    assert {names[feature] for feature in found.leading[:, 0]} == {"errors_28d"}


def test_sentences_that_are_many_are_not_all_remembered(monkeypatch):
    monkeypatch.setattr("serving.scoring.scores_file.reason_columns.REMEMBERED", 3)
    wording = ReasonSentences(("seats",), CATALOGUE, PEERS)
    rows = pl.DataFrame({"account_id": [str(n) for n in range(10)]})
    values = np.arange(10.0)[:, None] % 7
    [said] = wording.columns(rows, np.zeros((10, 1), np.int64), values)
    assert said.n_unique() == 7
    assert len(wording._known) <= 3
