"""Contracts as companies export them: one row a customer, invoices, MRR by month, long and wide."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from features.ingest.mapped_tables import MappingError
from features.ingest.run import ingest
from features.lake.lake import Lake
from features.workspace import Workspace

HEAD = 'name = "t"\nzone = "UTC"\ncomplete_until = 2024-07-01\n[tables.t]\nfiles = ["t.csv"]\n'


def taken(tmp_path: Path, mapping: str, *lines: str, now=None):
    """(account, kind, day, day it became known, MRR) of each event, and the summary."""
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "m.toml").write_text(HEAD + mapping, encoding="utf-8")
    place = Workspace(tmp_path / "w")
    summary = ingest(place, [tmp_path / "t.csv"], tmp_path / "m.toml", now=now)
    assert all(file.is_balanced for file in summary.files)
    events = Lake(place.events_dir, place.quarantine_dir).versions_before(
        datetime(2100, 1, 1, tzinfo=UTC)
    )
    rows = events.sort("account_id", "occurred_at", "kind").collect()
    return [
        (
            row["account_id"],
            row["kind"].removeprefix("contract."),
            f"{row['occurred_at']:%m-%d}",
            f"{row['recorded_at']:%m-%d}",
            row["quantity"],
        )
        for row in rows.iter_rows(named=True)
    ], summary


def properties(tmp_path: Path) -> list[dict[str, object]]:
    place = Workspace(tmp_path / "w")
    events = Lake(place.events_dir, place.quarantine_dir).versions_before(
        datetime(2100, 1, 1, tzinfo=UTC)
    )
    rows = events.sort("account_id", "occurred_at").collect()
    return [json.loads(text) for text in rows["properties"].to_list()]


CUSTOMERS = """type = "contract_periods"
account = "id"
start = "joined"
cancelled = "left_on"
mrr = "mrr"
"""


def test_one_row_a_customer_with_the_day_it_left(tmp_path):
    events, _ = taken(
        tmp_path,
        CUSTOMERS,
        "id,joined,left_on,mrr",
        "0012,2024-01-05,2024-03-10,100",
        "zeta,2024-01-05,,200",
        "soon,2024-01-05,2024-08-01,300",
    )
    assert events == [
        ("0012", "started", "01-05", "01-05", 100.0),
        ("0012", "cancelled", "03-10", "03-10", None),
        ("soon", "started", "01-05", "01-05", 300.0),
        ("zeta", "started", "01-05", "01-05", 200.0),
    ]


def test_the_day_of_leaving_is_no_renewal_date_before_it(tmp_path):
    taken(tmp_path, CUSTOMERS, "id,joined,left_on,mrr", "a,2024-01-05,2024-03-10,100")
    assert properties(tmp_path) == [{}, {}]


def test_with_both_days_the_end_is_the_renewal_and_leaving_is_told_by_the_other(tmp_path):
    events, _ = taken(
        tmp_path,
        CUSTOMERS + 'end = "renews"\n',
        "id,joined,renews,left_on,mrr",
        "a,2024-01-05,2024-04-05,,100",
        "b,2024-01-05,2024-04-05,2024-02-20,100",
    )
    assert [event[:3] for event in events] == [
        ("a", "started", "01-05"),  # its term is over, and nobody said that it left
        ("b", "started", "01-05"),
        ("b", "cancelled", "02-20"),
    ]
    assert properties(tmp_path)[0] == {"renewal_on": "2024-04-05"}


INVOICES = """type = "invoices"
account = "id"
paid_on = "paid"
amount = "amount"
covers_months = 1
"""


def test_paid_invoices_make_a_contract_and_their_end_is_known_after_the_grace(tmp_path):
    events, summary = taken(
        tmp_path,
        INVOICES,
        "id,paid,amount",
        "a,2024-01-10,100",
        "a,2024-02-08,100",  # two days early
        "a,2024-03-20,120",  # late, and dearer
        "b,2024-05-25,50",  # paid until 06-25, and the grace is not over
        "c,2024-01-01,-20",
    )
    assert events == [
        ("a", "started", "01-10", "01-10", 100.0),
        ("a", "renewed", "02-08", "02-08", 100.0),
        ("a", "changed", "03-20", "03-20", 120.0),
        ("a", "cancelled", "04-20", "05-20", None),
        ("b", "started", "05-25", "05-25", 50.0),
    ]
    assert {one.get("inferred_from") for one in properties(tmp_path)} == {"invoices"}
    assert "inferred from paid invoices: each pays for 1 month" in str(summary)
    assert "1 because the amount is not above 0" in str(summary)


def test_two_subscriptions_on_invoices_of_their_own_add_up(tmp_path):
    events, _ = taken(
        tmp_path,
        INVOICES,
        "id,paid,amount",
        *(f"a,2024-0{month}-01,100" for month in (1, 2, 3, 4, 5, 6)),
        *(f"a,2024-0{month}-15,30" for month in (2, 3, 4)),
    )
    assert ("a", "changed", "02-15", "02-15", 130.0) in events
    assert [event[4] for event in events] == [100, 100, 130, 130, 130, 130, 130, 130, 100]


def test_yearly_invoices_and_invoices_of_one_day(tmp_path):
    events, summary = taken(
        tmp_path,
        INVOICES.replace("covers_months = 1", 'covers_months = "months"'),
        "id,paid,amount,months",
        "a,2023-01-31,600,12",
        "a,2023-01-31,600,12",
        "a,2024-01-31,1200,12",
    )
    assert [event[1:3] + event[4:] for event in events] == [
        ("started", "01-31", 100.0),
        ("renewed", "01-31", 100.0),
    ]
    assert summary.landed == 2


LONG = """type = "monthly_mrr"
account = "id"
month = "month"
mrr = "mrr"
"""


def test_mrr_by_month_is_known_when_the_month_is_over(tmp_path):
    events, summary = taken(
        tmp_path,
        LONG,
        "id,month,mrr",
        *(f"acme,2024-0{month},{100 if month < 3 else 120}" for month in (1, 2, 3, 4)),
        "zeta,2024-01,50",
        "zeta,2024-02,50",
        "zeta,2024-04,0",
    )
    assert events == [
        ("acme", "started", "01-01", "01-31", 100.0),
        ("acme", "changed", "03-01", "03-31", 120.0),
        ("zeta", "started", "01-01", "01-31", 50.0),
        ("zeta", "cancelled", "03-01", "03-31", None),
    ]
    assert "MRR by month" in str(summary)


def test_a_column_for_each_month(tmp_path):
    events, _ = taken(
        tmp_path,
        'type = "monthly_mrr"\naccount = "id"\nmonth_columns = ["20*"]\ndecimal = ","\n'
        'separator = ";"\n',
        "id;name;2024-01;2024-02;2024-03",
        "007;Acme;1.000,50;1.000,50;1.000,50",
        "008;Zeta;10,5;;",
        "009;Back;7;0;7",
    )
    assert [event[:3] + event[4:] for event in events] == [
        ("007", "started", "01-01", 1000.5),
        ("008", "started", "01-01", 10.5),
        ("008", "cancelled", "02-01", None),
        ("009", "started", "01-01", 7.0),
        ("009", "cancelled", "02-01", None),
        ("009", "started", "03-01", 7.0),
    ]


def test_months_in_words_are_read_by_their_format(tmp_path):
    events, _ = taken(
        tmp_path,
        'type = "monthly_mrr"\naccount = "id"\nmonth_columns = ["MRR *"]\n'
        'month_format = "MRR %b %Y"\n',
        "id,MRR Jan 2024,MRR Feb 2024",
        "a,5,6",
    )
    assert [event[1:3] for event in events] == [("started", "01-01"), ("changed", "02-01")]


@pytest.mark.parametrize(
    ("mapping", "header"),
    [
        (INVOICES, "id,paid,amount,Currency"),
        (CUSTOMERS.replace("joined", "paid").replace("left_on", "gone"), "id,paid,mrr,ccy,gone"),
    ],
)
def test_two_currencies_are_refused_and_nothing_is_written(tmp_path, mapping, header):
    extra = "," if "gone" in header else ""
    with pytest.raises(MappingError, match=r"2 currencies: (EUR|USD) .*never summed.*where = "):
        taken(
            tmp_path, mapping, header, f"a,2024-01-01,10,EUR{extra}", f"b,2024-01-01,10,usd{extra}"
        )
    assert not Lake(tmp_path / "w/events", tmp_path / "w/quarantine").manifest.rows


def test_one_of_two_currencies_is_read_where_the_mapping_says_so(tmp_path):
    events, summary = taken(
        tmp_path,
        INVOICES + "where = \"currency = 'EUR'\"\n",
        "id,paid,amount,currency",
        "a,2024-06-01,10,EUR",
        "b,2024-06-01,10,USD",
    )
    assert [event[0] for event in events] == ["a"]
    assert "left out: 1 because not currency = 'EUR'" in str(summary)


def test_mrr_is_computed_from_price_and_seats_and_the_account_gets_a_prefix(tmp_path):
    events, _ = taken(
        tmp_path,
        CUSTOMERS.replace('mrr = "mrr"', 'mrr = "computed_mrr"').replace('"id"', '"key"')
        + "where = \"status != 'test'\"\n[tables.t.computed]\n"
        'computed_mrr = "unit_price * seats / 12"\nkey = "concat(\'eu-\', id)"\n',
        "id,joined,left_on,unit_price,seats,status",
        "01,2024-01-05,,120,5,live",
        "02,2024-01-05,,120,,live",
        "03,2024-01-05,,120,5,test",
        "04,2024-01-05,,many,5,live",
    )
    assert events == [("eu-01", "started", "01-05", "01-05", 50.0)]


def test_a_file_with_another_separator_says_which(tmp_path):
    with pytest.raises(MappingError, match='add separator = ";"'):
        taken(tmp_path, CUSTOMERS, "id;joined;left_on;mrr", "a;2024-01-01;;5")


def test_columns_apart_by_blanks(tmp_path):
    events, _ = taken(
        tmp_path,
        'separator = "blanks"\ntime_format = "%Y%m%d"\n' + INVOICES,
        "  id     paid  amount",
        "  00001 20240601     5.00",
    )
    assert [event[:3] for event in events] == [("00001", "started", "06-01")]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (CUSTOMERS.replace('cancelled = "left_on"\n', ""), "must say how a contract ends"),
        (INVOICES.replace("covers_months = 1\n", ""), "needs covers_months"),
        (LONG.replace('mrr = "mrr"\n', ""), "must say where its months are"),
        (LONG + 'month_columns = ["20*"]\n', "must say where its months are"),
        (CUSTOMERS + 'computed = { a = "b +" }\n', r"`computed\.a` cannot be read: it ends where"),
        (CUSTOMERS + 'where = "mrr"\n', "`where` cannot be read: it is no condition"),
        (CUSTOMERS + 'separator = ":"\n', "allowed are"),
        (
            CUSTOMERS + "".join(f'computed.c{n} = "mrr"\n' for n in range(21)),
            "at most 20",
        ),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused_in_words(tmp_path, mapping, message):
    with pytest.raises(MappingError, match=message):
        taken(tmp_path, mapping, "id,joined,left_on,mrr", "a,2024-01-01,,5")


def test_no_month_column_is_a_sentence(tmp_path):
    with pytest.raises(MappingError, match=r"no column of the form 20\*"):
        taken(
            tmp_path,
            'type = "monthly_mrr"\naccount = "id"\nmonth_columns = ["20*"]\n',
            "id,jan",
            "a,5",
        )


def test_an_older_moment_knows_no_later_end(tmp_path):
    """What is known grows with the moment: an earlier run decides nothing from later rows."""
    rows = ("id,month,mrr", "a,2024-01,5", "b,2024-01,5", "b,2024-02,5", "b,2024-03,5")
    early, _ = taken(tmp_path, LONG, *rows, now=datetime(2024, 2, 15, tzinfo=UTC))
    assert [event[:2] for event in early] == [("a", "started"), ("b", "started")]
    assert pl.Series([event[3] for event in early]).max() == "01-31"
