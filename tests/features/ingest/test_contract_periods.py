"""Contract periods become what could be known at each moment, and nothing more."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest

from features.events.schema import LINE
from features.events.validation import validate_draft
from features.ingest.contracts.draft import draft_contracts
from features.ingest.mapped_tables import ContractTable, TableSource

COLUMNS = ("account", "start", "end", "mrr", "seats", "plan", "units")
TABLE = ContractTable(
    source=TableSource(name="terms", files=("t.csv",), zone="UTC"),
    account="account",
    start="start",
    end="end",
    mrr="mrr",
    seats="seats",
    price_plan="plan",
    only={"units": "users"},
    end_of_period="earliest",
    constants={"features_in_plan": 25},
)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def told(*rows, now=NOW, table=TABLE):
    """(kind, day, MRR, renewal date, reason) of each event; then what was refused, left out."""
    frame = pl.DataFrame(
        [(*row, "users")[:7] if len(row) == 6 else row for row in rows],
        schema=dict.fromkeys(COLUMNS, pl.String),
        orient="row",
    )
    frame = frame.with_columns(pl.int_range(2, pl.len() + 2, dtype=pl.Int64).alias(LINE))
    judged = validate_draft(
        draft_contracts(frame, table, known_until=now), now=now, complete_until=None
    )
    events = judged.events.sort("occurred_at", "kind")
    return (
        [
            (
                row["kind"].removeprefix("contract."),
                row["occurred_at"].strftime("%m-%d"),
                row["quantity"],
                json.loads(row["properties"]).get("renewal_on", "")[5:] or None,
                json.loads(row["properties"]).get("reason"),
            )
            for row in events.iter_rows(named=True)
        ],
        judged.refused["reason"].to_list(),
        judged.left_out["reason"].to_list(),
    )


def period(start, end, mrr="100", seats="5", plan="pro", account="a"):
    return (
        account,
        f"2026-{start}" if start else None,
        f"2026-{end}" if end else None,
        mrr,
        seats,
        plan,
    )


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param(
            [period("01-01", "07-01")],
            [("started", "01-01", 100.0, "07-01", None)],
            id="an end to come",
        ),
        pytest.param(
            [period("01-01", "02-01")],
            [("started", "01-01", 100.0, "02-01", None), ("cancelled", "02-01", None, None, None)],
            id="an end that came",
        ),
        pytest.param(
            [period("01-01", "06-01")],
            [("started", "01-01", 100.0, "06-01", None), ("cancelled", "06-01", None, None, None)],
            id="an end at the very moment",
        ),
        pytest.param(
            [period("01-01", "06-02")],
            [("started", "01-01", 100.0, "06-02", None)],
            id="an end a day later",
        ),
        pytest.param(
            [period("01-01", None)], [("started", "01-01", 100.0, None, None)], id="no end"
        ),
        pytest.param(
            [period("02-01", "07-01"), period("01-01", "02-01")],
            [
                ("started", "01-01", 100.0, "02-01", None),
                ("renewed", "02-01", 100.0, "07-01", None),
            ],
            id="a renewal, in any order",
        ),
        *(
            pytest.param(
                [period("01-01", "02-01"), period("02-01", "07-01", **other)],
                [
                    ("started", "01-01", 100.0, "02-01", None),
                    ("changed", "02-01", float(other.get("mrr", 100)), "07-01", "renewal"),
                ],
                id=f"another {next(iter(other))}",
            )
            for other in ({"mrr": "120"}, {"seats": "6"}, {"plan": "max"})
        ),
        pytest.param(
            [period("01-01", "02-01"), period("02-02", "07-01")],
            [
                ("started", "01-01", 100.0, "02-01", None),
                ("cancelled", "02-01", None, None, None),
                ("started", "02-02", 100.0, "07-01", None),
            ],
            id="a gap",
        ),
        pytest.param(
            [period("01-01", "07-01"), period("03-01", "09-01", mrr="50")],
            [
                ("started", "01-01", 100.0, "07-01", None),
                ("changed", "03-01", 50.0, "09-01", "mid-term"),
            ],
            id="a change within the term",
        ),
    ],
)
def test_periods_become_events(rows, expected):
    assert told(*rows) == (expected, [], [])


def test_an_add_on_that_ends_early_ends_the_period_when_that_day_comes():
    plan, add_on = period("01-01", "07-01"), (*period("01-01", "03-01", plan="extra"), "searches")
    events, _, left = told(plan, add_on)
    assert events == [
        ("started", "01-01", 100.0, "07-01", None),
        ("cancelled", "03-01", None, None, None),
    ]
    assert left == ["units is not users"]
    before, _, _ = told(plan, add_on, now=datetime(2026, 2, 28, tzinfo=UTC))
    assert before == [("started", "01-01", 100.0, "07-01", None)]


def test_two_accounts_do_not_succeed_each_other():
    events, _, _ = told(period("01-01", "02-01"), period("02-01", "07-01", account="b"))
    assert [kind for kind, *_ in events] == ["started", "cancelled", "started"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (period("01-01", "01-01"), "end is not after start"),
        (period("01-01", "13-01"), "end is no time"),
        (period(None, "02-01"), "start is missing"),
        (period("01-01", "07-01", mrr=None), "mrr is missing"),
        (period("01-01", "07-01", mrr="-1"), "mrr is negative"),
        (period("01-01", "07-01", mrr="free"), "mrr is no number"),
        (period("01-01", "07-01", seats="-1"), "seats is negative"),
        (period("01-01", "07-01", account=""), "account_id is missing"),
        (
            period("04-01", "07-01", mrr="9"),
            "is a second contract row of the same account and start",
        ),
    ],
)
def test_a_bad_period_is_refused_and_the_others_land(row, reason):
    events, refused, _ = told(period("04-01", "07-01"), row)
    assert refused == [reason]
    assert len(events) == 1


@pytest.mark.parametrize(
    ("how", "start", "end"),
    [
        ({"time_format": "%d/%m/%Y"}, "01/02/2026", "01/07/2026"),
        ({"epoch": "s"}, "1769904000", "1782864000"),
    ],
)
def test_days_in_the_words_of_another_country_are_days(how, start, end):
    rest = ("100", "5", "pro")
    events, refused, _ = told(
        ("a", start, end, *rest),
        ("b", start, "soon", *rest),
        ("c", start, "", *rest),
        table=replace(TABLE, **how),
    )
    assert events == [
        ("started", "02-01", 100.0, "07-01", None),
        ("started", "02-01", 100.0, None, None),
    ]
    assert refused == ["end is no time"]


def test_terms_that_the_table_does_not_name_are_unknown():
    bare = replace(TABLE, seats=None, price_plan=None)
    events, refused, _ = told(
        period("01-01", "02-01", seats="3", plan="a"),
        period("02-01", "07-01", seats="9", plan="b"),
        table=bare,
    )
    assert [event[0] for event in events] == ["started", "renewed"]
    assert refused == []


@pytest.mark.parametrize("day", range(1, 29, 9))
def test_what_is_told_early_is_what_is_told_later_of_that_time(day):
    rows = [
        period("01-01", "02-01"),
        period("02-01", "02-20"),
        period("02-25", "03-25", mrr="7"),
        period("03-10", "04-10"),
        period("04-10", "05-10", account="b"),
    ]
    moment = datetime(2026, 3, day, tzinfo=UTC)
    known = rows[:3] + ([rows[3]] if day >= 10 else [])
    later, _, _ = told(*rows)
    early, _, _ = told(*known, now=moment)
    assert early == [event for event in later if event[1] <= moment.strftime("%m-%d")]
