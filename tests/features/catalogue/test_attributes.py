"""The words of an account are read as of the moment: they are events like any other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal

from features.catalogue.catalogue import load_catalogue
from features.compute.backfill import backfill
from features.compute.snapshots import build_snapshots
from features.events.schema import Event, events_frame, properties_text
from features.lake.lake import Lake
from features.workspace import Workspace

BEFORE, CUTOFF, AFTER = (datetime(2024, month, 1, tzinfo=UTC) for month in (1, 3, 5))
END = datetime(2024, 6, 1, tzinfo=UTC)


def updated(event_id: str, at: datetime, recorded: datetime, **words: str) -> Event:
    return Event(
        event_id=event_id,
        account_id="a",
        kind="account.updated",
        occurred_at=at,
        recorded_at=recorded,
        properties=properties_text(words),
    )


def append(workspace: Workspace, *events: Event) -> None:
    Lake(workspace.events_dir, workspace.quarantine_dir).append(
        events_frame([*events]), source="crm", file="accounts", now=END, complete_until=END
    )


def test_a_segment_corrected_after_a_cutoff_does_not_change_its_snapshot(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, environment={})
    append(workspace, updated("one", BEFORE, BEFORE, segment="small", region="europe"))
    old = backfill(workspace, [CUTOFF])
    append(
        workspace,
        updated("one", BEFORE, CUTOFF + timedelta(days=9), segment="enterprise", region="europe"),
    )
    assert_frame_equal(backfill(workspace, [CUTOFF]), old, check_exact=True)
    assert old["segment"].to_list() == ["small"]
    both = backfill(workspace, [CUTOFF, AFTER]).sort("as_of")
    assert both["segment"].to_list() == ["small", "enterprise"]
    assert both["region"].to_list() == ["europe", "europe"]


def test_every_word_is_the_newest_that_was_known_at_the_moment() -> None:
    moved = datetime(2024, 4, 1, tzinfo=UTC)
    attributes = {
        a.of: a.name
        for a in load_catalogue().attributes
        if a.of is not None and "account.updated" in a.reads
    }
    events = [
        updated("one", BEFORE, BEFORE, **dict.fromkeys(attributes, "old")),
        # happened before the cutoff and became known after it
        updated("two", CUTOFF - timedelta(days=5), moved, **dict.fromkeys(attributes, "new")),
    ]
    frame = build_snapshots(
        events_frame(events),
        [CUTOFF, AFTER],
        load_catalogue(),
        first_recorded={"account.updated": BEFORE},
    ).sort("as_of")
    assert len(attributes) == 11
    for name in attributes.values():
        assert frame[name].to_list() == ["old", "new"], name


def test_a_word_that_an_update_does_not_say_stays() -> None:
    events = [
        updated("one", BEFORE, BEFORE, segment="small", csm="ann"),
        updated("two", CUTOFF, CUTOFF, csm="bo"),
    ]
    frame = build_snapshots(
        events_frame(events), [AFTER], load_catalogue(), first_recorded={"account.updated": BEFORE}
    )
    assert frame.select(pl.col("segment", "csm")).row(0) == ("small", "bo")


def test_nobody_is_said_to_have_no_contract_while_no_contract_is_sent(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, environment={})
    begun = Event(
        event_id="begun",
        account_id="b",
        kind="contract.started",
        occurred_at=CUTOFF + timedelta(days=1),
        recorded_at=CUTOFF + timedelta(days=1),
        properties=properties_text({}),
    )
    append(workspace, updated("one", BEFORE, BEFORE, segment="small"), begun)
    statuses = backfill(workspace, [CUTOFF, AFTER]).sort("as_of", "account_id")["contract_status"]
    assert statuses.to_list() == [None, "none", "active"]
