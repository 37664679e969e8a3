"""A damaged snapshot is made again from the events, and a failure is said and not repeated at once."""

from __future__ import annotations

import shutil
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from small_company import AS_OF, BEFORE

from features.compute.snapshot_store import SnapshotStore
from features.lake.admission.horizons import extend_horizons
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace
from features.workspace_files import hold_lock
from serving.state.refresh import FreshScores
from serving.state.store_rebuild import FIRST_PAUSE, StoreRebuild


class Clock:
    """Seconds that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rebuild(own_workspace: Workspace, clock: Clock) -> StoreRebuild:
    return StoreRebuild(own_workspace, WorkspaceFeatures(own_workspace), seconds=clock)


@pytest.fixture
def snapshots(own_workspace: Workspace) -> SnapshotStore:
    return SnapshotStore(own_workspace.snapshots_dir)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def test_a_damaged_snapshot_comes_back_as_it_was(rebuild, snapshots):
    whole = snapshots.read(AS_OF)
    cut(snapshots.path(AS_OF))
    assert "is damaged" in rebuild.snapshots_problem()
    assert rebuild.step()
    assert_frame_equal(snapshots.read(AS_OF), whole)
    assert rebuild.snapshots_problem() is None
    assert not rebuild.step()


def test_snapshots_that_are_missing_or_replaced_come_back(rebuild, snapshots):
    snapshots.path(BEFORE).unlink()
    shutil.copyfile(snapshots.path(AS_OF), snapshots.path(AS_OF).with_name("copy"))
    other = snapshots.read(AS_OF).head(3)
    SnapshotStore(snapshots.folder / "other").write(other)
    shutil.copyfile(snapshots.folder / "other" / snapshots.path(AS_OF).name, snapshots.path(AS_OF))
    assert "it is not the file that was written" in rebuild.snapshots_problem()
    assert "So are 1 older ones" in rebuild.snapshots_problem()
    assert rebuild.step()
    assert "it is missing" in rebuild.snapshots_problem()
    assert rebuild.step()
    assert rebuild.snapshots_problem() is None
    assert snapshots.moments() == (BEFORE, AS_OF)
    assert snapshots.read(AS_OF).height > 3


def test_a_snapshot_that_was_removed_on_purpose_stays_away(rebuild, snapshots):
    snapshots.remove(BEFORE)
    assert rebuild.snapshots_problem() is None
    assert snapshots.moments() == (AS_OF,)


def test_a_failed_attempt_is_said_and_waits(rebuild, snapshots, own_workspace, clock, caplog):
    cut(snapshots.path(AS_OF))
    manifest = own_workspace.events_dir / "manifest.json"
    whole = manifest.read_bytes()
    manifest.write_bytes(b"{")
    for _ in range(50):
        assert not rebuild.step()
    assert len([r for r in caplog.records if "could not be made again" in r.message]) == 1
    assert "It could not be made again: " in rebuild.snapshots_problem()
    clock.now += FIRST_PAUSE.total_seconds()
    assert not rebuild.step()
    clock.now += FIRST_PAUSE.total_seconds()  # the second pause is twice as long
    for _ in range(50):
        assert not rebuild.step()
    assert len([r for r in caplog.records if "could not be made again" in r.message]) == 2
    manifest.write_bytes(whole)  # the events are another file: there is no need to wait
    assert rebuild.step()
    assert rebuild.snapshots_problem() is None


@pytest.mark.parametrize("folder", [".", "erasures", "retention"])
def test_nothing_is_made_again_while_another_process_writes(
    folder, rebuild, snapshots, own_workspace
):
    cut(snapshots.path(AS_OF))
    with hold_lock(own_workspace.root / folder, busy="busy"):
        assert not rebuild.step()
        assert "once no other process is at work" in rebuild.snapshots_problem()
        assert "cannot" not in rebuild.snapshots_problem()
    assert rebuild.step()


def test_what_retention_removed_is_not_left_out_in_silence(rebuild, snapshots, own_workspace):
    from features.lake.admission.horizons import Horizon

    cut(snapshots.path(AS_OF))
    gone = Horizon(kind="feature.used", before=AS_OF - timedelta(days=1), rows_stay=False)
    extend_horizons(own_workspace.root, [gone])
    assert not rebuild.step()
    assert "Retention has removed events that" in rebuild.snapshots_problem()


def test_it_is_said_while_it_is_made(rebuild, snapshots, own_workspace):
    cut(snapshots.path(AS_OF))
    features, said = WorkspaceFeatures(own_workspace), []

    class Asked:
        def publish(self, frame: pl.DataFrame) -> int:
            said.append(one.snapshots_problem())
            return features.publish(frame)

    one = StoreRebuild(own_workspace, Asked())
    assert one.step()
    assert "It is being made again from the events." in said[0]


def test_a_workspace_without_a_list_gets_one_and_keeps_what_is_there(rebuild, snapshots):
    (snapshots.folder / "written.json").unlink()
    snapshots.path(BEFORE).unlink()
    assert rebuild.snapshots_problem() is None
    assert not rebuild.step()
    assert snapshots.is_listed
    snapshots.path(AS_OF).unlink()
    assert "it is missing" in rebuild.snapshots_problem()


def test_a_service_whose_only_snapshot_is_damaged_serves_once_it_is_made_again(
    own_workspace, store, make_client, snapshots
):
    snapshots.remove(BEFORE)
    cut(snapshots.path(AS_OF))
    client = make_client(own_workspace, store)
    assert client.get("/v1/accounts/acct-03/score").status_code == 503
    service = client.app.state.service
    assert service.rebuild.step()
    assert service.refresh()
    assert client.get("/v1/accounts/acct-03/score").status_code == 200


def online(workspace: Workspace) -> pl.DataFrame:
    every = SnapshotStore(workspace.snapshots_dir).read(AS_OF)["account_id"].to_list()
    return WorkspaceFeatures(workspace).online(every).sort("account_id")


def of_another(workspace: Workspace) -> Path:
    """A whole online store, of another workspace, with half of the accounts."""
    root = workspace.root.with_name("another")
    shutil.copytree(workspace.root, root)
    another = Workspace(root, environment={})
    another.online_db.unlink()
    rows = SnapshotStore(another.snapshots_dir).read(AS_OF)
    WorkspaceFeatures(another).publish(rows.with_columns(mrr=pl.lit(7.0)))
    return another.online_db


@pytest.mark.parametrize("what", ["another", "an older one", "none", "a folder", "half"])
def test_an_online_store_in_the_place_of_the_own_is_made_again(what, rebuild, own_workspace):
    file, whole = own_workspace.online_db, online(own_workspace)
    if what == "another":
        shutil.copyfile(of_another(own_workspace), file)
    elif what == "an older one":
        older = file.read_bytes()
        features = WorkspaceFeatures(own_workspace)
        features.publish(SnapshotStore(own_workspace.snapshots_dir).read(AS_OF))
        file.write_bytes(older)
    else:
        content = file.read_bytes()
        file.unlink()
        if what == "a folder":
            file.mkdir()
        elif what == "half":
            file.write_bytes(content[: len(content) // 2])
    assert "The online store online.db is damaged" in rebuild.online_problem()
    assert rebuild.step_online()
    assert rebuild.online_problem() is None
    assert not rebuild.step_online()
    assert_frame_equal(online(own_workspace), whole)
    for _ in range(2):
        own_workspace.online_db.unlink()
        own_workspace.online_db.mkdir()  # what was put aside before does not stand in the way
        (own_workspace.online_db / "x").touch()
        assert rebuild.step_online()


def test_what_events_changed_since_the_snapshot_follows(own_workspace, store, make_client):
    client = make_client(own_workspace, store)
    answer = client.post(
        "/v1/events",
        json={
            "events": [
                {
                    "event_id": f"n{number}",
                    "account_id": "acct-05",
                    "kind": "error.raised",
                    "occurred_at": (AS_OF - timedelta(hours=number + 1)).isoformat(),
                }
                for number in range(20)
            ]
        },
    )
    assert answer.status_code < 300, answer.text
    with closing(FreshScores(client.app.state.service)) as fresh:
        fresh.catch_up()
    own_workspace.online_db.unlink()
    again = make_client(own_workspace, store)
    service = again.app.state.service
    with closing(FreshScores(service)) as fresh:
        fresh.catch_up()
    assert service.portfolio.account("acct-05").features["errors_28d"] >= 20


def test_a_service_that_starts_on_another_online_store_serves_its_own_figures(
    own_workspace, store, make_client
):
    def figures(client):
        scores = client.app.state.service.portfolio.scores
        return {one.account_id: one.features["mrr"] for one in scores}

    before = figures(make_client(own_workspace, store))
    shutil.copyfile(of_another(own_workspace), own_workspace.online_db)
    assert figures(make_client(own_workspace, store)) == before


def test_an_online_store_that_cannot_be_made_is_said_once(
    rebuild, own_workspace, snapshots, clock, caplog
):
    own_workspace.online_db.unlink()
    for moment in snapshots.moments():
        cut(snapshots.path(moment))
    for _ in range(20):
        assert not rebuild.step_online()
    assert "There is no snapshot that is whole" in rebuild.online_problem()
    assert len([r for r in caplog.records if "online store could not be" in r.message]) == 1
    assert rebuild.step()
    clock.now += 300
    assert rebuild.step_online()


def test_an_online_store_of_an_older_version_is_taken_as_it_is(rebuild, own_workspace):
    own_workspace.online_db.with_suffix(".head").unlink()
    assert rebuild.online_problem() is None
    WorkspaceFeatures(own_workspace).publish(SnapshotStore(own_workspace.snapshots_dir).read(AS_OF))
    assert own_workspace.online_db.with_suffix(".head").exists()
