"""Backups and restores that are killed at any moment leave what was there, and the next one works.

Each life is a fork that is killed a random time after it began. The workspace is written to in between,
so that every backup has something to add.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from backup_worlds import KEY, figures_of
from small_company import AS_OF

from features.workspace import Workspace
from serving.data_protection.backup.keep_newest import keep_newest
from serving.data_protection.backup.make import make_backup
from serving.data_protection.backup.manifest import backup_ids
from serving.data_protection.backup.restore import RestoreOptions, restore
from serving.data_protection.backup.target import FolderTarget
from serving.data_protection.backup.verify import verify_backups
from serving.ledger.ledger import Decision, Ledger
from serving.ledger.stores.ledger_copy import ledger_facts

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIVES, SOAK = 8, 100


def decide(workspace: Workspace, number: int) -> None:
    """Store twenty decisions."""
    with closing(Ledger(workspace.ledger_db)) as ledger:
        ledger.append_decisions(
            [
                Decision(
                    decision_id=f"{number}-{one}",
                    account_id=f"acct-{one:02d}",
                    decided_at=AS_OF,
                    as_of=AS_OF,
                    action="success_call",
                    expected_value=1.5,
                    currency="USD",
                    eligible=(),
                    withheld=(),
                    versions={},
                    input_digest="ab",
                    valid_until=AS_OF + timedelta(days=7),
                    segment="small",
                    autonomy=4,
                    proposed_by="planner",
                )
                for one in range(20)
            ]
        )


def lived(work: Callable[[], object], *, kill_after: float) -> bool:
    """Whether a fork did its work before it was killed."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    until = time.monotonic() + kill_after
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            assert os.waitstatus_to_exitcode(status) == 0
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def seconds_of(work: Callable[[], object]) -> float:
    """How long a fork of its own takes for the work."""
    began = time.monotonic()
    assert lived(work, kill_after=60)
    return time.monotonic() - began


def kill_backups(workspace: Workspace, folder: Path, kills: int) -> str:
    """Kill so many backups; after each, what the target names is whole. Then restore."""
    target, chance = FolderTarget(folder / "target"), random.Random(kills)
    moment = [NOW]

    def work() -> None:
        make_backup(workspace, target, now=moment[0], key=KEY)
        keep_newest(target, number=3, key=KEY, now=moment[0])

    decide(workspace, 0)
    took, count, number = seconds_of(work), Counter[str](), 0
    while count["killed"] < kills:
        number += 1
        moment[0] += timedelta(minutes=1)
        decide(workspace, number)
        before = set(backup_ids(target))
        done = lived(work, kill_after=chance.uniform(0, 1.2 * took))
        count["done" if done else "killed"] += 1
        after = set(backup_ids(target))
        count["killed after the manifest"] += not done and after > before
        assert after, "no backup is left"
        found = verify_backups(target, key=KEY, now=moment[0])
        assert found.damages == ()
        if number % 5 == 0:
            place = Workspace(folder / f"new-{number}", environment={})
            given = restore(target, place, RestoreOptions(), key=KEY, now=moment[0])
            assert given.ledger is not None
            assert given.ledger.finding is None
    moment[0] += timedelta(minutes=1)
    work()
    whole = Workspace(folder / "whole", environment={})
    restore(target, whole, RestoreOptions(), key=KEY, now=moment[0])
    assert ledger_facts(whole.ledger_db) == ledger_facts(workspace.ledger_db)
    assert [one.name for one in (workspace.root / ".backup").iterdir()] == [".lock"]
    assert len(backup_ids(target)) == 3
    return f"{number} lives: {dict(count)}"


def kill_restores(workspace: Workspace, folder: Path, kills: int) -> str:
    """Kill so many restores; after each, the old workspace is there or the new one, whole."""
    target, chance = FolderTarget(folder / "target"), random.Random(kills)
    stored = {}
    for number in range(2):
        decide(workspace, 1000 + number)
        made = make_backup(workspace, target, now=NOW + timedelta(hours=number), key=None)
        assert made.backup.manifest.ledger is not None
        stored[number] = made.backup
    heads = {
        one.manifest.ledger.head: number
        for number, one in stored.items()
        if one.manifest.ledger is not None
    }
    place = Workspace(folder / "place", environment={})
    restore(target, place, RestoreOptions(backup_id=stored[0].id), key=None, now=NOW)
    there, count, took = 0, Counter[str](), 0.0
    while count["killed"] < kills:
        wanted = 1 - there
        options = RestoreOptions(backup_id=stored[wanted].id, replaces=True)

        def work(options: RestoreOptions = options) -> None:
            restore(target, place, options, key=None, now=NOW)

        if not took:
            took = seconds_of(work)
            there = wanted
            continue
        done = lived(work, kill_after=chance.uniform(0, 1.2 * took))
        count["done" if done else "killed"] += 1
        facts = ledger_facts(place.ledger_db)
        assert facts.finding is None
        there = heads[facts.head]
        if done:
            assert there == wanted
        count["killed after the exchange"] += not done and there == wanted
        assert place.settings.tenant == workspace.settings.tenant
    last = RestoreOptions(backup_id=stored[1].id, replaces=True)
    restore(target, place, last, key=None, now=NOW)
    assert heads[ledger_facts(place.ledger_db).head] == 1
    left = [one for one in folder.glob(".place.restoring-*") if (one / ".restoring.lock").exists()]
    assert left == []
    return str(dict(count))


def test_killed_backups_leave_what_was_there(own_workspace: Workspace, tmp_path: Path) -> None:
    kill_backups(own_workspace, tmp_path, LIVES)


def test_killed_restores_leave_the_old_or_the_new(own_workspace: Workspace, tmp_path: Path) -> None:
    kill_restores(own_workspace, tmp_path, 3 * LIVES)
    again = Workspace(tmp_path / "place", environment={})
    assert figures_of(again, replays_too=False) == figures_of(own_workspace, replays_too=False)


@pytest.mark.slow
def test_a_hundred_killed_backups_leave_what_was_there(
    own_workspace: Workspace, tmp_path: Path
) -> None:
    print(kill_backups(own_workspace, tmp_path, SOAK))  # noqa: T201


@pytest.mark.slow
def test_a_hundred_killed_restores_leave_the_old_or_the_new(
    own_workspace: Workspace, tmp_path: Path
) -> None:
    print(kill_restores(own_workspace, tmp_path, SOAK))  # noqa: T201
