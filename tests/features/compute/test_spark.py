"""Spark computes what one machine computes, to the last bit, however the rows are cut up.

To the last bit, because both write the same snapshot: whoever moves to Spark, or back, must not see
scores, reasons or a fingerprint change.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scores_one_by_one import score_frame_for_file
from small_company import AS_OF, BEFORE, event, make_store, make_workspace

from features.catalogue.catalogue import load_catalogue
from features.compute.backfill import backfill, find_stale_moments
from features.compute.snapshot_store import SnapshotError, SnapshotStore
from features.compute.spark import (
    SnapshotTask,
    SparkEngineError,
    StagingTask,
    backfill_on_spark,
    events_on_spark,
    group_by_account,
    map_batches,
    spark_session,
)
from features.events.schema import events_frame
from features.lake.lake import LAKE_SCHEMA, Lake
from features.workspace import Workspace
from serving.recommendations.snapshot import scores_as_of
from serving.scoring.scores_file.spark import scores_on_spark

MOMENTS = (BEFORE, AS_OF)
ROWS_IN_A_BATCH = 17
HEAVY = 3_000
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A small company with one account that has most of the events, and a corrected event."""
    made = make_workspace(tmp_path_factory.mktemp("spark") / "company")
    lake = Lake(made.events_dir, made.quarantine_dir)
    heavy = [event("acct-07", "feature.used", 1 + n / 60, name="search") for n in range(HEAVY)]
    lake.append(events_frame(heavy), source="hand", file="heavy", now=AS_OF)
    corrected = replace(
        heavy[-1], event_count=50, recorded_at=heavy[-1].recorded_at + timedelta(days=2)
    )
    lake.append(events_frame([corrected]), source="hand", file="corrected", now=AS_OF)
    assert lake.manifest.superseded
    backfill(made, MOMENTS)
    return made


@pytest.fixture(scope="module")
def task(workspace: Workspace) -> SnapshotTask:
    lake = Lake(workspace.events_dir)
    return SnapshotTask(as_ofs=MOMENTS, first_recorded=lake.first_recorded(), events_at_once=200)


@pytest.fixture(scope="module")
def one_machine(workspace: Workspace) -> pl.DataFrame:
    return SnapshotStore(workspace.snapshots_dir).read_all().sort("account_id", "as_of")


@pytest.fixture(scope="module")
def events(workspace: Workspace) -> pl.DataFrame:
    kinds = list(load_catalogue().kinds_read)
    return (
        Lake(workspace.events_dir)
        .scan()
        .filter(pl.col("kind").is_in(kinds))
        .sort("account_id")
        .collect()
    )


def frame_of(batches: Iterable[pa.RecordBatch]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(pl.from_arrow(batch)) for batch in batches])


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_an_account_may_span_any_number_of_batches(
    data: st.DataObject,
    events: pl.DataFrame,
    task: SnapshotTask,
    one_machine: pl.DataFrame,
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, events.height), max_size=12)))
    bounds = zip([0, *cuts], [*cuts, events.height], strict=True)
    tables = [events[first:last].to_arrow() for first, last in bounds]
    batches = [
        batch
        for table in tables
        for batch in (table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)])
    ]
    at_once = data.draw(st.sampled_from([1, 40, 400, 10**6]))
    made = frame_of(replace(task, events_at_once=at_once)(batches))
    assert_frame_equal(made.sort("account_id", "as_of"), one_machine, check_exact=True)


def test_a_partition_without_events_gives_nothing(task: SnapshotTask) -> None:
    empty = pl.DataFrame(schema=LAKE_SCHEMA).to_arrow()
    assert list(task([])) == []
    assert list(task([pa.RecordBatch.from_pylist([], empty.schema)])) == []


def test_a_task_names_the_files_that_hold_its_snapshots(
    task: SnapshotTask,
    events: pl.DataFrame,
    one_machine: pl.DataFrame,
    tmp_path: Path,
) -> None:
    names = frame_of(StagingTask(snapshots=task, folder=tmp_path)(events.to_arrow().to_batches()))
    assert names.height > 1
    made = pl.concat([pl.read_parquet(tmp_path / name) for name in names["file"]])
    assert_frame_equal(made.sort("account_id", "as_of"), one_machine, check_exact=True)


def test_without_java_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with (
        pytest.raises(SparkEngineError, match=r"Java 17 or newer.*openjdk-17-jre-headless"),
        spark_session("local[1]"),
    ):
        pass


