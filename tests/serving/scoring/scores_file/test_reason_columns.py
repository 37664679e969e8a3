"""The reasons of many rows are those that each row is given by itself."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scores_one_by_one import reasons_one_by_one

from features.catalogue.catalogue import load_catalogue
from features.health.formula import FORMULAS
from features.health.score import health_column
from serving.scoring.explanations import PEER_KINDS, PeerGroup, Peers
from serving.scoring.reasons.choice import choose_reasons
from serving.scoring.reasons.facts import Facts
from serving.scoring.reasons.in_words import ReasonedRows, UsualValues
from serving.scoring.score import NONE
from serving.scoring.scores_file.reason_columns import ReasonSentences

CATALOGUE = load_catalogue().by_name
FORMULA = FORMULAS["balanced"]
NAMES = (*tuple(CATALOGUE)[::2], "health_score", "not_declared", "another_one")
EVERYBODY = PEER_KINDS[-1]
GROUP = PeerGroup(where=EVERYBODY.where, medians=dict.fromkeys(NAMES[::3], 2.0))
PEERS = Peers(groups={EVERYBODY: {(): GROUP.medians}})
USUAL = {"nps_last": 8.0, "days_since_activity": 1.0, "adoption_depth_28d": 0.4}
ZERO = 77.0


class Adding:
    """A model that adds these points for its features, and nothing for their being together."""

    usual = USUAL

    def __init__(self, given: np.ndarray) -> None:
        self.given = given

    def points(self, matrix, horizon_days, *, raw=None, within=None):
        return self.given, 0.1

    def zero_at(self, name):
        return ZERO if name == "health_score" else None


def snapshot() -> pl.DataFrame:
    rng = np.random.default_rng(5)
    names = dict.fromkeys((*NAMES, *FORMULA.inputs, "account_age_days"))
    frame = pl.DataFrame(
        {
            name: np.where(rng.random(300) < 0.1, np.nan, rng.normal(2, 1, 300).round(1))
            for name in names
            if name != "health_score"
        }
    ).fill_nan(None)
    return frame.with_columns(
        (30 * pl.col("account_age_days")).abs(), health_score=health_column(frame, FORMULA)
    )


def contributions(frame: pl.DataFrame, size: float) -> np.ndarray:
    rng = np.random.default_rng(4)
    points = rng.normal(0, size, (frame.height, len(NAMES)))
    points[rng.random(points.shape) < 0.3] = 0.0
    score = frame["health_score"].fill_null(np.nan).to_numpy()
    points[:, NAMES.index("health_score")] = np.nan_to_num(-0.001 * (score - ZERO))
    return points


@pytest.mark.parametrize("most", [1, 5, 15])
@pytest.mark.parametrize("size", [0.02, 0.0005, 0.00002], ids=["large", "small", "hardly any"])
def test_reasons_points_and_words_are_those_of_each_row(most, size):
    frame = snapshot()
    points = contributions(frame, size)
    facts = Facts.of(NAMES, CATALOGUE, FORMULA)
    usual = UsualValues(names=facts.names, peers=PEERS, otherwise=USUAL)
    groups = usual.groups(frame)
    matrix = frame.select(NAMES).cast(pl.Float64).fill_null(np.nan).to_numpy()
    rows = facts.explain(Adding(points), matrix, 90, frame, raw=np.zeros(len(matrix)))
    found = choose_reasons(rows, usual.medians(groups))
    said = ReasonSentences(facts, CATALOGUE, usual).columns(found, groups, most)
    assert len(said) == most
    several = 0
    for row, values in enumerate(frame.iter_rows(named=True)):
        own = dict(zip(NAMES, points[row], strict=True))
        expected = reasons_one_by_one(
            own,
            0.1,
            values,
            catalogue=CATALOGUE,
            similar=(GROUP,),
            usual=USUAL,
            formula=FORMULA,
            health_zero=ZERO,
            base_rate=0.07,
        )
        several += len(expected.every) > 1
        told = [rank for rank in range(found.leading.shape[1]) if found.leading[row, rank] != NONE]
        assert [facts.names[found.leading[row, rank]] for rank in told] == [
            r.feature for r in expected.every
        ]
        assert [said[rank][row] for rank in told if rank < most] == [
            r.sentence for r in expected.top(most)
        ]
        np.testing.assert_allclose(
            found.points[row, told], [r.points for r in expected.every], rtol=1e-9
        )
        alone = ReasonedRows(chosen=found, catalogue=CATALOGUE, base_rate=0.07).reasons(
            row, (GROUP,)
        )
        assert [(r.sentence, r.also) for r in alone.every] == [
            (r.sentence, r.also) for r in expected.every
        ]
        assert alone.others == expected.others
        assert alone.rest == pytest.approx(expected.rest, abs=1e-9)
    assert several > 200


def test_sentences_that_are_many_are_not_all_remembered(monkeypatch):
    monkeypatch.setattr("serving.scoring.scores_file.reason_columns.REMEMBERED", 3)
    facts = Facts.of(("seats",), CATALOGUE, FORMULA)
    frame = pl.DataFrame({"seats": np.arange(10.0) % 7})
    usual = UsualValues(names=facts.names, peers=Peers(groups={}), otherwise={})
    rows = facts.explain(
        Adding(np.full((10, 1), 0.02)), frame.to_numpy(), 90, frame, raw=np.zeros(10)
    )
    wording = ReasonSentences(facts, CATALOGUE, usual)
    groups = usual.groups(frame)
    [said] = wording.columns(choose_reasons(rows, usual.medians(groups)), groups, 1)
    assert said.n_unique() == 7
    assert len(wording._known) <= 3
