from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from registry.store.store import MemoryModelStore
from training.pipeline.comparisons import (
    EvaluationRows,
    captured_revenue,
    captured_revenue_gain,
    rank_agreement,
    rows_at_capacity,
    rows_by_attribute,
    segment_gains,
    thirds,
)
from training.pipeline.evidence import promotion_of_version

EVERY = np.ones(6, dtype=np.bool_)

# two cutoffs with three accounts each; the same three at both
ROWS = EvaluationRows(
    outcome=np.array([1.0, 0, 0, 0, 1, 1]),
    account=np.array([0, 1, 2, 0, 1, 2]),
    cutoff=np.array([0, 0, 0, 1, 1, 1]),
    mrr=np.array([100.0, 50, 10, 100, 50, np.nan]),
    moved=np.array([100.0, 0, 0, 0, 50, 0]),
    segments={},
)


def test_a_team_looks_after_the_most_expected_money_at_each_cutoff():
    even = np.full(6, 0.1)
    assert rows_at_capacity(ROWS, even, 1).tolist() == [True, False, False, True, False, False]
    likely = np.array([0.01, 0.9, 0.1, 0.01, 0.9, 0.99])
    assert rows_at_capacity(ROWS, likely, 1).tolist() == [False, True, False, False, True, False]
    assert rows_at_capacity(ROWS, likely, 9).all()


def test_what_is_captured_is_the_share_of_the_money_that_went():
    assert captured_revenue(ROWS, np.full(6, 0.1), 1) == pytest.approx(100 / 150)
    assert captured_revenue(ROWS, np.array([0, 1.0, 0, 0, 1, 0]), 1) == pytest.approx(50 / 150)
    assert captured_revenue(ROWS, np.full(6, 0.1), 3) == 1.0
    assert captured_revenue(replace(ROWS, moved=np.zeros(6)), np.full(6, 0.1), 1) is None


def test_the_gain_is_the_difference_of_the_shares():
    even, likely = np.full(6, 0.1), np.array([0, 1.0, 0, 0, 1, 0])
    gained = captured_revenue_gain(ROWS, even, likely, 1, among=EVERY, seed=1)
    assert gained is not None
    assert gained.mean == pytest.approx(50 / 150)
    same = captured_revenue_gain(ROWS, even, even, 1, among=EVERY, seed=1)
    assert same is not None
    assert (same.mean, same.confidence) == (0, 0.5)
    nothing_went = np.array([False, True, True, True, False, True])
    assert captured_revenue_gain(ROWS, even, likely, 1, among=nothing_went, seed=1) is None


def test_rows_outside_do_not_count():
    even, likely = np.full(6, 0.1), np.array([0, 1.0, 0, 0, 1, 0])
    second = ROWS.cutoff == 1
    gained = captured_revenue_gain(ROWS, even, likely, 1, among=second, seed=1)
    assert gained is not None
    assert gained.mean == -1  # the account that went is the second one


def test_equal_numbers_are_in_one_third():
    parts = thirds("MRR", np.full(6, 7.0))
    assert {name: rows.sum() for name, rows in parts.items()} == {"MRR lowest third": 6}


def test_what_is_unknown_everywhere_is_one_segment():
    assert list(thirds("MRR", np.full(3, np.nan))) == ["MRR unknown"]


