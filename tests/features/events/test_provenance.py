"""What Keepwell wrote cannot be claimed, corrected or hidden from outside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import polars as pl
import pytest

from features.events.provenance import IS_OUR_COMPARISON, IS_OUR_DRAW, IS_OUR_ID, own_event_id
from features.events.schema import Event, events_frame, properties_text
from features.ingest.run import ingest_rows
from features.lake.lake import Lake

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OURS = own_event_id("outcome", str(uuid4()))
EXECUTED = {
    "account_id": "a",
    "kind": "action.executed",
    "occurred_at": "2026-02-01T00:00:00Z",
    "properties": {"action": "success_call"},
}


def sent(lake, **more):
    summary = ingest_rows(lake, [EXECUTED | more], now=NOW + timedelta(hours=1), source="api")
    [fate] = summary.files[0].fates
    return fate.became, fate.reason


def own_event(account_id="a"):
    return Event(
        account_id=account_id,
        kind="action.executed",
        event_id=OURS,
        occurred_at=NOW,
        recorded_at=NOW,
        properties=properties_text({"action": "success_call", "by": "ann"}),
    )


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "events")


def write(lake, event):
    return lake.append(events_frame([event]), source="keepwell", file="keepwell", now=NOW).files[0]


@pytest.mark.parametrize("kind", ["action.executed", "feature.used", "custom.x"])
@pytest.mark.parametrize("record", ["decision", "outcome", "feedback", "draw"])
def test_an_id_of_our_form_is_refused_from_outside(lake, kind, record):
    assert sent(lake, event_id=own_event_id(record, str(uuid4())), kind=kind) == (
        "refused",
        IS_OUR_ID,
    )


def test_what_we_wrote_is_not_corrected_from_outside(lake):
    assert write(lake, own_event()).landed == 1
    assert sent(lake, event_id=OURS, properties={"action": "discount"}) == ("refused", IS_OUR_ID)
    [row] = lake.as_of(NOW + timedelta(days=1)).collect().iter_rows(named=True)
    assert row["properties"] == own_event().properties


def test_nothing_from_outside_stands_before_what_we_write(lake):
    """Ids of decisions follow from what was asked, so somebody may know one before it is written."""
    assert sent(lake, event_id=OURS)[0] == "refused"
    assert write(lake, own_event()).landed == 1


@pytest.mark.parametrize(
    ("reason", "properties"),
    [
        (IS_OUR_DRAW, {"chance": "holdout", "arm": "held_out"}),
        (IS_OUR_DRAW, {"draw_id": "d"}),
        (IS_OUR_COMPARISON, {"intervention": "standing_holdout", "arm": "held_out"}),
        (IS_OUR_COMPARISON, {"intervention": "last_hours_success_call", "arm": "offered"}),
        (None, {"intervention": "our_lottery", "arm": "control"}),
        (None, {"decision_id": str(uuid4())}),
    ],
)
def test_a_draw_of_ours_cannot_be_claimed(lake, reason, properties):
    more = {"kind": "action.decided", "quantity": 0.5, "properties": {"action": "x"} | properties}
    assert sent(lake, **more) == ("landed" if reason is None else "refused", reason)


def test_the_past_of_another_engine_comes_in(lake):
    kinds = ("action.decided", "action.executed", "action.declined", "action.outcome")
    for number, kind in enumerate(kinds):
        words = {"action": "success_call", "decision_id": "their-7", "intervention": "spring"}
        assert sent(lake, kind=kind, event_id=f"their-{number}", properties=words)[0] == "landed"
    assert lake.as_of(NOW + timedelta(days=1)).select(pl.len()).collect().item() == len(kinds)
