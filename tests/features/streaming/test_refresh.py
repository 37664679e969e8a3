"""Touched accounts: those of new events and no others, recomputed to what a backfill says."""

from __future__ import annotations

import json
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from small_company import AS_OF, make_workspace

import features.streaming.refresh
from features.compute.backfill import backfill
from features.events.schema import Event, events_frame
from features.lake.lake import Lake
from features.store.feast import WorkspaceFeatures
from features.streaming.offsets import Message, ingest_messages
from features.streaming.refresh import JUST_AFTER, AccountRefresh, clock_of
from features.workspace import Workspace

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def company(tmp_path_factory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("company"))


@pytest.fixture
def workspace(company, tmp_path) -> Workspace:
    shutil.copytree(company.root, tmp_path / "own")
    return Workspace(tmp_path / "own", environment={})


def lake_of(workspace: Workspace) -> Lake:
    return Lake(workspace.events_dir, workspace.quarantine_dir)


def send(workspace: Workspace, *events: dict[str, object], now: datetime = AS_OF) -> None:
    lake = lake_of(workspace)
    first = sum(lake.manifest.offsets.values())
    messages = [
        Message(
            topic="t",
            partition=0,
            offset=first + n,
            value=json.dumps(
                {"kind": "error.raised", "occurred_at": (AS_OF - DAY).isoformat(), **event}
            ).encode(),
        )
        for n, event in enumerate(events)
    ]
    ingest_messages(lake, messages, group="g", now=now)


class Published(list[pl.DataFrame]):
    def __call__(self, frame: pl.DataFrame) -> None:
        self.append(frame)

    @property
    def accounts(self) -> list[str]:
        return sorted(account for frame in self for account in frame["account_id"])


def caught_up(touched: AccountRefresh, moment: datetime = AS_OF) -> list[str]:
    published = Published()
    touched.catch_up(moment=moment, publish=published)
    return published.accounts


def test_only_the_accounts_of_new_events_are_recomputed(workspace):
    touched = AccountRefresh(workspace)
    assert caught_up(touched) == []  # the snapshot has seen all that is there
    send(workspace, {"account_id": "acct-03"}, {"account_id": "acct-07"}, {"account_id": "acct-03"})
    assert caught_up(touched) == ["acct-03", "acct-07"]
    assert caught_up(touched) == []


def test_an_event_that_no_feature_reads_touches_nobody(workspace):
    touched = AccountRefresh(workspace)
    caught_up(touched)
    send(workspace, {"account_id": "acct-03", "kind": "action.decided"})
    assert caught_up(touched) == []


def test_an_event_that_no_feature_reads_is_nobody_s_at_the_first_time_either(workspace):
    send(workspace, {"account_id": "acct-03", "kind": "action.decided"})
    assert AccountRefresh(workspace).step(moment=AS_OF, publish=Published()) is None


def test_an_event_that_was_moved_to_another_account_touches_both_at_the_first_time(workspace):
    moved = {"event_id": "e", "recorded_at": (AS_OF - timedelta(hours=1)).isoformat()}
    send(workspace, {"account_id": "acct-01", **moved})
    send(workspace, {"account_id": "acct-02", **moved, "recorded_at": AS_OF.isoformat()})
    assert len(lake_of(workspace).manifest.superseded) == 1
    assert caught_up(AccountRefresh(workspace), AS_OF + DAY) == ["acct-01", "acct-02"]


def test_a_corrected_event_that_no_feature_reads_touches_nobody(workspace):
    touched, published = AccountRefresh(workspace), Published()
    decided = {"event_id": "e", "kind": "action.decided"}
    send(workspace, {"account_id": "acct-01", **decided})
    caught_up(touched)
    send(
        workspace,
        {
            "account_id": "acct-02",
            **decided,
            "recorded_at": (AS_OF + timedelta(seconds=1)).isoformat(),
        },
    )
    assert len(lake_of(workspace).manifest.superseded) == 1
    assert touched.step(moment=AS_OF + DAY, publish=published) is None


