"""A proposed formula says what the data say, in the direction that the written ones declare."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from features.health.formula import FORMULAS
from features.health.score import health_column
from training.health.proposal import (
    LEAST_WEIGHT,
    MOST_PARTS,
    MOST_STEPS,
    ProposalError,
    propose,
    signals_of,
)
from training.health.report import compare_formulas

WRITTEN = FORMULAS["balanced"]
OTHERS = [formula for name, formula in FORMULAS.items() if name != WRITTEN.id]


def rows(seed: int, *, idle: float = 0.0, failed: float = 0.0, n: int = 6000):
    """Features of n rows and whether each churned; ``idle`` and ``failed`` are slopes of the truth."""
    rng = np.random.default_rng(seed)
    days = rng.exponential(8, n).round()
    uses = rng.integers(0, 12, n).astype(float)
    share = rng.uniform(0, 0.04, n)
    raw = -2.9 + idle * (days - 8) / 8 + failed * (share - 0.02) / 0.01
    churned = (rng.uniform(size=n) < 1 / (1 + np.exp(-raw))).astype(float)
    frame = pl.DataFrame(
        {
            "account_id": [f"a{number % (n // 3)}" for number in range(n)],
            "as_of": [datetime(2026, 1 + number % 3, 1, tzinfo=UTC) for number in range(n)],
            "days_since_activity": days,
            "adoption_depth_28d": uses / 12,
            "error_rate_7d": share,
            "nps_last": np.where(rng.uniform(size=n) < 0.9, np.nan, 9.0),
        }
    )
    return frame, churned


def proposed(frame, churned):
    return propose(frame, churned, written=WRITTEN, others=OTHERS, source="made-up rows")


def test_it_weighs_what_goes_with_churn_and_leaves_out_what_does_not():
    formula = proposed(*rows(1, idle=0.9, failed=0.3))
    weights = {part.measures[0].feature: part.weight for part in formula.components}
    assert weights["days_since_activity"] > weights["error_rate_7d"] >= LEAST_WEIGHT
    assert set(weights) == {"days_since_activity", "error_rate_7d"}
    assert sum(weights.values()) == 100


def test_a_measure_that_goes_with_churn_the_other_way_is_no_part():
    frame, churned = rows(2, idle=-0.9, failed=0.6)  # here idle accounts stay
    parts = {part.measures[0].feature for part in proposed(frame, churned).components}
    assert parts == {"error_rate_7d"}


def test_every_part_has_few_steps_in_its_declared_direction():
    declared = {one.measure.feature: one.rises for one in signals_of(WRITTEN, OTHERS)}
    formula = proposed(*rows(3, idle=1.2, failed=0.8))
    assert len(formula.components) <= MOST_PARTS
    for part in formula.components:
        [measure] = part.measures
        points = [y for _, y in measure.knots]
        assert len(points) <= MOST_STEPS
        rises = declared[measure.feature]
        assert all(a <= b if rises else a >= b for a, b in pairwise(points))


def test_the_bands_keep_their_names_and_hold_multiples_of_the_average():
    frame, churned = rows(4, idle=1.2, failed=0.8, n=30_000)
    formula = proposed(frame, churned)
    assert [band.name for band in formula.bands] == [band.name for band in WRITTEN.bands]
    score = health_column(frame, formula).to_numpy()
    names = np.array([formula.band(one).name for one in score])
    ratio = {
        name: churned[names == name].mean() / churned.mean() for name in np.unique(names).tolist()
    }
    assert ratio["healthy"] < 1 < ratio["neutral"] < 2 < ratio["at risk"] < 4
    assert ratio["critical"] > 3


def test_it_ranks_better_than_the_written_one_on_rows_it_was_not_fitted_to():
    frame, churned = rows(6, idle=0.3, failed=0.9)
    found = compare_formulas(
        frame,
        churned,
        written=WRITTEN,
        proposed=proposed(*rows(5, idle=0.3, failed=0.9)),
        rng=np.random.default_rng(1),
    )
    assert found.is_better
    assert found.written.auc.value + found.gain.value == pytest.approx(found.proposed.auc.value)
    assert sum(band.rows for band in found.proposed.bands) == found.rows == len(churned)
    assert "The proposed formula ranks better." in list(found.lines())[-1]
    turned = compare_formulas(
        frame,
        churned,
        written=proposed(*rows(5, idle=0.3, failed=0.9)),
        proposed=WRITTEN,
        rng=np.random.default_rng(1),
    )
    assert "keep it" in list(turned.lines())[-1]


def test_without_a_signal_or_enough_leavers_there_is_no_proposal():
    frame, churned = rows(7)
    with pytest.raises(ProposalError, match="goes with churn in the direction"):
        proposed(frame, churned)
    few = np.zeros(len(churned))
    few[:29] = 1
    with pytest.raises(ProposalError, match=re.escape("29 churned; 30 of each are needed")):
        proposed(frame, few)


def test_a_measure_declared_in_two_directions_is_no_candidate():
    [usage, *_] = [c for c in WRITTEN.components if c.name == "usage"]
    turned = replace(
        usage.measures[0], knots=tuple((x, 100 - y) for x, y in usage.measures[0].knots)
    )
    contrary = replace(
        FORMULAS["usage_led"], components=(replace(usage, weight=100.0, measures=(turned,)),)
    )
    names = {one.measure.feature for one in signals_of(WRITTEN, [contrary])}
    assert "days_since_activity" not in names
    assert "days_since_activity" in {one.measure.feature for one in signals_of(WRITTEN, [])}
