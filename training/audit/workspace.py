"""Audit the training set of a workspace, or one from a file.

The workspace's own set is the one that ``train_workspace`` would learn from: cohort rows, features
through Feast, the split with its embargo. A file is read as it is. Both are compared with the
events.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from features.catalogue.catalogue import HEALTH_SCORE
from features.compute.snapshot_store import SnapshotError, SnapshotStore
from features.events.schema import UTC_INSTANT
from features.events.visibility import recorded_before
from features.lake.lake import Lake
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace
from registry.bundle.bundle import ModelBundle
from registry.promotion.promotion import AuditResult
from training.audit.future_perturbation import check_altered_future
from training.audit.leakage import check_against_history
from training.audit.report import LABEL, SPLIT, AuditedSet, AuditError, AuditReport, report_of
from training.audit.row_checks import check_rows
from training.audit.suspicious_features import check_features
from training.dataset.cutoffs import reach_of
from training.dataset.data_span import cutoffs_with_use, known_until
from training.dataset.errors import TrainingError
from training.dataset.history import History
from training.dataset.labels import label_in
from training.pipeline.prepare import PARENT, PreparedData, prepare


def audit(audited: AuditedSet, history: History, *, rng: np.random.Generator) -> AuditReport:
    """Look for leaks in a training set.

    Raises:
        AuditError: the set does not belong to this history.
    """
    found, looked, recomputed = check_against_history(audited, history)
    return report_of(
        audited,
        [
            check_altered_future(audited, history),
            (found, looked),
            check_features(audited, recomputed=recomputed, rng=rng),
            check_rows(audited, complete_until=history.complete_until),
        ],
    )


def audit_for_promotion(
    workspace: Workspace,
    label: str,
    *,
    as_of: datetime,
    horizons: tuple[int, ...] | None = None,
    seed: int = 1,
) -> AuditResult:
    """The result of the audit of a label's training set, as evidence for a promotion.

    ``horizons`` are those of the training, where they were asked for by name.
    """
    try:
        report = audit(
            set_of_workspace(workspace, label, as_of=as_of, horizons=horizons),
            history_of(workspace, as_of=as_of, label=label),
            rng=np.random.default_rng(seed),
        )
    except (TrainingError, SnapshotError) as error:
        return AuditResult(is_clean=None, sentences=(str(error),))
    return AuditResult(is_clean=report.is_clean, sentences=report.lines())


def history_of(
    workspace: Workspace, *, as_of: datetime | None, label: str | None = None
) -> History:
    """The events of a workspace as they were known at a moment, and its way to features.

    With a label they end where it is known no further; without one, where the features end.
    """
    settings = workspace.settings
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    end = workspace.now(as_of)
    if label is not None:
        end = known_until(workspace, label_in(settings, label), as_of)
    elif settings.complete_until is not None:
        end = min(end, settings.complete_until)
    return History(
        events=lake.versions_before(end),
        catalogue=settings.catalogue,
        first_recorded=lake.first_recorded(),
        formula=settings.formula,
        complete_until=end,
    )


def horizons_asked_for(workspace: Workspace, bundle: ModelBundle) -> tuple[int, ...] | None:
    """The horizons that a training was asked for by name; None where it had those of the workspace."""
    declared = label_in(workspace.settings, bundle.label)
    trained = {int(days) for days in str(bundle.metadata.label_policy["horizons"]).split(",")}
    if trained & {*declared.horizons} and {*declared.long_horizons} <= trained:
        return None
    return tuple(sorted(trained))


def set_of_workspace(
    workspace: Workspace,
    label: str,
    *,
    as_of: datetime | None,
    horizons: tuple[int, ...] | None = None,
) -> AuditedSet:
    """The rows that a training of this label, and these horizons, would learn from and be judged on.

    Raises:
        TrainingError: there is no such label, or the data cannot answer it.
    """
    declared = label_in(workspace.settings, label)
    if horizons is not None:
        declared = replace(declared, horizons=horizons, long_horizons=())
    history = history_of(workspace, as_of=as_of, label=label)
    names = [f.name for f in history.catalogue.features if f.is_model_input] + [HEALTH_SCORE]
    moments = cutoffs_with_use(workspace)
    _check_snapshots(workspace, names, moments)
    features = WorkspaceFeatures(workspace)
    events = history.events.filter(
        recorded_before(history.complete_until), pl.col("kind").is_in(list(declared.reads))
    ).collect()
    prepared = prepare(
        declared,
        events=events,
        reader=lambda rows: features.historical(rows, names),
        digests=dict.fromkeys(names, ""),
        cutoffs=moments,
        known_until=history.complete_until,
        hold_out_accounts=True,
        parents=lambda rows: features.historical(rows, [PARENT]),
    )
    return set_of(prepared, name=f"The training set of {label}")


def _check_snapshots(
    workspace: Workspace,
    names: list[str],
    moments: tuple[datetime, ...],
) -> None:
    """Refuse snapshots that were made by older declarations than those of today."""
    store = SnapshotStore(workspace.snapshots_dir)
    for moment in moments:
        there = pl.read_parquet_schema(store.path(moment))
        lacking = [name for name in names if name not in there]
        if lacking:
            raise AuditError(
                f"The snapshot as of {moment:%Y-%m-%d} lacks {len(lacking)} feature(s) that are "
                f"declared now, such as {lacking[0]}. Make the snapshots again: keepwell snapshot "
                f"--from {moments[0]:%Y-%m-%d} --to {moments[-1]:%Y-%m-%d}"
            )


def set_of(prepared: PreparedData, *, name: str) -> AuditedSet:
    """A prepared training as a set to audit: at the longest horizon, with its split."""
    training = prepared.training
    part = np.where(prepared.before_test, "train", np.where(prepared.test, "test", ""))
    frame = pl.DataFrame(
        {
            "account_id": pl.Series(training.accounts).gather(training.account),
            "as_of": pl.Series(training.cutoffs, dtype=UTC_INSTANT).gather(training.cutoff),
            LABEL: pl.Series(training.outcome).fill_nan(None),
            SPLIT: part.tolist(),
            **{
                column: pl.Series(training.matrix[:, place]).fill_nan(None)
                for place, column in enumerate(training.names)
            },
        }
    ).with_columns(pl.col(SPLIT).replace("", None))
    return AuditedSet(
        name=name,
        frame=frame,
        reach=reach_of(training.horizons[-1], lead_days=training.label.lead_days),
        is_split_by_accounts=prepared.split.by_accounts,
    )


def set_of_file(file: Path, *, label: str = LABEL, horizon_days: int | None = None) -> AuditedSet:
    """A training set from a Parquet file.

    Args:
        file: with ``account_id``, ``as_of``, the label, maybe ``split``, and features.
        label: the column that holds the label.
        horizon_days: from a cutoff to the end of its label window, a lead included.

    Raises:
        AuditError: the file is not such a set.
    """
    if not file.is_file():
        raise AuditError(
            f"There is no file {file}. Give a Parquet file with account_id, as_of, "
            f"features and label, or none to audit the workspace's own."
        )
    try:
        frame = pl.read_parquet(file)
    except pl.exceptions.PolarsError as exc:
        raise AuditError(
            f"{file} is no Parquet file ({exc}). Write it with write_parquet."
        ) from exc
    if label not in frame.columns:
        raise AuditError(
            f"{file} has no column {label!r} to take for the label. Name it with "
            f"--label; there are {', '.join(frame.columns[:8])}."
        )
    frame = frame.rename({label: LABEL} if label != LABEL else {})
    if "account_id" in frame.columns:
        frame = frame.with_columns(pl.col("account_id").cast(pl.String))
    kind = frame.schema.get("as_of")
    if kind == pl.Date:
        frame = frame.with_columns(
            pl.col("as_of").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        )
    elif isinstance(kind, pl.Datetime) and kind.time_zone is not None:
        frame = frame.with_columns(pl.col("as_of").dt.convert_time_zone("UTC").cast(UTC_INSTANT))
    reach = None if horizon_days is None else timedelta(days=horizon_days)
    return AuditedSet(name=str(file), frame=frame, reach=reach)