def test_accounts_without_a_row_are_not_published_and_raise_no_number(workspace):
    touched, published = AccountRefresh(workspace), Published()
    send(workspace, {"account_id": "acct-03"})
    caught_up(touched)
    number = touched.newest_number()
    send(workspace, {"account_id": "not-known-yet"}, now=AS_OF + DAY)
    fresh = touched.step(moment=AS_OF, publish=published)
    assert fresh is not None
    assert (fresh.frame.height, fresh.number, published) == (0, number, [])
    assert touched.newest_number() == number
    send(workspace, {"account_id": "acct-05"})
    assert caught_up(AccountRefresh(workspace)) == ["acct-05"]
    assert touched.published_since(fresh.number)[0] == ("acct-05",)


def test_fresh_features_are_those_of_a_backfill_as_of_the_same_moment(workspace):
    touched, store = AccountRefresh(workspace), WorkspaceFeatures(workspace)
    caught_up(touched)
    rng = np.random.default_rng(5)
    kinds = ["error.raised", "feature.used", "user.session", "ticket.created", "survey.answered"]
    moment = AS_OF
    for _ in range(4):
        moment += timedelta(hours=7)
        events = [
            {
                "account_id": f"acct-{rng.integers(48):02d}",
                "kind": str(rng.choice(kinds)),
                "quantity": float(rng.integers(1, 5)),
                "user_id": f"u{rng.integers(3)}",
                "occurred_at": (moment - timedelta(hours=float(rng.uniform(0, 90)))).isoformat(),
            }
            for _ in range(12)
        ]
        send(workspace, *events, now=moment)
        touched.catch_up(moment=moment, publish=store.publish)
    everyone = [f"acct-{n:02d}" for n in range(48)]
    online = store.online(everyone).filter(pl.col("as_of") > AS_OF)
    assert online.height > 20
    lake = lake_of(workspace)
    assert lake.complete_until is None  # no export says where it ends
    whole = backfill(workspace, online["as_of"].unique().to_list())
    expected = online.select("account_id", "as_of").join(
        whole, on=["account_id", "as_of"], maintain_order="left"
    )
    assert_frame_equal(online.select(expected.columns), expected, check_exact=True)


def test_what_another_process_landed_is_found_and_what_it_published_is_told(workspace):
    here, there = AccountRefresh(workspace), AccountRefresh(workspace)
    caught_up(here)
    number = here.newest_number()
    send(workspace, {"account_id": "acct-05"})
    assert caught_up(there) == ["acct-05"]
    assert caught_up(here) == []
    accounts, newest = here.published_since(number)
    assert accounts == ("acct-05",)
    assert here.published_since(newest) == ((), newest)


def test_a_process_that_ends_before_it_notes_leaves_the_work_to_the_next(workspace):
    caught_up(AccountRefresh(workspace))
    send(workspace, {"account_id": "acct-05"})

    class KilledError(Exception):
        pass

    def publish(_: pl.DataFrame) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        AccountRefresh(workspace).catch_up(moment=AS_OF, publish=publish)
    assert caught_up(AccountRefresh(workspace)) == ["acct-05"]


def test_accounts_have_their_turn_round_and_round(workspace, monkeypatch):
    monkeypatch.setattr(features.streaming.refresh, "ACCOUNTS_AT_ONCE", 2)
    touched, published = AccountRefresh(workspace), Published()

    def turn() -> list[str]:
        before = len(published.accounts)
        touched.step(moment=AS_OF, publish=published)
        return (
            sorted(account for frame in published[-1:] for account in frame["account_id"])
            if len(published.accounts) > before
            else []
        )

    assert turn() == []
    send(workspace, *({"account_id": f"acct-{n:02d}"} for n in (1, 2, 3, 4, 5)))
    assert turn() == ["acct-01", "acct-02"]
    send(workspace, {"account_id": "acct-01"}, {"account_id": "acct-04"})
    assert turn() == ["acct-03", "acct-04"]
    assert turn() == ["acct-01", "acct-05"]
    assert turn() == []


