"""Run the same sweep over the same lake on a Spark cluster.

::

    lake ── read ──► events ── by account, sorted ──► sweep ──► staging ──► one file a moment
                     (executors)                    (executors)             (driver)

All events of an account come to one task, in consecutive rows that may span several Arrow batches; the
task carries the last account over to the next batch. Snapshots are wide and do not go through Spark:
the task writes them and returns the names of the files. ``build_snapshots`` computes them, so the
numbers are those of one machine to the last bit.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import polars as pl
import pyarrow as pa

from features.catalogue.catalogue import HEALTH_SCORE, Catalogue, load_catalogue
from features.catalogue.definitions.attributes import CONTRACT_STATUS
from features.compute.backfill import check_moments, empty_backfill_error, snapshot_digest
from features.compute.lost_columns import keep_stored_values
from features.compute.snapshot_store import SnapshotStore
from features.compute.snapshots import build_snapshots
from features.health.formula import FORMULAS, HealthFormula
from features.lake.admission.horizons import applied_horizons
from features.lake.lake import LAKE_SCHEMA, Lake
from features.lake.manifest import Manifest
from features.workspace import Workspace

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

EVENTS_AT_ONCE = 1_000_000
"""Events that a task collects before it computes its complete accounts; about 0.2 GB."""

STAGING = ".spark"
"""Folder beside the snapshots in which the executors write their parts."""

SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}

ON_THIS_MACHINE = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
"""For a ``local`` master: it is not reachable from outside."""


class SparkEngineError(Exception):
    """Spark cannot be used here."""


@contextmanager
def spark_session(master: str, settings: Mapping[str, str] | None = None) -> Iterator[SparkSession]:
    """A Spark session whose Python workers use this interpreter; it is stopped at the end.

    Args:
        master: such as ``local[2]``, or the address of a cluster.
        settings: settings of Spark, which replace ours.

    Raises:
        SparkEngineError: pyspark or Java is missing.
    """
    try:
        from pyspark.errors import PySparkRuntimeError
        from pyspark.sql import SparkSession
    except ImportError as exc:
        raise SparkEngineError(
            "The engine spark needs pyspark, which is not installed. Install the extra: "
            "pip install 'keepwell[spark]'."
        ) from exc
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java") if home is None else shutil.which("java", path=f"{home}/bin")
    if java is None:
        where = "on the PATH" if home is None else f"below JAVA_HOME ({home})"
        raise SparkEngineError(
            f"The engine spark needs Java 17 or newer, and there is no java {where}. Install one "
            f"(Debian: openjdk-17-jre-headless), or set JAVA_HOME."
        )
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    builder = SparkSession.builder.master(master).appName("keepwell")
    place = ON_THIS_MACHINE if master.startswith("local") else {}
    for name, value in {**SETTINGS, **place, **(settings or {})}.items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except PySparkRuntimeError as exc:
        raise SparkEngineError(
            f"Spark did not start on {master}: {exc}. Check the address and Spark's own log above."
        ) from exc
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session
    finally:
        session.stop()


@dataclass(frozen=True, kw_only=True)
class SnapshotTask:
    """A task: computes batches of snapshots from batches of events, which are sorted by account.

    It is sent to the executors, so it holds the names of declarations and not their values.
    """

    as_ofs: tuple[datetime, ...]
    first_recorded: Mapping[str, datetime]
    use_names: tuple[str, ...] = ()
    own_features: str = ""
    formula: HealthFormula = FORMULAS["balanced"]
    events_at_once: int = EVENTS_AT_ONCE

    @property
    def schema(self) -> pa.Schema:
        """The schema of the snapshots, as ``build_snapshots`` returns them."""
        declared = load_catalogue(self.use_names, self.own_features)
        words = [attribute.name for attribute in declared.attributes]
        return pa.schema(
            [
                ("account_id", pa.string()),
                ("as_of", pa.timestamp("us", "UTC")),
                *((name, pa.string()) for name in (*words, CONTRACT_STATUS)),
                *((name, pa.float64()) for name in (*declared.names, HEALTH_SCORE)),
            ]
        )

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Compute each account as soon as all its events have come."""
        declared, schema = load_catalogue(self.use_names, self.own_features), self.schema
        waiting: list[pl.DataFrame] = []
        for batch in batches:
            events = cast(pl.DataFrame, pl.from_arrow(batch)).cast(LAKE_SCHEMA)  # type: ignore[arg-type]
            if events.is_empty():
                continue
            is_new = bool(waiting) and events["account_id"][-1] != waiting[-1]["account_id"][-1]
            waiting.append(events)
            if is_new and sum(frame.height for frame in waiting) >= self.events_at_once:
                held = pl.concat(waiting)
                is_open = pl.col("account_id") == held["account_id"][-1]
                yield from self._snapshots(held.filter(~is_open), declared, schema)
                waiting = [held.filter(is_open)]
        if waiting:
            yield from self._snapshots(pl.concat(waiting), declared, schema)

    def _snapshots(
        self,
        events: pl.DataFrame,
        declared: Catalogue,
        schema: pa.Schema,
    ) -> Iterator[pa.RecordBatch]:
        made = build_snapshots(
            events,
            self.as_ofs,
            declared,
            first_recorded=self.first_recorded,
            formula=self.formula,
        )
        yield from made.to_arrow().cast(schema).to_batches()


