"""A damaged snapshot stops no erasure: it is made again first, or goes, and nobody stays in it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from canary_world import ACCOUNT, OF_ACCOUNT, World, canary

from features.compute.snapshot_store import SnapshotStore
from features.events.subject import Subject
from features.workspace_files import UnusableStoreError
from serving.data_protection.erasure import damaged_snapshots
from serving.data_protection.erasure.damaged_snapshots import mend_snapshots
from serving.data_protection.erasure.erase import count_places

SUBJECT = Subject(kind="account", id=ACCOUNT)


def damage(world: World, how: str) -> Path:
    """Damage the newest snapshot while nothing else writes."""
    world.client.app.state.service.close()  # type: ignore[attr-defined]
    snapshots = SnapshotStore(world.workspace.snapshots_dir)
    path = snapshots.path(snapshots.moments()[-1])
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) * 2 // 3])
    elif how == "flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    else:
        path.unlink()
        path.mkdir()
        (path / "part.parquet").write_bytes(content)
    return path


@pytest.mark.parametrize("how", ["truncated", "flipped", "replaced"])
def test_it_is_made_again_first_and_nobody_stays_in_it(world: World, how: str) -> None:
    path = damage(world, how)
    snapshots = SnapshotStore(world.workspace.snapshots_dir)
    [moment] = snapshots.damaged()
    assert count_places(world.at(SUBJECT))["snapshots"] >= 1
    assert list(snapshots.damaged()) == [moment], "counting changes nothing"
    [said] = mend_snapshots(world.workspace)
    assert said == f"The snapshot {path.name} was damaged and was made again from the events."
    assert ACCOUNT in set(snapshots.read(moment)["account_id"])
    world.erase(SUBJECT)
    assert not snapshots.damaged()
    assert ACCOUNT not in set(snapshots.read(moment)["account_id"])
    assert "acct-06" in set(snapshots.read(moment)["account_id"])
    assert {canary(n) for n in OF_ACCOUNT} & world.canaries() == set()


def test_one_that_is_damaged_after_an_erasure_began_is_made_again_without_the_subject(
    world: World,
) -> None:
    damage(world, "truncated")
    world.erase(SUBJECT)
    snapshots = SnapshotStore(world.workspace.snapshots_dir)
    assert not snapshots.damaged()
    assert all(ACCOUNT not in set(snapshots.read(m)["account_id"]) for m in snapshots.moments())
    assert {canary(n) for n in OF_ACCOUNT} & world.canaries() == set()


def test_one_that_the_events_do_not_hold_any_more_goes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = damage(world, "truncated")
    lost = "Retention has removed events that 3 features of this day were computed from."
    monkeypatch.setattr(damaged_snapshots, "make_again", lambda *args, **words: lost)
    [said] = mend_snapshots(world.workspace)
    assert lost in said
    assert "is removed, since nobody can see whom it names" in said
    assert not path.exists()
    assert SnapshotStore(world.workspace.snapshots_dir).damaged() == {}
    world.erase(SUBJECT)
    assert {canary(n) for n in OF_ACCOUNT} & world.canaries() == set()


def test_where_the_events_are_damaged_too_nothing_is_removed(world: World) -> None:
    path = damage(world, "truncated")
    part = next(world.workspace.events_dir.glob("*.parquet"))
    pl.DataFrame({"one": [1]}).write_parquet(part)
    with pytest.raises(UnusableStoreError):
        mend_snapshots(world.workspace)
    assert path.exists()
