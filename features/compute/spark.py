"""Run the same sweep over the same lake on a Spark cluster.

::

    lake ── read ──► events ── by account, sorted ──► sweep ──► staging ──► one file a moment
                     (executors)                    (executors)             (driver, swapped)

Every account's events come to one task in one run of rows, which may span several Arrow batches;
the task carries the account that is still open from batch to batch. Snapshots are wide and do not
go through Spark: the task writes them and says in which files they are. The arithmetic is
``build_snapshots``, so the numbers are those of one machine to the last bit. The only module that
knows Spark.
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
from features.compute.backfill import check_moments, made_from, nothing_known
from features.compute.snapshot_store import SnapshotStore
from features.compute.snapshots import build_snapshots
from features.health.formula import FORMULAS
from features.lake.lake import LAKE_SCHEMA, Lake
from features.lake.manifest import Manifest
from features.workspace import Workspace

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

EVENTS_AT_ONCE = 1_000_000
"""Events that a task holds before it computes those of its whole accounts; about 0.2 GB."""

STAGING = ".spark"
"""Folder beside the snapshots in which the executors leave their parts."""

SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}

ON_THIS_MACHINE = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
"""For a ``local`` master: nothing of it is reachable from outside."""


class SparkEngineError(Exception):
    """Spark cannot be used here."""


@contextmanager
def spark_session(master: str, settings: Mapping[str, str] | None = None) -> Iterator[SparkSession]:
    """A Spark session whose Python workers are this interpreter; stopped at the end.

    Args:
        master: such as ``local[2]``, or the address of a cluster.
        settings: Spark's own settings, over ours.

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
    """What one task does: batches of events, by account, to batches of snapshots.

    Travels to the executors, so it holds declarations by name and not by value.
    """

    as_ofs: tuple[datetime, ...]
    first_recorded: Mapping[str, datetime]
    use_names: tuple[str, ...] = ()
    formula: str = "balanced"
    events_at_once: int = EVENTS_AT_ONCE

    @property
    def schema(self) -> pa.Schema:
        """Of the snapshots: as ``build_snapshots`` gives them."""
        declared = load_catalogue(self.use_names)
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
        """Compute, an account as soon as all its events have come."""
        declared, schema = load_catalogue(self.use_names), self.schema
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
            formula=FORMULAS[self.formula],
        )
        yield from made.to_arrow().cast(schema).to_batches()


@dataclass(frozen=True, kw_only=True)
class StagingTask:
    """What one task does where the snapshots are kept: batches of events to names of files.

    Only a task that came to its end is asked for its names, so what a failed attempt, or the slower
    of two, left in the folder is not read.
    """

    snapshots: SnapshotTask
    folder: Path

    @property
    def schema(self) -> pa.Schema:
        """Of the names."""
        return pa.schema([("file", pa.string())])

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Compute and write; a file is whole before it is named."""
        from pyspark import TaskContext

        context = TaskContext.get()
        attempt = 0 if context is None else context.taskAttemptId()  # of no other task or attempt
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
    paths = [str((lake.folder / name).resolve()) for name in manifest.parts]
    if not paths:
        raise nothing_known()
    events = session.read.parquet(*paths).where(F.col("kind").isin(*kinds))
    if not manifest.superseded:
        events = events.withColumn("superseded_at", F.lit(None).cast("timestamp"))
    else:
        ceased = session.read.parquet(
            *(str((lake.folder / name).resolve()) for name in manifest.superseded)
        )
        events = events.join(ceased, on=["event_id", "recorded_at"], how="left")
    return events.select(*LAKE_SCHEMA)


def by_account(frame: DataFrame, partitions: int | None = None) -> DataFrame:
    """Each account's rows in one partition, and there in one run."""
    if partitions is None:
        return frame.repartition("account_id").sortWithinPartitions("account_id")
    return frame.repartition(partitions, "account_id").sortWithinPartitions("account_id")


def map_batches(
    frame: DataFrame,
    task: Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]],
    schema: pa.Schema,
) -> DataFrame:
    """The frame that a task makes of each partition."""
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
    """Make and keep the snapshots of every account at these moments, as ``backfill`` does.

    The executors leave their parts in a staging folder of the workspace, which they have to see
    under the same path; the driver then holds the snapshots of one moment at a time, publishes
    them, and swaps in their file. Killed anywhere, each moment's file is the old or the new one.

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
        formula=settings.health_formula,
        events_at_once=events_at_once,
    )
    digest = made_from(manifest, settings)
    staging = workspace.snapshots_dir.resolve() / STAGING
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    staging.mkdir(parents=True)
    staged = StagingTask(snapshots=task, folder=staging)
    events = events_on_spark(
        session, lake, sorted(load_catalogue(settings.use_names).kinds_read), manifest
    )
    try:
        named = map_batches(by_account(events, partitions), staged, staged.schema).collect()
        return _keep(
            [staging / row["file"] for row in named],
            moments,
            SnapshotStore(workspace.snapshots_dir),
            digest,
            publish,
        )
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _keep(
    parts: list[Path],
    moments: Sequence[datetime],
    store: SnapshotStore,
    digest: str,
    publish: Callable[[pl.DataFrame], object] | None,
) -> int:
    if not parts:
        raise nothing_known()
    kept = 0
    for moment in moments:
        rows = pl.scan_parquet(parts).filter(pl.col("as_of") == moment).sort("account_id").collect()
        if rows.is_empty():
            continue
        if publish is not None:
            publish(rows)
        store.write(rows, made_from=digest)
        kept += rows.height
    if not kept:
        raise nothing_known()
    return kept
