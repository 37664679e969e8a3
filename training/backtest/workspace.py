"""Run a back-test on a workspace: its events, its snapshots, its catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from features.catalogue.catalogue import HEALTH_SCORE
from features.compute.snapshot_store import SnapshotStore
from features.lake.lake import Lake
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace
from registry.outcomes import CHURN
from training.backtest.groups import TRAITS
from training.backtest.judge import (
    Backtest,
    best_of,
    check_capacity,
    compare_with,
    judge_backtest,
)
from training.backtest.long_horizons import backtest_long_horizons
from training.backtest.renewals import RenewalBacktest, backtest_renewals
from training.backtest.run import LEAST_ORIGINS, BacktestError, run_backtest
from training.dataset.cutoffs import mature, reach_of
from training.dataset.data_span import cutoffs_with_use, first_use, known_until
from training.dataset.labels import Label, label_in
from training.dataset.splits import LEAST_BEFORE_TEST
from training.metrics import BOOTSTRAP_DRAWS
from training.progress import Progress

A_MONTH = timedelta(days=31)
"""Older snapshots may help where the oldest is so long after the first use."""


def backtest_workspace(
    workspace: Workspace,
    label: str,
    *,
    as_of: datetime | None,
    n_origins: int,
    capacity: int,
    seed: int = 1,
    n_draws: int = BOOTSTRAP_DRAWS,
    progress: Progress | None = None,
) -> Backtest:
    """Back-test the models of a label on what the workspace knew at ``as_of``.

    Args:
        workspace: whose events and snapshots are read; nothing is written.
        label: name of a declared label.
        as_of: nothing recorded at or after it is seen; None: as far as the label is known.
        n_origins: the largest number of origins.
        capacity: accounts that the team can act on at every cutoff.
        seed: of everything random.
        n_draws: bootstrap draws of accounts for the intervals.
        progress: called with the step, how far it is and how far it goes.

    Raises:
        LabelError: a label that is not declared.
        BacktestError: too few origins, or a capacity of nobody.
        TrainingError: the data cannot answer; the message says why and what to do.
    """
    check_capacity(capacity)
    data = _data(workspace, label_in(workspace.settings, label), as_of)
    played = run_backtest(
        data.label,
        events=data.events,
        reader=data.reader,
        digests=data.digests,
        cutoffs=data.cutoffs,
        known_until=data.known_until,
        n_origins=n_origins,
        seed=seed,
        traits=lambda rows: data.features.historical(rows, TRAITS),
        progress=progress,
    )
    long_horizons = backtest_long_horizons(
        played, data.events, compare_with(best_of(played), played), seed=seed, progress=progress
    )
    return judge_backtest(played, long_horizons, capacity=capacity, n_draws=n_draws, seed=seed)


def backtest_workspace_renewals(
    workspace: Workspace,
    *,
    as_of: datetime | None,
    n_origins: int,
    seed: int = 1,
    progress: Progress | None = None,
) -> RenewalBacktest:
    """Back-test the chance to leave at the renewal on what the workspace knew at ``as_of``.

    Args:
        workspace: whose events and snapshots are read; nothing is written.
        as_of: nothing recorded at or after it is seen; None: as far as the label is known.
        n_origins: the largest number of origins.
        seed: of everything random.
        progress: called with the step, how far it is and how far it goes.

    Raises:
        BacktestError: too few origins, no date of renewal, or no decision that was over.
        TrainingError: the data cannot answer; the message says why and what to do.
    """
    data = _data(workspace, label_in(workspace.settings, CHURN.name), as_of)
    return backtest_renewals(
        data.label,
        events=data.events,
        reader=data.reader,
        digests=data.digests,
        cutoffs=data.cutoffs,
        known_until=data.known_until,
        n_origins=n_origins,
        seed=seed,
        progress=progress,
    )


@dataclass(frozen=True, kw_only=True)
class _Data:
    """What a back-test reads of a workspace."""

    label: Label
    events: pl.DataFrame
    features: WorkspaceFeatures
    digests: dict[str, str]
    cutoffs: tuple[datetime, ...]
    known_until: datetime

    def reader(self, rows: pl.DataFrame, /) -> pl.DataFrame:
        """The features of rows, as they were known at each moment."""
        return self.features.historical(rows, list(self.digests))


def _data(workspace: Workspace, label: Label, as_of: datetime | None) -> _Data:
    settings = workspace.settings
    digests = {
        feature.name: feature.digest
        for feature in settings.catalogue.features
        if feature.is_model_input
    }
    digests[HEALTH_SCORE] = settings.formula.version
    snapshots = SnapshotStore(workspace.snapshots_dir)
    _check_declared(snapshots, list(digests))
    end = known_until(workspace, label, as_of)
    cutoffs = cutoffs_with_use(workspace)
    check_reach(label, cutoffs, end, first_use(workspace))
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    return _Data(
        label=label,
        events=lake.versions_before(end).filter(pl.col("kind").is_in(list(label.reads))).collect(),
        features=WorkspaceFeatures(workspace),
        digests=digests,
        cutoffs=cutoffs,
        known_until=end,
    )


def check_reach(
    label: Label, cutoffs: tuple[datetime, ...], end: datetime, first: datetime | None
) -> None:
    """Refuse data that begin too late for a back-test, where no older snapshot could help."""
    if first is None or not cutoffs or cutoffs[0] - first >= A_MONTH:
        return
    reach = reach_of(label.horizons[0], lead_days=label.lead_days)
    closed, needed = (
        len(mature(cutoffs, reach=reach, known_until=end)),
        LEAST_BEFORE_TEST + LEAST_ORIGINS,
    )
    if closed < needed:
        raise BacktestError(
            f"A back-test of {label.name!r} needs {needed} snapshots whose {label.horizons[0]} days are "
            f"over, and there are {closed}. Older snapshots would not help, since the first use is of "
            f"{first:%Y-%m-%d}. Wait for more months; until then keepwell train can judge on other accounts "
            f"of the same months."
        )


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
