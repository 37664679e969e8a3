"""The file of scores: whole or not at all, in order, the same as the service says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from forked_programs import run_program
from keepwell_command import run_keepwell
from polars.testing import assert_frame_equal
from scores_one_by_one import score_frame_for_file
from small_company import AS_OF, READS, add_model, make_bundle

from features.compute.snapshot_store import SnapshotError, SnapshotStore
from features.workspace import Workspace
from features.workspace_files import write_atomically
from registry.bundle.segment_gate import SWITCH_FILE, TO_WITHHOLD, Look, SegmentSwitch, segment_key
from registry.store.store import MemoryModelStore
from serving.recommendations.snapshot import scores_as_of
from serving.scoring.scores_file.scores_file import ScoresFileError, write_scores

ROOT = Path(__file__).parents[4]


@pytest.fixture
def place(shared_workspace, tmp_path):
    return Workspace(shutil.copytree(shared_workspace.root, tmp_path / "own"), environment={})


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def change(place: Workspace, *changes: pl.Expr) -> pl.DataFrame:
    snapshots = SnapshotStore(place.snapshots_dir)
    changed = snapshots.read(AS_OF).with_columns(*changes)
    snapshots.write(changed)
    return changed


def test_a_snapshot_is_read_in_parts_whatever_groups_its_file_has(place):
    snapshots = SnapshotStore(place.snapshots_dir)
    whole = snapshots.read(AS_OF)
    path = snapshots.path(AS_OF)
    whole.write_parquet(path, row_group_size=7)
    parts = list(snapshots.parts(AS_OF, {"account_id", "mrr"}, rows=5))
    assert {part.height for part in parts} <= {5, 2, whole.height % 7 % 5 or 5}
    assert_frame_equal(
        pl.concat(parts),
        whole.select(name for name in whole.columns if name in {"account_id", "mrr"}),
    )


def assert_same(place, store, file, **told) -> pl.DataFrame:
    written = write_scores(place, store, AS_OF, file, **told)
    rows = pl.read_parquet(file)
    expected = score_frame_for_file(scores_as_of(place, store, AS_OF))
    assert written.accounts == rows.height
    assert written.by_source == dict(rows["score_source"].value_counts().iter_rows())
    assert written.by_reason == dict(rows["degraded"].drop_nulls().value_counts().iter_rows())
    assert_frame_equal(rows, expected, rel_tol=1e-12, abs_tol=1e-12)
    return rows


@pytest.mark.parametrize("at_once", [1, 7, 16, 20_000])
def test_the_file_holds_what_the_service_says_in_its_order(place, store, tmp_path, at_once):
    rows = assert_same(place, store, tmp_path / "scores.parquet", at_once=at_once)
    assert rows.height == 48
    assert rows["revenue_at_risk"].drop_nulls().is_sorted(descending=True)
    assert rows["account_id"][-1] == "acct-47"  # it has left


def test_accounts_of_a_withheld_segment_have_the_formulas_scores(place, store, tmp_path):
    switch = SegmentSwitch()
    for number in range(TO_WITHHOLD):
        look = Look(finding="worse", known_to=AS_OF.replace(hour=number), because="it was worse")
        switch = switch.looked(
            store.champion("churn").fingerprint, {segment_key("small"): look}, at=AS_OF
        )
    write_atomically(place.monitoring_dir / SWITCH_FILE, switch.text().encode())
    rows = assert_same(place, store, tmp_path / "scores.parquet", at_once=20)
    assert rows["model_version"].n_unique() == 3


def test_without_a_model_the_formula_answers(place, tmp_path):
    rows = assert_same(place, MemoryModelStore(), tmp_path / "scores.parquet", at_once=20)
    assert set(rows["degraded"]) == {
        "No churn model has been promoted.",
        "The contract has ended, so there is nothing left to predict.",
    }


@pytest.mark.parametrize("infinite", [[3], [0, 5, 44]], ids=["one row", "rows of several parts"])
def test_an_infinite_value_refuses_the_model_for_everybody(place, store, tmp_path, infinite):
    change(
        place,
        pl.when(pl.int_range(pl.len()).is_in(infinite))
        .then(float("inf"))
        .otherwise("errors_28d")
        .alias("errors_28d"),
    )
    rows = assert_same(place, store, tmp_path / "scores.parquet", at_once=16)
    assert (
        rows["degraded"].str.contains(f"errors_28d is infinite in {len(infinite)} row").sum() == 47
    )


def test_a_feature_that_the_snapshot_lacks_refuses_the_model(place, store, tmp_path):
    snapshots = SnapshotStore(place.snapshots_dir)
    snapshots.write(snapshots.read(AS_OF).drop("errors_28d"))
    rows = assert_same(place, store, tmp_path / "scores.parquet", at_once=16)
    assert rows["degraded"].str.contains("cannot read these features").sum() == 47


def test_unknown_money_keeps_the_accounts_by_name(place, store, tmp_path):
    change(place, pl.lit(None, dtype=pl.Float64).alias("mrr"))
    rows = assert_same(place, store, tmp_path / "scores.parquet", at_once=16)
    assert rows["account_id"].is_sorted()


def test_a_snapshot_of_nobody_is_a_file_without_rows(place, store, tmp_path):
    snapshots = SnapshotStore(place.snapshots_dir)
    nobody = snapshots.read(AS_OF).head(0)
    nobody.write_parquet(snapshots.path(AS_OF))
    written = write_scores(place, store, AS_OF, tmp_path / "scores.parquet")
    assert (written.accounts, pl.read_parquet(tmp_path / "scores.parquet").height) == (0, 0)


def test_without_reasons_all_else_is_the_same(place, store, tmp_path):
    plain, bare = tmp_path / "plain.parquet", tmp_path / "bare.parquet"
    write_scores(place, store, AS_OF, plain)
    write_scores(place, store, AS_OF, bare, most_reasons=0)
    kept = pl.read_parquet(bare)
    assert not [name for name in kept.columns if name.startswith("reason_")]
    assert_frame_equal(
        kept.drop("points_unit"), pl.read_parquet(plain).select(kept.columns).drop("points_unit")
    )


def test_the_file_says_when_of_what_and_by_which_models(place, store, tmp_path):
    file = tmp_path / "scores.parquet"
    write_scores(place, store, AS_OF, file)
    said = pl.read_parquet_metadata(file)
    assert said["keepwell.as_of"] == AS_OF.isoformat()
    assert said["keepwell.currency"] == place.settings.currency
    assert said["keepwell.made_from"] == SnapshotStore(place.snapshots_dir).digest(AS_OF)
    assert (
        json.loads(said["keepwell.models"])["churn version 1"]
        == store.champion("churn").fingerprint
    )
    again = tmp_path / "again.parquet"
    write_scores(place, store, AS_OF, again)
    assert again.read_bytes() == file.read_bytes()


def test_a_moment_without_a_snapshot_is_refused(place, store, tmp_path):
    with pytest.raises(SnapshotError, match="There is no snapshot as of 2026-03-08"):
        write_scores(place, store, AS_OF + timedelta(days=7), tmp_path / "scores.parquet")
    assert names_in(tmp_path) == ["own"]


@pytest.mark.parametrize("name", ["folder", "file/scores.parquet"])
def test_a_name_that_can_not_be_written_is_refused(place, store, tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    with pytest.raises(ScoresFileError, match=r"could not be written: .* name another with --out"):
        write_scores(place, store, AS_OF, tmp_path / name)
    assert names_in(tmp_path) == ["file", "folder", "own"]
    assert (tmp_path / "file").read_text() == "old"


SCORE_WITHIN = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from features.workspace import Workspace
from serving.scoring.scores_file.scores_file import ScoresFileError, write_scores
from small_company import AS_OF, make_store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
place, file = Workspace(Path(sys.argv[2]), environment={}), Path(sys.argv[3])
store = make_store(place)
most_reasons, *limits = map(int, sys.argv[4:])
for limit in limits:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_scores(place, store, AS_OF, file, at_once=48, most_reasons=most_reasons)
    except ScoresFileError as error:
        print(sorted(path.name for path in file.parent.iterdir()), file.read_text(), error)
    else:
        print("written", flush=True)
        break
"""


