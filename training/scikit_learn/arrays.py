"""The training set of a label as ``X, y, groups, times``: the rows that ``keepwell train`` learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue.catalogue import HEALTH_SCORE
from features.lake.lake import Lake
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace
from training.dataset.cutoffs import first_of_months
from training.dataset.data_span import cutoffs_with_use, known_until
from training.dataset.errors import NoAccountsError
from training.dataset.labels import cohort_rows, label_in, label_rows
from training.dataset.training_set import build_training_set


@dataclass(frozen=True, kw_only=True)
class TrainingArrays:
    """One row an account and cutoff whose outcome is decided, ordered by cutoff and account.

    Unpacks as ``X, y, groups, times``.

    ``X``: rows × features, float64, NaN unknown. ``y``: 1 where the outcome came within the horizon,
    else 0. ``groups``: the account of each row. ``times``: its cutoff, UTC, as ``datetime64[us]``;
    features are of before it, the outcome of after it. ``names``: of the columns of ``X``.
    ``reach_days``: from a cutoff to the end of its label window, the embargo of a fair split.
    """

    X: NDArray[np.float64]
    y: NDArray[np.int64]
    groups: NDArray[np.str_]
    times: NDArray[np.datetime64]
    names: tuple[str, ...]
    reach_days: int

    def __iter__(self) -> Iterator[NDArray[np.generic]]:
        return iter((self.X, self.y, self.groups, self.times))


def training_arrays(
    workspace: Workspace,
    label: str = "churn",
    *,
    horizon_days: int | None = None,
    as_of: datetime | None = None,
) -> TrainingArrays:
    """The rows of a label, from the workspace's events and, through Feast, its snapshots.

    Args:
        workspace: whose data are read.
        label: its name, such as ``churn``.
        horizon_days: within how many days the outcome counts; the label's shortest, by default.
        as_of: nothing recorded at or after it is seen; as far as the label is known, by default.

    Raises:
        LabelError: a label that is not declared.
        NoAccountsError: no account is in the cohort at any cutoff with a closed window.
    """
    settings = workspace.settings
    declared = label_in(settings, label)
    declared = replace(declared, horizons=(horizon_days or declared.horizons[0],))
    end = known_until(workspace, declared, as_of)
    digests = {
        feature.name: feature.digest
        for feature in settings.catalogue.features
        if feature.is_model_input
    } | {HEALTH_SCORE: settings.formula.version}
    features = WorkspaceFeatures(workspace)
    events = (
        Lake(workspace.events_dir, workspace.quarantine_dir)
        .versions_before(end)
        .filter(pl.col("kind").is_in(list(declared.reads)))
        .collect()
    )
    moments = cutoffs_with_use(workspace)
    rows = cohort_rows(declared, events, tuple(at for at in first_of_months(moments) if at < end))
    if rows.is_empty():
        raise NoAccountsError(
            f"No account is in the cohort of {declared.name!r} ({declared.cohort}) at any snapshot "
            f"before {end:%Y-%m-%d}. {declared.next_step}"
        )
    training = build_training_set(
        label_rows(declared, events, rows, known_until=end),
        lambda wanted: features.historical(wanted, list(digests)),
        digests,
    )
    decided = ~np.isnan(training.outcomes[:, 0])
    return TrainingArrays(
        X=training.matrix[decided],
        y=training.outcomes[decided, 0].astype(np.int64),
        groups=np.asarray(training.accounts)[training.account[decided]],
        times=np.asarray(
            [at.replace(tzinfo=None) for at in training.cutoffs], dtype="datetime64[us]"
        )[training.cutoff[decided]],
        names=training.names,
        reach_days=declared.lead_days + declared.horizons[0],
    )
