"""This module is about scoring a snapshot on Spark: the service's own scoring, a batch a task.

What one account's score needs of the others, the medians of its peers, is computed once from the
whole snapshot and travels with the models to the executors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

import polars as pl
import pyarrow as pa

from features.catalogue import catalogue
from features.health import FORMULAS
from features.snapshots import SnapshotStore
from features.spark_engine import map_batches
from features.workspace import Workspace
from registry.store import ModelStore
from serving.champions import models_of
from serving.explanations import MOST_REASONS, Peers, peers_of
from serving.scoring import Models, file_schema, score_accounts, score_frame_for_file

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True, kw_only=True)
class ScoringTask:
    """What one task does: batches of snapshots to batches of scores."""

    models: Models
    peers: Peers
    as_of: datetime
    use_names: tuple[str, ...]
    formula: str
    max_age: timedelta
    currency: str
    most_reasons: int = MOST_REASONS

    @property
    def schema(self) -> pa.Schema:
        """Of the scores: as ``score_frame_for_file`` gives them."""
        return _plain(file_schema((), self.most_reasons).to_frame()).schema

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Score every account of every batch."""
        known = catalogue(self.use_names).by_name
        for batch in batches:
            frame = cast(pl.DataFrame, pl.from_arrow(batch))
            scores = score_accounts(
                frame, self.models, catalogue=known, formula=FORMULAS[self.formula],
                now=self.as_of, max_age=self.max_age, currency=self.currency, peers=self.peers)
            rows = score_frame_for_file(scores, most_reasons=self.most_reasons)
            yield from _plain(rows).cast(self.schema).to_batches()


def scores_on_spark(
    session: SparkSession, workspace: Workspace, store: ModelStore, as_of: datetime, *,
    partitions: int | None = None, most_reasons: int = MOST_REASONS,
) -> pl.DataFrame:
    """The scores of every account of a snapshot, most revenue at risk first.

    Raises:
        SnapshotError: there is no snapshot as of this moment.
    """
    settings = workspace.settings
    snapshots = SnapshotStore(workspace.snapshots_dir)
    task = ScoringTask(
        models=models_of(workspace, store), as_of=as_of, use_names=settings.use_names,
        peers=peers_of(snapshots.read(as_of), catalogue(settings.use_names).by_name),
        formula=settings.health_formula, currency=settings.currency,
        max_age=timedelta(days=settings.max_feature_age_days), most_reasons=most_reasons)
    rows = session.read.parquet(str(snapshots.path(as_of).resolve()))
    if partitions is not None:
        rows = rows.repartition(partitions)
    scored = cast(pl.DataFrame, pl.from_arrow(map_batches(rows, task, task.schema).toArrow()))
    return (scored.cast(dict(file_schema((), most_reasons)))  # type: ignore[arg-type]
            .sort("revenue_at_risk", "account_id", descending=[True, False], nulls_last=True))


def _plain(frame: pl.DataFrame) -> pa.Table:
    """Arrow types that Spark knows: texts of ordinary size."""
    table = frame.to_arrow()
    return table.cast(pa.schema(
        pa.field(f.name, pa.string() if pa.types.is_large_string(f.type)
                 or pa.types.is_string_view(f.type) else f.type) for f in table.schema))