def test_who_has_not_had_a_turn_when_a_process_ends_has_it_in_the_next(workspace, monkeypatch):
    monkeypatch.setattr(features.streaming.refresh, "ACCOUNTS_AT_ONCE", 2)
    killed = AccountRefresh(workspace)
    caught_up(killed)
    send(workspace, *({"account_id": f"acct-{n:02d}"} for n in (1, 2, 3, 4, 5)))
    fresh = killed.step(moment=AS_OF, publish=lambda _: None)
    assert fresh is not None
    assert fresh.left == 3
    assert caught_up(AccountRefresh(workspace)) == ["acct-03", "acct-04", "acct-05"]


def test_a_part_that_is_gone_is_told_after_some_attempts(workspace):
    touched = AccountRefresh(workspace)
    caught_up(touched)
    send(workspace, {"account_id": "acct-05"})
    lake = lake_of(workspace)
    (lake.folder / lake.manifest.parts[-1]).unlink()
    with pytest.raises(FileNotFoundError, match=lake.manifest.parts[-1]):
        caught_up(touched)


def test_a_database_that_somebody_removed_is_made_anew(workspace):
    touched = AccountRefresh(workspace)
    send(workspace, {"account_id": "acct-05"})
    assert caught_up(touched) == ["acct-05"]
    for file in workspace.root.glob("touched.db*"):
        file.unlink()
    send(workspace, {"account_id": "acct-07"})
    assert caught_up(touched) == ["acct-05", "acct-07"]
    touched.close()
    assert touched.newest_number() == 1
    touched.close()


def test_a_step_that_breaks_off_leaves_no_transaction_behind(workspace):
    touched, other = AccountRefresh(workspace), AccountRefresh(workspace)
    caught_up(touched)
    send(workspace, {"account_id": "acct-05"})

    def break_off() -> None:
        with touched._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            raise KeyError("broken off")

    with pytest.raises(KeyError, match="broken off"):
        break_off()
    assert caught_up(other) == ["acct-05"]  # who could not write while that one was open
    touched.close()
    other.close()


def test_at_the_first_time_only_what_the_newest_snapshot_can_not_have_seen_is_touched(workspace):
    send(workspace, {"account_id": "acct-09"})
    assert caught_up(AccountRefresh(workspace)) == ["acct-09"]


def test_without_a_snapshot_every_account_is_touched(tmp_path):
    workspace = Workspace(tmp_path / "new", environment={})
    send(workspace, {"account_id": "a"}, {"account_id": "b"})
    assert caught_up(AccountRefresh(workspace)) == ["a", "b"]


def test_other_declarations_make_the_accounts_of_a_stream_anew(workspace):
    send(workspace, {"account_id": "acct-05"})
    caught_up(AccountRefresh(workspace))
    assert caught_up(AccountRefresh(workspace)) == []
    workspace.change_settings(use_names=("search",))
    assert caught_up(AccountRefresh(workspace)) == ["acct-05"]
    assert caught_up(AccountRefresh(workspace)) == []


def test_merging_small_parts_touches_nobody_else(workspace):
    touched = AccountRefresh(workspace)
    caught_up(touched)
    merged = False
    for n in range(70):
        send(workspace, {"account_id": f"acct-{n % 48:02d}", "event_id": f"e{n}"})
        merged = merged or len(lake_of(workspace).manifest.parts) < n
        if n % 10 == 9:
            assert caught_up(touched) == sorted({f"acct-{m % 48:02d}" for m in range(n - 9, n + 1)})
    assert merged


