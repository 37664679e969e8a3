"""No bit of a snapshot changes unnoticed, and a damaged one is stale."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from features.compute.snapshot_store import DamagedSnapshotError, SnapshotStore
from features.workspace_files import write_atomically

MOMENT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path) -> SnapshotStore:
    store = SnapshotStore(tmp_path)
    rows = {"account_id": ["a", "b"], "as_of": [MOMENT] * 2, "mrr": [1.0, 2.0]}
    frame = pl.DataFrame(rows, schema_overrides={"as_of": pl.Datetime("us", "UTC")})
    store.write(frame, digest="d")
    return store


def test_no_bit_of_a_snapshot_changes_unnoticed(store):
    path = store.path(MOMENT)
    whole = path.read_bytes()
    assert store.read(MOMENT)["mrr"].to_list() == [1.0, 2.0]
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        content = bytearray(whole)
        content[place] ^= 1
        path.write_bytes(content)
        with pytest.raises(DamagedSnapshotError, match=r"is damaged .* keepwell snapshot --as-of"):
            store.read(MOMENT)
    path.write_bytes(whole)
    assert store.digest(MOMENT) == "d"


def test_a_truncated_snapshot_is_stale(store):
    path = store.path(MOMENT)
    path.write_bytes(path.read_bytes()[:100])
    assert store.digest(MOMENT) is None


def test_a_snapshot_of_an_older_version_is_read(store):
    path = store.path(MOMENT)
    store.read(MOMENT).write_parquet(path)
    (store.folder / "written.json").unlink()
    assert store.read(MOMENT).height == 2


def test_a_kill_between_the_file_and_the_list_damages_nothing(store, monkeypatch):
    whole = store.read(MOMENT)
    before = (store.folder / "written.json").read_bytes()

    def kill(path, content):
        if path.name == "written.json" and path.read_bytes() != before:
            raise KeyboardInterrupt
        write_atomically(path, content)

    monkeypatch.setattr("features.compute.written_snapshots.write_atomically", kill)
    with pytest.raises(KeyboardInterrupt):
        store.write(whole.with_columns(mrr=pl.lit(3.0)))
    assert store.read(MOMENT)["mrr"].to_list() == [3.0, 3.0]
    assert store.damaged() == {}


def test_a_list_that_cannot_be_understood_says_nothing(store):
    (store.folder / "written.json").write_text('{"format": 1, "files": 3}')
    assert store.damaged() == {}
    store.path(MOMENT).unlink()
    assert store.damaged() == {}
