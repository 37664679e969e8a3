"""The simulated company sends what the CRM sample cannot: something in every theme of features."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from experiments.simulation.world import World
from features.catalogue.catalogue import load_catalogue
from features.compute.snapshots import build_snapshots

CATALOGUE = load_catalogue()
NOT_SENT = {
    "alerts_raised_90d",  # alerts are raised on these events, so none is among them
    "incidents_open",  # none is going on at that midnight
    "integration_requests_90d",  # nobody asks for one
    "trial_length_days",  # every trial has the same length
}
THEMES = {feature.theme for feature in CATALOGUE.features} - {"orders"}
"""All but orders: the simulated company has contracts. CDNOW's customers send those."""


@pytest.fixture(scope="module")
def snapshot(small: World) -> pl.DataFrame:
    first = small.events.group_by("kind").agg(pl.col("recorded_at").min()).iter_rows()
    return build_snapshots(
        small.events, [datetime(2025, 6, 1, tzinfo=UTC)], CATALOGUE, first_recorded=dict(first)
    )


@pytest.mark.parametrize("theme", sorted(THEMES))
def test_no_feature_of_a_theme_is_unknown_for_all_or_the_same_for_all(
    theme: str,
    snapshot: pl.DataFrame,
) -> None:
    names = [f.name for f in CATALOGUE.features if f.theme == theme and f.name not in NOT_SENT]
    assert names
    assert [name for name in names if snapshot[name].drop_nulls().n_unique() < 2] == []