def test_a_correction_touches_the_account_that_it_takes_the_event_from(workspace):
    touched = AccountRefresh(workspace)
    send(workspace, {"account_id": "acct-01", "event_id": "e"})
    caught_up(touched)
    send(
        workspace,
        {
            "account_id": "acct-02",
            "event_id": "e",
            "recorded_at": (AS_OF + timedelta(seconds=1)).isoformat(),
        },
    )
    assert caught_up(touched, AS_OF + DAY) == ["acct-01", "acct-02"]


def test_what_is_recorded_at_the_clock_is_seen(workspace):
    touched, store = AccountRefresh(workspace), WorkspaceFeatures(workspace)
    before = store.online(["acct-05"])["errors_28d"][0]
    send(workspace, {"account_id": "acct-05"})
    fresh = touched.catch_up(moment=AS_OF, publish=store.publish)
    assert fresh is not None
    assert fresh.frame["as_of"].to_list() == [AS_OF + JUST_AFTER]
    assert store.online(["acct-05"])["errors_28d"][0] == before + 1


def test_what_a_file_records_at_the_end_of_its_data_is_not_seen(workspace):
    at_the_end = Event(
        event_id="end",
        account_id="acct-05",
        kind="error.raised",
        occurred_at=AS_OF,
        recorded_at=AS_OF,
    )
    store = WorkspaceFeatures(workspace)
    before = store.online(["acct-05"])
    lake_of(workspace).append(
        events_frame([at_the_end]),
        source="crm",
        file="contracts.csv",
        now=AS_OF + DAY,
        complete_until=AS_OF,
    )
    touched = AccountRefresh(workspace)
    touched.catch_up(moment=AS_OF, publish=store.publish)
    assert_frame_equal(store.online(["acct-05"]), before)
    send(workspace, {"account_id": "acct-07"})
    assert caught_up(touched) == ["acct-07"]
    assert_frame_equal(store.online(["acct-05"]), before)


def test_the_clock_moves_on_with_a_stream_unless_it_is_stated(workspace):
    computer = datetime(2030, 1, 1, tzinfo=UTC)
    assert clock_of(workspace, lambda: computer) == AS_OF
    send(workspace, {"account_id": "acct-05"}, now=AS_OF + DAY)
    assert clock_of(workspace, lambda: computer) == AS_OF + DAY
    workspace.change_settings(clock=AS_OF - DAY)
    assert clock_of(workspace, lambda: computer) == AS_OF - DAY
    empty = Workspace(workspace.root / "empty", environment={})
    assert clock_of(empty, lambda: computer) == computer


@pytest.mark.parametrize("content", [b"no database" * 400, b""])
def test_a_damaged_database_is_made_again_and_all_is_found_again(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    refresh, other = AccountRefresh(workspace), AccountRefresh(workspace)
    send(workspace, {"account_id": "acct-01"})
    caught_up(refresh)
    number = refresh.newest_number() + 5
    refresh.close()
    database = workspace.root / "touched.db"
    for ending in ("-wal", "-shm"):
        database.with_name(f"touched.db{ending}").unlink(missing_ok=True)
    database.write_bytes(content)
    send(workspace, {"account_id": "acct-02"})
    assert caught_up(refresh) == ["acct-01", "acct-02"]
    assert other.published_since(number)[0] == ("acct-01", "acct-02")
    if content:
        assert "touched.db is damaged" in caplog.text
    assert not [
        path for path in workspace.root.glob("touched*") if content and content in path.read_bytes()
    ]
    refresh.close()
    other.close()


def test_one_process_does_not_remove_what_another_has_made_again(workspace: Workspace) -> None:
    refresh = AccountRefresh(workspace)
    send(workspace, {"account_id": "acct-01"})
    caught_up(refresh)
    number = refresh.newest_number()
    refresh._start_over(sqlite3.DatabaseError("it was malformed a moment ago"))
    assert refresh.newest_number() == number
    refresh.close()
