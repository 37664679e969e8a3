"""The backfill gives the same snapshots whatever range of accounts it reads at once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from forked_programs import run_program
from polars.testing import assert_frame_equal

from features.compute.backfill import backfill, find_stale_moments, month_starts
from features.compute.snapshot_store import SnapshotError, SnapshotStore
from features.events.schema import Event, events_frame, properties_text
from features.lake.lake import Lake
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
END = datetime(2024, 4, 1, tzinfo=UTC)
MOMENTS = (datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path, environment={})
    for account in ("a", "b", "c", "d"):  # a load each: ranges begin where row groups begin
        events = [
            Event(
                event_id=f"{account}-contract",
                account_id=account,
                quantity=50.0,
                kind="contract.started",
                occurred_at=FIRST,
                recorded_at=FIRST,
                properties=properties_text({"seats": 3}),
            )
        ]
        events += [
            Event(
                event_id=f"{account}-{day}",
                account_id=account,
                kind="feature.used",
                occurred_at=FIRST + timedelta(days=day),
                recorded_at=FIRST + timedelta(days=day),
                properties=properties_text({"name": "search"}),
            )
            for day in range(1, 80)
        ]
        events += [
            Event(
                event_id=f"{account}-goal-{day}",
                account_id=account,
                quantity=float(day),
                kind="goal.measured",
                occurred_at=FIRST + timedelta(days=day),
                recorded_at=FIRST + timedelta(days=day),
                properties=properties_text({"kpi": "use", "baseline": 0, "target": 99}),
            )
            for day in range(5, 80, 9)
        ]
        Lake(workspace.events_dir).append(
            events_frame(events), source="test", file="test", now=END, complete_until=END
        )
    return workspace


def test_ranges_of_accounts_change_nothing(workspace: Workspace) -> None:
    moments = month_starts(FIRST + timedelta(days=1), END)
    whole = backfill(workspace, moments)
    said: list[tuple[str, int, int]] = []
    parts = backfill(
        workspace, moments, events_at_once=100, progress=lambda *step: said.append(step)
    )
    assert_frame_equal(parts.sort("account_id", "as_of"), whole, check_exact=True)
    assert len(said) > 2
    assert 0 < whole["goal_progress"].n_unique() < 9  # an expression, of events read whole
    kept = SnapshotStore(workspace.snapshots_dir)
    assert kept.moments() == moments
    assert_frame_equal(kept.read_all().sort("account_id", "as_of"), whole, check_exact=True)


def test_a_moment_after_the_end_of_the_data_is_refused(workspace: Workspace) -> None:
    with pytest.raises(SnapshotError, match="complete until 2024-04-01"):
        backfill(workspace, [END + timedelta(days=1)])


def test_a_moment_before_anything_was_known_is_refused(workspace: Workspace) -> None:
    with pytest.raises(SnapshotError, match="No account was known"):
        backfill(workspace, [FIRST])


def more_use(workspace: Workspace) -> None:
    event = Event(
        event_id="late",
        account_id="a",
        kind="feature.used",
        occurred_at=FIRST + timedelta(days=20),
        recorded_at=FIRST + timedelta(days=21),
        properties=properties_text({"name": "export"}),
    )
    Lake(workspace.events_dir).append(events_frame([event]), source="test", file="more", now=END)


def count_one_more(workspace: Workspace) -> None:
    workspace.change_settings(use_names=("search",))


def weigh_otherwise(workspace: Workspace) -> None:
    workspace.change_settings(health_formula="adoption_led")


@pytest.mark.parametrize("change", [more_use, count_one_more, weigh_otherwise])
def test_what_was_made_from_other_data_is_stale(
    workspace: Workspace,
    change: Callable[[Workspace], None],
) -> None:
    moments = month_starts(FIRST + timedelta(days=1), END)
    assert find_stale_moments(workspace, moments) == moments
    backfill(workspace, moments[:-1])
    assert find_stale_moments(workspace, moments) == moments[-1:]
    backfill(workspace, moments)
    assert find_stale_moments(workspace, moments) == ()
    change(workspace)
    assert find_stale_moments(workspace, moments) == moments
    backfill(workspace, moments)
    assert find_stale_moments(workspace, moments) == ()


@pytest.fixture
def give_back_cores() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("give_back_cores")
def test_only_the_cores_that_the_process_may_use_are_worked_on(workspace: Workspace) -> None:
    before, cores = threading.active_count(), sorted(os.sched_getaffinity(0))[:2]
    for allowed in (cores, cores[:1]):
        os.sched_setaffinity(0, allowed)
        threads: list[int] = []
        backfill(
            workspace,
            MOMENTS,
            events_at_once=20,
            progress=lambda *_, threads=threads: threads.append(threading.active_count() - before),
        )
        assert len(threads) > 2
        assert max(threads) == (len(allowed) if len(allowed) > 1 else 0)


@pytest.mark.parametrize("events_at_once", [20, 100_000], ids=["many ranges", "one range"])
def test_what_lands_meanwhile_makes_the_snapshots_stale_and_no_other(
    workspace: Workspace, events_at_once: int
) -> None:
    quiet = backfill(workspace, MOMENTS)
    assert find_stale_moments(workspace, MOMENTS) == ()

    def land(_: str, done: int, __: int) -> None:
        if done == 0:
            more_use(workspace)
            workspace.change_settings(health_formula="adoption_led")
            session = Event(
                event_id="new kind",
                account_id="a",
                kind="user.session",
                user_id="u",
                occurred_at=FIRST,
                recorded_at=FIRST,
            )
            Lake(workspace.events_dir).append(
                events_frame([session]), source="test", file="sessions", now=END
            )

    made = backfill(workspace, MOMENTS, events_at_once=events_at_once, progress=land)
    assert_frame_equal(made.sort("account_id", "as_of"), quiet, check_exact=True)
    assert find_stale_moments(workspace, MOMENTS) == MOMENTS


KILLED_AT = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from features.compute.backfill import backfill
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace

root, nth, *moments = sys.argv[1:]
steps = 0

def kill_at_step(event, arguments):
    global steps
    on_files = event in ("open", "os.rename", "os.remove", "os.mkdir")
    if on_files and str(arguments[0]).startswith(root):
        steps += 1
        if steps == int(nth):
            os.kill(os.getpid(), signal.SIGKILL)

workspace = Workspace(Path(root), environment={})
publish = WorkspaceFeatures(workspace).publish
sys.addaudithook(kill_at_step)
with workspace.lock():
    backfill(workspace, [datetime.fromisoformat(m) for m in moments], publish=publish)
print(steps)
"""


