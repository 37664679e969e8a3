"""Train on a workspace: its events, its snapshots, its catalogue.

Features are read through Feast, once for all labels whose cohorts are the same rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import polars as pl

from features.catalogue.catalogue import HEALTH_SCORE
from features.lake.lake import Lake
from features.store.feast import WorkspaceFeatures
from features.version import code_version
from features.workspace import Workspace
from registry.store.mlflow import model_name
from registry.store.pending_uploads import PendingUploads
from registry.store.store import ModelStore
from training.dataset.data_span import cutoffs_with_use, known_until
from training.dataset.labels import Label, label_in
from training.dataset.training_set import RememberingReader
from training.dataset.treatments import TREATMENT_KINDS
from training.models.binned_rows import BinnedRows, MakeGrower
from training.pipeline.prepare import PARENT
from training.pipeline.train import Clock, train
from training.pipeline.training_result import TrainingResult
from training.progress import Progress

log = logging.getLogger("keepwell.training")

ATTRIBUTES = ("segment", "service_tier")
"""The attributes by whose groups a promotion is judged."""


def train_workspace(
    workspace: Workspace,
    labels: Sequence[str],
    *,
    store: ModelStore,
    as_of: datetime | None,
    clock: Clock,
    trials: int,
    seed: int,
    by: str | None = "keepwell",
    horizons: tuple[int, ...] | None = None,
    progress: Progress | None = None,
    each: Callable[[TrainingResult], None] | None = None,
    waiting: PendingUploads | None = None,
    seconds: float | None = None,
    growing: MakeGrower = BinnedRows.of,
) -> tuple[TrainingResult, ...]:
    """Train these labels on what the workspace knew at ``as_of``.

    Args:
        workspace: whose events and snapshots are read.
        labels: names of declared labels.
        store: where runs and bundles go.
        as_of: nothing recorded at or after it is seen; None: each label as far as it is known.
        clock: for the record of the runs.
        trials: budget of the tuning study.
        seed: of everything random.
        by: the person who promotes if the evidence allows; None leaves the models challengers.
        horizons: other horizons in days than the labels' own.
        progress: called with the step, how far it is and how far it goes.
        each: called with each result as it comes.
        waiting: where runs are saved while the store does not answer; None: then it is an error.
        seconds: no trial of a study begins later than this; None: only trials are counted.
        growing: makes the grower of trees; the study's trees are always grown here.

    Raises:
        LabelError: a label that is not declared.
        TrainingError: the data cannot answer; the message says why and what to do.
    """
    declared = [label_in(workspace.settings, name) for name in labels]
    settings = workspace.settings
    digests = {
        feature.name: feature.digest
        for feature in settings.catalogue.features
        if feature.is_model_input
    }
    digests[HEALTH_SCORE] = settings.formula.version
    features = WorkspaceFeatures(workspace)
    reader = RememberingReader(lambda rows: features.historical(rows, list(digests)))
    attributes = RememberingReader(lambda rows: features.historical(rows, ATTRIBUTES))
    moments = cutoffs_with_use(workspace)
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    results = []
    for label in declared:
        end = known_until(workspace, label, as_of)
        clipped = _clipped(label, as_of, end)
        events = lake.versions_before(end)
        interventions = events.filter(pl.col("kind").is_in(TREATMENT_KINDS)).collect()
        result = train(
            label,
            events=events.filter(pl.col("kind").is_in(list(label.reads))).collect(),
            reader=reader,
            digests=digests,
            cutoffs=moments,
            known_until=end,
            store=store,
            clock=clock,
            code_version=code_version(),
            seed=seed,
            trials=trials,
            by=by,
            horizons=horizons,
            progress=progress,
            waiting=waiting,
            attributes=attributes,
            parents=lambda rows: features.historical(rows, [PARENT]),
            interventions=interventions,
            seconds=seconds,
            journals=workspace.root / "studies",
            growing=growing,
        )
        results.append(replace(result, notes=(*clipped, *result.notes)))
        name_in_feast(features, results[-1])
        if each is not None:
            each(results[-1])
    return tuple(results)


def _clipped(label: Label, as_of: datetime | None, end: datetime) -> tuple[str, ...]:
    """What is said where a later moment was asked about than the data reach."""
    if as_of is None or end >= as_of:
        return ()
    said = (
        f"What decides {label.name} is complete until {end:%Y-%m-%d} (complete_until), so nothing later than "
        f"that was used, although {as_of:%Y-%m-%d} was asked about."
    )
    log.warning("%s", said)
    return (said,)


def name_in_feast(features: WorkspaceFeatures, result: TrainingResult) -> None:
    """Give Feast a FeatureService of the version that was trained: keepwell-churn-v3.

    A run that waits for the tracking store has no version yet, and gets none.
    """
    if result.version is not None:
        features.add_service(
            f"{model_name(result.label.name)}-v{result.version}",
            result.bundle.contract.names,
            about=f"What version {result.version} of the {result.label.name} model reads.",
            tags={"fingerprint": result.bundle.contract.fingerprint},
        )
