"""Training sets for the benchmarks: the CRM sample's, and a simulated company's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from interleaved import ROOT

from experiments.simulation.settings import WorldSettings
from experiments.simulation.world import simulate
from features.catalogue.catalogue import HEALTH_SCORE, load_catalogue
from features.compute.backfill import backfill, month_starts
from features.compute.snapshot_store import SnapshotStore
from features.compute.snapshots import build_snapshots
from features.events.schema import UTC_INSTANT
from features.ingest.run import ingest
from features.lake.lake import Lake
from features.workspace import Workspace
from training.dataset.labels import CONTRACT_KINDS, ROW, label_named
from training.pipeline.prepare import PreparedData, prepare

WORLDS = ("CRM sample", "simulated company")
CRM = ROOT / "examples" / "crm"
CRM_UNTIL = datetime(2023, 4, 1, tzinfo=UTC)


class TrainingWorld:
    """Contract events and monthly snapshots, from which any label can be prepared."""

    def __init__(self, events: pl.DataFrame, snapshots: pl.DataFrame, until: datetime) -> None:
        self.events = events.filter(pl.col("kind").is_in(CONTRACT_KINDS))
        self.snapshots, self.until = snapshots, until

    def prepared(
        self, label: str = "churn", horizons: Sequence[int] = (30, 60, 90)
    ) -> PreparedData:
        names = [f.name for f in load_catalogue().features if f.is_model_input] + [HEALTH_SCORE]
        return prepare(
            replace(label_named(label), horizons=tuple(horizons)),
            events=self.events,
            reader=lambda rows: rows.join(self.snapshots, on=ROW, how="left"),
            digests=dict.fromkeys(names, ""),
            cutoffs=tuple(self.snapshots["as_of"].unique().sort()),
            known_until=self.until,
        )


def crm() -> TrainingWorld:
    with TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        ingest(workspace, [CRM], CRM / "mapping.toml")
        backfill(workspace, month_starts(datetime(2022, 2, 1, tzinfo=UTC), CRM_UNTIL))
        store = SnapshotStore(workspace.snapshots_dir)
        snapshots = pl.concat(
            [store.read(moment) for moment in store.moments()], how="diagonal_relaxed"
        )
        return TrainingWorld(
            Lake(workspace.events_dir, workspace.quarantine_dir).scan().collect(),
            snapshots,
            CRM_UNTIL,
        )


def simulated(*, accounts: int = 1200, months: int = 24, seed: int = 5) -> TrainingWorld:
    settings = WorldSettings(accounts=accounts, months=months)
    events = simulate(settings, np.random.default_rng(seed)).events.with_columns(
        superseded_at=pl.lit(None, UTC_INSTANT)
    )
    first = dict(events.group_by("kind").agg(pl.col("recorded_at").min()).iter_rows())
    starts = settings.calendar.starts_at
    later = starts.month - 1 + months
    until = starts.replace(year=starts.year + later // 12, month=later % 12 + 1)
    snapshots = build_snapshots(
        events,
        month_starts(starts.replace(month=2), until),
        load_catalogue(),
        first_recorded=first,
        threads=2,
    )
    return TrainingWorld(events, snapshots, until)


def world_named(name: str) -> TrainingWorld:
    return crm() if name == WORLDS[0] else simulated()