def run_killed(old: Workspace, copy: Path, nth: int) -> subprocess.CompletedProcess[str]:
    """Make the snapshots in a copy of the workspace; be killed at the nth step on its files."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(old.root, copy)
    return run_program(
        KILLED_AT,
        str(copy),
        str(nth),
        *map(str, MOMENTS),
        env={**os.environ, "POLARS_MAX_THREADS": "1"},
    )


def kept(workspace: Workspace) -> dict[datetime, pl.DataFrame]:
    store = SnapshotStore(workspace.snapshots_dir)
    return {moment: store.read(moment) for moment in store.moments()}


@pytest.fixture
def before_and_after(workspace: Workspace, tmp_path: Path):
    """A workspace whose snapshots new events have made stale, and what the next run makes."""
    WorkspaceFeatures(workspace).publish(backfill(workspace, MOMENTS))
    old = kept(workspace)
    more_use(workspace)
    copy = tmp_path.parent / f"{tmp_path.name}-copy"
    whole = run_killed(workspace, copy, -1)
    assert whole.returncode == 0, whole.stderr
    new = kept(Workspace(copy))
    assert not new[MOMENTS[0]].equals(old[MOMENTS[0]])
    yield workspace, copy, old, new, int(whole.stdout)
    shutil.rmtree(copy)


def check_kill(before_and_after, nth: int) -> None:
    workspace, copy, old, new, _ = before_and_after
    assert run_killed(workspace, copy, nth).returncode == -signal.SIGKILL
    there = Workspace(copy, environment={})
    for moment, frame in kept(there).items():
        fresh = moment not in find_stale_moments(there, MOMENTS)
        assert frame.equals(new[moment] if fresh else old[moment])
    WorkspaceFeatures(there).publish(backfill(there, MOMENTS))
    assert all(frame.equals(new[moment]) for moment, frame in kept(there).items())
    assert not list(there.snapshots_dir.glob(".as_of_*"))
    online = WorkspaceFeatures(there).online(["a"])
    assert online["feature_uses_28d"][0] == new[MOMENTS[-1]]["feature_uses_28d"][0]


def test_a_killed_snapshot_leaves_the_old_or_the_new_and_the_next_run_completes_it(
    before_and_after,
) -> None:
    steps = before_and_after[-1]
    for nth in sorted({random.Random(7).randint(1, steps), steps}):
        check_kill(before_and_after, nth)


@pytest.mark.slow
def test_a_snapshot_killed_at_any_step_leaves_the_old_or_the_new(before_and_after) -> None:
    for nth in range(1, before_and_after[-1] + 1):
        check_kill(before_and_after, nth)