def test_a_java_home_without_java_is_named(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with (
        pytest.raises(SparkEngineError, match="there is no java below JAVA_HOME"),
        spark_session("local[1]"),
    ):
        pass


class FailingOnce(SnapshotTask):
    """Fails at the first attempt of every partition, after half of its work."""

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        made = super().__call__(batches)
        context = TaskContext.get()
        if context is not None and context.attemptNumber() == 0:
            yield from itertools.islice(made, 1)
            raise RuntimeError("the machine went away")
        yield from made


@pytest.fixture(scope="module")
def session():
    more = {
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(ROWS_IN_A_BATCH),
        "spark.sql.shuffle.partitions": "3",
        "spark.sql.adaptive.enabled": "false",
    }
    with spark_session("local[2,3]", more) as session:
        yield session


@pytest.mark.spark
def test_it_writes_the_files_that_one_machine_writes(session, workspace, tmp_path):
    store = SnapshotStore(workspace.snapshots_dir)
    kept = {moment: store.path(moment).read_bytes() for moment in MOMENTS}
    for moment in MOMENTS:
        store.path(moment).unlink()
    said: list[int] = []
    count = backfill_on_spark(
        session,
        workspace,
        MOMENTS,
        events_at_once=200,
        publish=lambda rows: said.append(rows.height),
    )
    assert {moment: store.path(moment).read_bytes() for moment in MOMENTS} == kept
    assert count == sum(said) == store.read_all().height
    assert find_stale_moments(workspace, MOMENTS) == ()
    assert {path.name for path in workspace.snapshots_dir.iterdir()} == {
        "written.json",
        *(store.path(moment).name for moment in MOMENTS),
    }
    assert store.damaged() == {}


@pytest.mark.spark
def test_what_lands_meanwhile_is_not_read(session, tmp_path):
    lake = Lake(tmp_path / "events", tmp_path / "quarantine")
    use = [event("acct-01", "feature.used", n, name="search") for n in (5, 6)]
    lake.append(events_frame(use), source="hand", file="first", now=AS_OF)
    manifest = lake.manifest
    corrected = replace(use[0], event_count=50, recorded_at=use[0].recorded_at + timedelta(days=2))
    lake.append(events_frame([corrected]), source="hand", file="corrected", now=AS_OF)
    read = [
        events_on_spark(session, lake, ["feature.used"], *manifests).toArrow()
        for manifests in ([manifest], [])
    ]
    assert [table.num_rows for table in read] == [2, 3]
    assert [table["superseded_at"].null_count for table in read] == [2, 2]


@pytest.mark.spark
def test_more_partitions_than_accounts_change_nothing(
    session,
    workspace,
    task,
    one_machine,
):
    frame = events_on_spark(
        session, Lake(workspace.events_dir), sorted(load_catalogue().kinds_read)
    )
    made = map_batches(group_by_account(frame, 60), task, task.schema)
    assert_frame_equal(
        pl.DataFrame(pl.from_arrow(made.toArrow())).sort("account_id", "as_of"),
        one_machine,
        check_exact=True,
    )


@pytest.mark.spark
def test_a_task_that_fails_is_done_again(session, workspace, task, one_machine):
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers lack this module
    failing = FailingOnce(as_ofs=task.as_ofs, first_recorded=task.first_recorded)
    frame = events_on_spark(
        session, Lake(workspace.events_dir), sorted(load_catalogue().kinds_read)
    )
    made = map_batches(group_by_account(frame, 2), failing, failing.schema)
    assert_frame_equal(
        pl.DataFrame(pl.from_arrow(made.toArrow())).sort("account_id", "as_of"),
        one_machine,
        check_exact=True,
    )


@pytest.mark.spark
def test_what_a_failed_task_left_behind_is_not_named(
    session, workspace, task, one_machine, tmp_path
):
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers lack this module
    failing = StagingTask(
        folder=tmp_path,
        snapshots=FailingOnce(
            as_ofs=task.as_ofs, first_recorded=task.first_recorded, events_at_once=200
        ),
    )
    frame = events_on_spark(
        session, Lake(workspace.events_dir), sorted(load_catalogue().kinds_read)
    )
    named = [
        row["file"]
        for row in map_batches(group_by_account(frame, 2), failing, failing.schema).collect()
    ]
    assert len(named) < len(list(tmp_path.iterdir()))
    made = pl.concat([pl.read_parquet(tmp_path / name) for name in named])
    assert_frame_equal(made.sort("account_id", "as_of"), one_machine, check_exact=True)


@pytest.mark.spark
def test_it_scores_as_the_service_does(session, workspace):
    models = make_store(workspace)
    scored = scores_on_spark(session, workspace, models, AS_OF, partitions=3)
    assert_frame_equal(
        scored, score_frame_for_file(scores_as_of(workspace, models, AS_OF)), check_exact=True
    )


@pytest.mark.spark
def test_a_lake_without_events_is_refused(session, tmp_path):
    with pytest.raises(SnapshotError, match="No account was known"):
        backfill_on_spark(session, Workspace(tmp_path, environment={}), [AS_OF])


@pytest.mark.spark
def test_a_moment_before_anything_was_known_is_refused(session, workspace):
    with pytest.raises(SnapshotError, match="No account was known"):
        backfill_on_spark(session, workspace, [AS_OF - timedelta(days=3000)])


@pytest.mark.spark
def test_the_command_computes_on_spark(workspace: Workspace) -> None:
    path = SnapshotStore(workspace.snapshots_dir).path(AS_OF)
    kept = path.read_bytes()
    path.unlink()
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "keepwell.py"),
            "snapshot",
            "--as-of",
            f"{AS_OF:%Y-%m-%d}",
            "--engine",
            "spark",
            "--master",
            "local[2]",
            "-w",
            str(workspace.root),
        ],
        cwd=workspace.root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "48 snapshots as of 1 moment" in done.stdout
    assert path.read_bytes() == kept