@pytest.mark.parametrize("most_reasons", [0, 5])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(place, tmp_path, most_reasons):
    """The kernel lets no file grow beyond a limit, which rises until it is enough.

    Without reasons the file is larger than the rows on disk, so that it is the file that fails.
    """
    folder = tmp_path / "out"
    folder.mkdir()
    file = folder / "scores.parquet"
    file.write_text("of yesterday")
    done = run_program(
        SCORE_WITHIN,
        str(ROOT / "tests" / "parity"),
        str(place.root),
        str(file),
        str(most_reasons),
        *map(str, range(0, 100_000, 1_000)),
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    *refused, last = done.stdout.splitlines()
    assert last == "written"
    assert len(refused) > 5
    for line in refused:
        assert line.startswith("['scores.parquet'] of yesterday")
        assert "scores.parquet could not be written: File too large." in line
    assert names_in(folder) == ["scores.parquet"]
    assert pl.read_parquet(file).height == 48


def test_the_command_leaves_reasons_out_and_says_who_scored(place, tmp_path):
    from registry.store.mlflow import MlflowModelStore

    add_model(
        MlflowModelStore(place.tracking_uri),
        "churn",
        make_bundle(place, READS, [0.9, -0.7, -0.2, 0.1, -0.3]),
    )

    def keepwell(*words: str) -> subprocess.CompletedProcess[str]:
        return run_keepwell("score", *words, "-w", str(place.root), cwd=tmp_path, columns=400)

    done = keepwell("--out", "scores.parquet", "--reasons", "0")
    assert done.returncode == 0, done.stderr
    assert (
        "48 accounts as of 2026-03-01 (47 by a model, 1 without a score) in scores.parquet."
        in done.stdout
    )
    assert "Not by a model, 1 account: The contract has ended" in done.stdout
    assert "reason_1" not in pl.read_parquet_schema(tmp_path / "scores.parquet")
    (tmp_path / "folder").mkdir()
    refused = keepwell("--out", "folder")
    assert refused.returncode == 3
    assert "folder could not be written" in refused.stderr
    assert keepwell("--out", "scores.parquet", "--reasons", "6").returncode == 2
