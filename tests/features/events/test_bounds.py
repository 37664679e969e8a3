"""What an event may say has bounds: those of its kind, or the tenant's own."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from features.events.bounds import Bounds, BoundsError
from features.events.schema import EVENT_SCHEMA, KINDS, LARGEST_READ, LINE
from features.events.validation import DRAFT_SCHEMA, validate_draft
from features.ingest.run import ingest_rows
from features.lake.lake import Lake
from features.streaming.offsets import Message, ingest_messages
from features.workspace import Workspace, WorkspaceError

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def reasons(bounds=None, **row):
    """The reason of an event with these values; None where it is taken."""
    event = {
        LINE: 1,
        "account_id": "a",
        "kind": "contract.changed",
        "occurred_at": NOW,
        "recorded_at": NOW,
        "event_count": 1,
        "user_count": 1,
        "properties": "{}",
    }
    draft = pl.DataFrame([{**dict.fromkeys(DRAFT_SCHEMA), **event, **row}], schema=DRAFT_SCHEMA)
    found = validate_draft(draft, now=NOW, complete_until=None, bounds=bounds)
    assert found.events.height + found.refused.height == 1
    return found.refused["reason"].to_list()


OWN = Bounds(
    quantities={"contract.changed": 5e13, "custom.pallets": 10.0},
    count=5,
    text=8,
    from_date=date(2000, 1, 1),
    until_date=date(2030, 6, 30),
)


@pytest.mark.parametrize(
    ("reason", "row"),
    [
        (None, {"quantity": 5e13}),
        ("quantity is beyond 50,000,000,000,000 in either", {"quantity": -5.1e13}),
        (None, {"quantity": 10.0, "kind": "custom.pallets"}),
        ("quantity is beyond 10 in either", {"quantity": 10.5, "kind": "custom.pallets"}),
        ("quantity is beyond 1,000,000,000,000 in", {"quantity": 2e12, "kind": "custom.boxes"}),
        (None, {"event_count": 5}),
        ("event_count is beyond 5; check its unit", {"event_count": 6}),
        ("user_count is beyond 5; check its unit", {"user_count": 6}),
        (None, {"properties": '{"a":"12345678","b":"12345678","seats":123456}'}),
        ("property b is longer than 8 characters", {"properties": '{"a":"1","b":"123456789"}'}),
        (None, {"properties": '{"renewal_on":"2030-06-30","reason":"x"}'}),
    ],
)
def test_a_tenant_may_say_other_bounds(reason, row):
    own = (
        OWN if "renewal_on" not in row.get("properties", "") else Bounds(until_date=OWN.until_date)
    )
    [*found] = reasons(own, **row)
    assert [one[: len(reason)] for one in found] == ([] if reason is None else [reason])


def test_a_date_beyond_the_bounds_is_refused_with_them():
    bounds = Bounds(from_date=date(2000, 1, 1), until_date=date(2030, 6, 30))
    [reason] = reasons(bounds, properties='{"renewal_on":"2030-07-01"}')
    assert reason.startswith("renewal_on is no date from 2000-01-01 to 2030-06-30; leave it out")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_kind_has_its_bound(kind):
    needed = "{%s}" % ",".join(f'"{name}":"x"' for name in kind.needed)  # noqa: UP031
    [*found] = reasons(kind=kind.name, quantity=kind.largest * 1.01, properties=needed)
    assert [one.startswith(f"quantity is beyond {kind.largest:,.0f} ") for one in found] == [True]
    assert reasons(kind=kind.name, quantity=-kind.largest, properties=needed) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"quantities": {"contract_changed": 1.0}}, "names the kind 'contract_changed', which is"),
        ({"quantities": {"usage.metered": 0.0}}, "can be above 0 and up to 1,000,000,000,000,000"),
        ({"quantities": {"usage.metered": 2 * LARGEST_READ}}, "says 2e.15 of usage.metered"),
        ({"quantities": {"action.decided": 2.0}}, "can be above 0 and up to 1"),
        ({"count": 0}, "count is 0; it can be from 1 to 1,000,000,000,000"),
        ({"text": 5000}, "text is 5,000; it can be from 1 to 4,000"),
        ({"from_date": date(1960, 1, 1)}, "from_date 1960-01-01 and until_date"),
        ({"until_date": date(1969, 1, 1)}, "have to lie in this order"),
    ],
)
def test_a_bound_that_cannot_be_is_refused(wrong, said):
    with pytest.raises(BoundsError, match=said):
        Bounds(**wrong)


SETTINGS = """
[bounds]
count = 5
text = 8
from_date = 2000-01-01
until_date = 2030-06-30
[bounds.quantities]
"contract.changed" = 5e13
"custom.pallets" = 10
"""


def test_bounds_are_settings_and_stay_when_others_change(tmp_path):
    workspace = Workspace(tmp_path)
    (tmp_path / "workspace.toml").write_text(SETTINGS)
    assert workspace.settings.bounds == OWN
    workspace.change_settings(tenant="Another")
    assert workspace.settings.bounds == OWN
    assert workspace.settings.tenant == "Another"
    workspace.change_settings(bounds=Bounds())
    assert "bounds" not in (tmp_path / "workspace.toml").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[bounds]\ncounts = 5", "bounds of workspace.toml in .* unknown key.s. counts. Did you"),
        ("[bounds]\ncount = 0", "bounds of workspace.toml in .*: count is 0; it can be"),
        ("[bounds]\nfrom_date = 'spring'", "`from_date` has to be a day such as 2023-04-01"),
        ("[bounds.quantities]\n'usage.metered' = nan", "has to be a finite number"),
        ("bounds = 7", "`bounds` has to be a table"),
    ],
)
def test_a_wrong_setting_says_what_is_wrong(tmp_path, text, said):
    (tmp_path / "workspace.toml").write_text(text)
    with pytest.raises(WorkspaceError, match=said):
        _ = Workspace(tmp_path).settings


ROW = {"account_id": "a", "kind": "usage.metered", "occurred_at": "2026-02-01T00:00:00Z"}


def test_rows_and_messages_have_the_bounds_of_the_tenant(tmp_path):
    lake, bounds = Lake(tmp_path / "events"), Bounds(quantities={"usage.metered": 3.0})
    rows = [{**ROW, "quantity": number} for number in (3.0, 4.0)]
    summary = ingest_rows(lake, rows, now=NOW, source="api", bounds=bounds)
    assert [fate.became for fate in summary.files[0].fates].count("refused") == 1
    message = Message(
        topic="t",
        partition=0,
        offset=0,
        value=b'{"account_id":"a","kind":"usage.metered","occurred_at":"2026-02-01T00:00:00Z",'
        b'"quantity":4}',
    )
    assert ingest_messages(lake, [message], group="g", now=NOW, bounds=bounds).quarantined == 1


def test_sums_of_the_largest_stay_whole_numbers(tmp_path):
    """Ten million rows of the largest count are more than 64 bits hold; here a part is told so."""
    lake = Lake(tmp_path / "events")
    rows = pl.DataFrame(
        {"event_id": [str(n) for n in range(10)]},
    ).with_columns(
        account_id=pl.lit("a"),
        user_id=pl.lit(None, pl.String),
        kind=pl.lit("feature.used"),
        occurred_at=pl.lit(NOW),
        recorded_at=pl.lit(NOW),
        event_count=pl.lit(2**62, pl.Int64),
        user_count=pl.lit(1, pl.Int64),
        quantity=pl.lit(None, pl.Float64),
        properties=pl.lit("{}"),
    )
    summary = lake.append(rows.cast(EVENT_SCHEMA), source="keepwell", file="keepwell", now=NOW)
    assert summary.events == 10 * 2**62
