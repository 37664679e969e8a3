"""The simulated company, with late rows and all kinds of event, gives the audit nothing to find."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl
import pytest

from experiments.simulation.settings import WorldSettings
from experiments.simulation.world import simulate
from features.catalogue.catalogue import load_catalogue
from features.compute.backfill import month_starts
from features.compute.snapshots import build_snapshots
from features.events.schema import UTC_INSTANT
from training.audit.report import CHECKS
from training.audit.workspace import audit, set_of
from training.dataset.history import History
from training.dataset.labels import label_named
from training.pipeline.prepare import prepare


@pytest.fixture(scope="module")
def history() -> History:
    settings = WorldSettings(accounts=260, months=14)
    events = simulate(settings, np.random.default_rng(6)).events.with_columns(
        superseded_at=pl.lit(None, UTC_INSTANT)
    )
    first = dict(events.group_by("kind").agg(pl.col("recorded_at").min()).iter_rows())
    return History(
        events=events.lazy(),
        catalogue=load_catalogue(),
        first_recorded=first,
        complete_until=settings.calendar.starts_at.replace(year=2025, month=3),
    )


@pytest.fixture(scope="module")
def snapshots(history) -> pl.DataFrame:
    moments = month_starts(
        datetime(2024, 2, 1, tzinfo=history.complete_until.tzinfo), history.complete_until
    )
    return build_snapshots(
        history.events.collect(),
        moments,
        history.catalogue,
        first_recorded=history.first_recorded,
        threads=2,
    )


@pytest.mark.parametrize("label", ["churn", "expansion"])
def test_the_clean_simulated_company_is_clean(history, snapshots, label) -> None:
    names = [f.name for f in history.catalogue.features if f.is_model_input] + ["health_score"]
    prepared = prepare(
        label_named(label),
        events=history.events.collect(),
        reader=lambda rows: rows.join(snapshots, on=["account_id", "as_of"], how="left"),
        digests=dict.fromkeys(names, ""),
        cutoffs=tuple(snapshots["as_of"].unique().sort()),
        known_until=history.complete_until,
    )
    report = audit(set_of(prepared, name=label), history, rng=np.random.default_rng(1))
    assert report.findings == ()
    assert {report.verdict(check) for check in CHECKS} == {"clean"}
