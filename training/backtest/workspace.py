"""Run a back-test on a workspace: its events, its snapshots, its catalogue."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from features.catalogue.catalogue import HEALTH_SCORE, load_catalogue
from features.compute.snapshot_store import SnapshotStore
from features.lake.lake import Lake
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace
from training.backtest.groups import TRAITS
from training.backtest.judge import (
    Backtest,
    best_of,
    check_capacity,
    compare_with,
    judge_backtest,
)
from training.backtest.long_horizons import backtest_long_horizons
from training.backtest.run import BacktestError, run_backtest
from training.dataset.labels import label_named
from training.progress import Progress


def backtest_workspace(
    workspace: Workspace,
    label: str,
    *,
    as_of: datetime,
    n_origins: int,
    capacity: int,
    seed: int = 1,
    progress: Progress | None = None,
) -> Backtest:
    """Back-test the models of a label on what the workspace knew at ``as_of``.

    Args:
        workspace: whose events and snapshots are read; nothing is written.
        label: name of a declared label.
        as_of: nothing recorded at or after it is seen.
        n_origins: the largest number of origins.
        capacity: accounts that the team can act on at every cutoff.
        seed: of everything random.
        progress: called with the step, how far it is and how far it goes.

    Raises:
        LabelError: a label that is not declared.
        BacktestError: too few origins, or a capacity of nobody.
        TrainingError: the data cannot answer; the message says why and what to do.
    """
    check_capacity(capacity)
    declared = label_named(label)
    settings = workspace.settings
    digests = {
        feature.name: feature.digest
        for feature in load_catalogue(settings.use_names).features
        if feature.is_model_input
    }
    digests[HEALTH_SCORE] = settings.formula.version
    snapshots = SnapshotStore(workspace.snapshots_dir)
    _check_declared(snapshots, list(digests))
    features = WorkspaceFeatures(workspace)
    known_until = min(as_of, settings.complete_until or as_of)
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    events = (
        lake.versions_before(known_until)
        .filter(pl.col("kind").is_in(list(declared.reads)))
        .collect()
    )
    played = run_backtest(
        declared,
        events=events,
        reader=lambda rows: features.historical(rows, list(digests)),
        digests=digests,
        cutoffs=snapshots.moments(),
        known_until=known_until,
        n_origins=n_origins,
        seed=seed,
        traits=lambda rows: features.historical(rows, TRAITS),
        progress=progress,
    )
    long_horizons = backtest_long_horizons(
        played, events, compare_with(best_of(played), played), seed=seed, progress=progress
    )
    return judge_backtest(played, long_horizons, capacity=capacity, seed=seed)


def _check_declared(snapshots: SnapshotStore, names: list[str]) -> None:
    """Refuse snapshots that were made by older declarations than those of today."""
    moments = snapshots.moments()
    for moment in moments:
        there = pl.read_parquet_schema(snapshots.path(moment))
        lacking = [name for name in names if name not in there]
        if lacking:
            raise BacktestError(
                f"The snapshot as of {moment:%Y-%m-%d} lacks {len(lacking)} feature(s) that are "
                f"declared now, such as {lacking[0]}. Make the snapshots again: keepwell snapshot "
                f"--from {moments[0]:%Y-%m-%d} --to {moments[-1]:%Y-%m-%d}"
            )
