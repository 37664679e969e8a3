"""Score a snapshot on Spark: each task scores batches as one machine does.

What one account's score needs of the others, the medians of its peers, is computed once from the
whole snapshot and travels with the models to the executors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

import polars as pl
import pyarrow as pa

from features.catalogue.catalogue import HEALTH_SCORE, load_catalogue
from features.compute.snapshot_store import SnapshotStore
from features.compute.spark import map_batches
from features.health.formula import HealthFormula
from features.leaving import Leaving
from features.workspace import Workspace
from registry.store.store import ModelStore
from serving.scoring.explanations import MOST_REASONS, Peers
from serving.scoring.models_served import models_of
from serving.scoring.score import Models
from serving.scoring.scored_columns import Scoring
from serving.scoring.scores_file.file_columns import FileColumns
from serving.scoring.scores_file.peer_medians import peers_in_file
from serving.scoring.scores_file.scores_file import check_model_contracts

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True, kw_only=True)
class ScoringTask:
    """What one task does: batches of snapshots to batches of scores."""

    models: Models
    peers: Peers
    as_of: datetime
    use_names: tuple[str, ...]
    own_features: str
    formula: HealthFormula
    max_age: timedelta
    currency: str
    leaving: Leaving = field(default_factory=Leaving)
    most_reasons: int = MOST_REASONS

    @property
    def file_schema(self) -> pl.Schema:
        """The columns of the file."""
        return self._columns.schema

    @property
    def schema(self) -> pa.Schema:
        """The same as Spark has them."""
        return _plain(self.file_schema.to_frame()).schema

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Score every account of every batch."""
        columns, schema = self._columns, self.schema
        for batch in batches:
            scored = columns.of(cast(pl.DataFrame, pl.from_arrow(batch)))
            yield from _plain(scored).cast(schema).to_batches()

    @property
    def _columns(self) -> FileColumns:
        """Made where it is used: declarations do not travel."""
        scoring = Scoring(
            models=self.models,
            catalogue=load_catalogue(self.use_names, self.own_features),
            formula=self.formula,
            now=self.as_of,
            max_age=self.max_age,
            currency=self.currency,
            peers=self.peers,
            leaving=self.leaving,
        )
        return FileColumns(scoring=scoring, most_reasons=self.most_reasons)


def scores_on_spark(
    session: SparkSession,
    workspace: Workspace,
    store: ModelStore,
    as_of: datetime,
    *,
    partitions: int | None = None,
    most_reasons: int = MOST_REASONS,
) -> pl.DataFrame:
    """The scores of every account of a snapshot, most revenue at risk first.

    Raises:
        SnapshotError: there is no snapshot as of this moment.
    """
    settings = workspace.settings
    snapshots = SnapshotStore(workspace.snapshots_dir)
    path, declared = (
        snapshots.existing_path(as_of),
        settings.catalogue,
    )
    models = check_model_contracts(
        path,
        models_of(workspace, store),
        digests={**declared.digests, HEALTH_SCORE: settings.formula.version},
    )
    task = ScoringTask(
        models=models,
        as_of=as_of,
        use_names=settings.use_names,
        own_features=settings.own_features,
        peers=peers_in_file(path, tuple(declared.by_name)) if most_reasons else Peers(groups={}),
        formula=settings.formula,
        currency=settings.currency,
        max_age=timedelta(days=settings.max_feature_age_days),
        leaving=settings.leaving,
        most_reasons=most_reasons,
    )
    rows = session.read.parquet(str(path.resolve()))
    if partitions is not None:
        rows = rows.repartition(partitions)
    scored = cast(pl.DataFrame, pl.from_arrow(map_batches(rows, task, task.schema).toArrow()))
    return scored.cast(dict(task.file_schema)).sort(  # type: ignore[arg-type]
        "revenue_at_risk", "account_id", descending=[True, False], nulls_last=True
    )


def _plain(frame: pl.DataFrame) -> pa.Table:
    """Arrow types that Spark knows: texts of ordinary size."""
    table = frame.to_arrow()
    return table.cast(
        pa.schema(
            pa.field(
                f.name,
                pa.string()
                if pa.types.is_large_string(f.type) or pa.types.is_string_view(f.type)
                else f.type,
            )
            for f in table.schema
        )
    )