def test_only_segments_with_enough_accounts_of_both_kinds_are_judged():
    account = np.arange(40)
    outcome = (account % 2).astype(float)
    halves = {"enough": account < 20, "one too few": account < 19, "all": account >= 0}
    rows = EvaluationRows(
        outcome=outcome,
        account=account,
        cutoff=np.zeros(40, dtype=np.int64),
        mrr=np.ones(40),
        moved=outcome,
        segments=halves,
    )
    good, bad = np.where(outcome == 1, 0.9, 0.1), np.full(40, 0.5)
    found = segment_gains(rows, good, bad, among=np.ones(40, dtype=np.bool_), seed=1)
    assert list(found) == ["enough", "all"]
    assert all(one.mean == pytest.approx(np.log(0.9 / 0.5)) for one in found.values())
    assert segment_gains(rows, good, bad, among=account < 5, seed=1) == {}


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ([3, 2, 1], [1, 2, 3], -1.0),
        ([3, 2, 1, 0], [3, 2, 1, 0], 1.0),
        ([1, 0], [1, 0], 1.0),
        ([1, 0], [0, 1], -1.0),
        ([0, 0], [0, 0], None),
        ([1, 1, 1], [1, 2, 3], None),
    ],
    ids=["opposite", "equal", "one feature", "another feature", "none", "no order"],
)
def test_agreement_is_of_ranks_among_what_either_reads(one, other, agree):
    assert rank_agreement(np.array(one, float), np.array(other, float)) == agree


def test_a_training_carries_what_it_was_compared_on(trained):
    """The world's only signal leads both the model and its refits."""
    from training.pipeline.evidence import from_metrics

    result, _ = trained
    evidence = from_metrics(result.bundle.metrics)
    assert evidence.explanations_agreement is not None
    assert evidence.explanations_agreement > 0.5
    assert list(evidence.captured) == [5, 10, 20, 50, 100, 200]
    shares = list(evidence.captured.values())
    assert shares == sorted(shares)
    assert evidence.captured[200] == 1.0  # everybody
    assert evidence.captured_over[200].mean == 0.0
    assert evidence.segments
    assert {check.outcome for check in result.promotion.checks} == {"passed", "not known"}


def test_rows_are_grouped_by_what_their_accounts_are_called():
    groups = rows_by_attribute(
        pl.DataFrame(
            {
                "account_id": ["a", "b", "c"],
                "segment": ["small", "mid|market", "small"],
                "service_tier": ["gold", None, "gold"],
                "region": [None, None, None],
            }
        )
    )
    assert {name: rows.tolist() for name, rows in groups.items()} == {
        "segment mid/market": [False, True, False],
        "segment small": [True, False, True],
        "service tier gold": [True, False, True],
        "service tier unknown": [False, True, False],
    }


def segments_of(company, **changes):
    """A company's training judged by segment: the odd accounts are large."""

    def called(rows):
        number = rows["account_id"].str.slice(1).cast(pl.Int64)
        return rows.select("account_id", "as_of").with_columns(
            segment=pl.when(number % 2 == 1).then(pl.lit("large")).otherwise(pl.lit("small"))
        )

    store = MemoryModelStore()
    result = company.train(store=store, trials=0, attributes=called, **changes)
    _, evidence = promotion_of_version(store, "churn", result.version)
    return result, evidence["segments"]


def test_a_promotion_is_judged_by_segment_and_by_horizon(small_company):
    result, segments = segments_of(small_company(n_accounts=400, leaves=0.06))
    assert {"segment large", "segment small", "within 30 days", "within 60 days"} <= set(segments)
    assert f"In none of {len(segments)} segments clearly worse" in " ".join(
        result.promotion.reasons
    )


def test_a_segment_of_which_the_features_lie_stops_a_promotion(small_company):
    """For large accounts the newest signals point the other way: good overall, worse there."""
    company = small_company(n_accounts=400, leaves=0.06)

    def lying(rows):
        large = rows["account_id"].str.slice(1).cast(pl.Int64) % 2 == 1
        newest = rows["as_of"] >= company.cutoffs[-8]
        return company.reader(rows).with_columns(
            signal_28d=pl.when(pl.Series(large & newest))
            .then(40 - pl.col("signal_28d"))
            .otherwise(pl.col("signal_28d")),
            feature_uses_28d=pl.when(pl.Series(large & newest))
            .then(400 / pl.col("feature_uses_28d"))
            .otherwise(pl.col("feature_uses_28d")),
        )

    result, _ = segments_of(company, reader=lying)
    assert not result.promotion.approved
    check = next(c for c in result.promotion.checks if c.name == "segments")
    assert check.outcome == "failed"
    assert "segment large" in check.sentence
    assert "segment small" not in check.sentence