@dataclass(frozen=True, kw_only=True)
class StagingTask:
    """A task that writes the snapshots: computes names of files from batches of events.

    Spark returns the names of one successful attempt only, so files of a failed or slower attempt
    are not read.
    """

    snapshots: SnapshotTask
    folder: Path

    @property
    def schema(self) -> pa.Schema:
        """The schema of the names."""
        return pa.schema([("file", pa.string())])

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Compute and write; a file is complete before its name is returned."""
        from pyspark import TaskContext

        context = TaskContext.get()
        attempt = (
            0 if context is None else context.taskAttemptId()
        )  # unique to the task and the attempt
        for number, batch in enumerate(self.snapshots(batches)):
            name = f"{attempt}-{number}.parquet"
            cast(pl.DataFrame, pl.from_arrow(batch)).write_parquet(
                self.folder / name, compression="zstd", compression_level=1
            )
            yield pa.RecordBatch.from_pydict({"file": [name]}, schema=self.schema)


def events_on_spark(
    session: SparkSession, lake: Lake, kinds: Sequence[str], manifest: Manifest | None = None
) -> DataFrame:
    """Every version of the events of these kinds: ``Lake.scan`` as a Spark frame."""
    from pyspark.sql import functions as F

    manifest = manifest or lake.manifest
    lake.check_files(manifest)
    paths = [str((lake.folder / name).resolve()) for name in manifest.parts]
    if not paths:
        raise empty_backfill_error()
    events = session.read.parquet(*paths).where(F.col("kind").isin(*kinds))
    if not manifest.superseded:
        events = events.withColumn("superseded_at", F.lit(None).cast("timestamp"))
    else:
        ceased = session.read.parquet(
            *(str((lake.folder / name).resolve()) for name in manifest.superseded)
        )
        events = events.join(ceased, on=["event_id", "recorded_at"], how="left")
    return events.select(*LAKE_SCHEMA)


def group_by_account(frame: DataFrame, partitions: int | None = None) -> DataFrame:
    """Put all rows of an account into one partition, one after the other."""
    if partitions is None:
        return frame.repartition("account_id").sortWithinPartitions("account_id")
    return frame.repartition(partitions, "account_id").sortWithinPartitions("account_id")


def map_batches(
    frame: DataFrame,
    task: Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]],
    schema: pa.Schema,
) -> DataFrame:
    """The frame with the results of a task for each partition."""
    from pyspark.sql.pandas.types import from_arrow_schema

    return frame.mapInArrow(task, from_arrow_schema(schema))


def backfill_on_spark(
    session: SparkSession,
    workspace: Workspace,
    as_ofs: Sequence[datetime],
    *,
    partitions: int | None = None,
    publish: Callable[[pl.DataFrame], object] | None = None,
    events_at_once: int = EVENTS_AT_ONCE,
) -> int:
    """Compute and write the snapshots of every account at these moments, as ``backfill`` does.

    The executors write their parts to a staging folder of the workspace, which must have the same
    path for them. The driver then reads the snapshots of one moment at a time, publishes them, and
    replaces their file. If the process is killed, each file is the old or the new one.

    Returns:
        The number of snapshots.

    Raises:
        SnapshotError: nothing was known at any of the moments, or one lies after the data.
    """
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    manifest, settings = lake.manifest, workspace.settings  # others may write while this reads
    check_moments(as_ofs, manifest)
    moments = tuple(sorted(set(as_ofs)))
    task = SnapshotTask(
        as_ofs=moments,
        first_recorded=manifest.first_recorded,
        use_names=settings.use_names,
        own_features=settings.own_features,
        formula=settings.formula,
        events_at_once=events_at_once,
    )
    digest = snapshot_digest(manifest, settings)
    staging = workspace.snapshots_dir.resolve() / STAGING
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    staging.mkdir(parents=True)
    staged = StagingTask(snapshots=task, folder=staging)
    events = events_on_spark(
        session,
        lake,
        sorted(settings.catalogue.kinds_read),
        manifest,
    )
    try:
        named = map_batches(group_by_account(events, partitions), staged, staged.schema).collect()
        return _write_snapshots(
            [staging / row["file"] for row in named],
            moments,
            SnapshotStore(workspace.snapshots_dir),
            digest,
            publish,
            lambda rows: keep_stored_values(
                rows,
                SnapshotStore(workspace.snapshots_dir),
                settings.catalogue,
                settings.formula,
                applied_horizons(workspace.root),
            ),
        )
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_snapshots(
    parts: list[Path],
    moments: Sequence[datetime],
    store: SnapshotStore,
    digest: str,
    publish: Callable[[pl.DataFrame], object] | None,
    kept_values: Callable[[pl.DataFrame], pl.DataFrame],
) -> int:
    if not parts:
        raise empty_backfill_error()
    kept = 0
    for moment in moments:
        rows = pl.scan_parquet(parts).filter(pl.col("as_of") == moment).sort("account_id").collect()
        if rows.is_empty():
            continue
        rows = kept_values(rows)
        if publish is not None:
            publish(rows)
        store.write(rows, digest=digest)
        kept += rows.height
    if not kept:
        raise empty_backfill_error()
    return kept
