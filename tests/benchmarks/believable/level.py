"""Count on a finished workspace whether the released models promise as many as come.

Every snapshot whose label windows have closed is scored by the model that serves, over all accounts
of its cohort: came over promised and the slope, by outcome and horizon. The newest third of the
cutoffs is judged, as the base rate is that of these. These rows are those that the model learned
from, so this tells of its level and not of its order; ``bench_level.py`` judges other companies.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from features.compute.snapshot_store import SnapshotStore
from features.lake.lake import Lake
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace
from registry.store.store import NoChampionError
from serving.cli.models import store_of
from training.dataset.cutoffs import first_of_months, mature, reach_of
from training.dataset.labels import ROW, cohort_rows, label_named, label_rows
from training.dataset.splits import newest
from training.metrics import account_draws, calibration_slope, came_over_promised

LABELS = ("churn", "expansion")
HORIZONS = (30, 60, 90)
SHARE, DRAWS = 1 / 3, 500


def counts(workspace: Path) -> list[tuple[str, str]]:
    """What is counted, and the figure in words."""
    place = Workspace(workspace)
    return [found for name in LABELS for found in _of_label(place, name)]


def _of_label(place: Workspace, name: str) -> list[tuple[str, str]]:
    try:
        model = store_of(place).champion(name)
    except NoChampionError:
        return [(f"{name}, model", "none serves")]
    until = place.settings.complete_until or place.now(None)
    label = replace(label_named(name), horizons=HORIZONS, long_horizons=())
    moments = first_of_months(SnapshotStore(place.snapshots_dir).moments())
    events = (
        Lake(place.events_dir, place.quarantine_dir)
        .versions_before(until)
        .filter(pl.col("kind").is_in(list(label.reads)))
        .collect()
    )
    found = [(f"{name}, model", model.metadata.notes.get("model", "unknown"))]
    for horizon in HORIZONS:
        closed = mature(
            moments, reach=reach_of(horizon, lead_days=label.lead_days), known_until=until
        )
        rows = label_rows(
            label, events, cohort_rows(label, events, newest(closed, SHARE)), known_until=until
        ).frame
        rows = rows.filter(pl.col(label.column(horizon)).is_not_null())
        read = WorkspaceFeatures(place).historical(rows.select(ROW), list(model.contract.names))
        rows = rows.join(read, on=ROW, how="left", maintain_order="left")
        y = rows[label.column(horizon)].cast(pl.Float64).to_numpy()
        p = model.probability(model.contract.matrix(rows.select(model.contract.names)), horizon)
        account = np.unique(rows["account_id"].to_numpy(), return_inverse=True)[1]
        level = came_over_promised(y, p, account, account_draws(account, DRAWS, _rng()))
        found.append((f"{name} {horizon} days, came over promised", f"{level}, {len(y):,} rows"))
        slope = calibration_slope(y, p, account)
        found.append((f"{name} {horizon} days, slope", str(slope)))
    return found


def _rng() -> np.random.Generator:
    return np.random.default_rng(1)
