"""When contracts can end, worked by hand from their events: what a model and a label make of them."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from features.catalogue.catalogue import load_catalogue
from features.compute.snapshots import build_snapshots
from features.events.schema import events_frame
from registry.bundle.renewal_risk import ContractCalendar
from training.dataset.labels import cohort_rows, label_named, label_rows

AS_OF = "2024-06-01"
CHURN = label_named("churn")
CALENDAR = ContractCalendar(renewal=0, months=1)
MONTH = 365.25 / 12


def started(day: str, renewal: str | None, billing: int | None = None, **more):
    return ("contract.started", day, renewal, billing, more)


def renewed(day: str, renewal: str | None, billing: int | None = None, **more):
    return ("contract.renewed", day, renewal, billing, more)


def changed(day: str, renewal: str | None, billing: int | None = None, **more):
    return ("contract.changed", day, renewal, billing, more)


YEARLY = started("2023-12-18", "2024-12-18", 1)

# The events; days to the renewal and months of the term on 1 June 2024; the days to the decisions
# of a year from then; and whether the account leaves within 90 days.
TRUTHS = {
    "a year billed monthly, 200 days before its end": ([YEARLY], 200, 12, [200], False),
    "a year billed monthly that leaves early": (
        [YEARLY, ("contract.cancelled", "2024-07-15", None, None, {})], 200, 12, [200], True),
    "renewed by itself, with an event each time": (
        [started("2022-06-10", "2023-06-10", 1), renewed("2023-06-10", "2024-06-10", 1),
         renewed("2024-06-10", "2025-06-10", 1)], 9, 12, [9], False),
    "renewed by itself, without an event": (
        [started("2022-06-10", "2023-06-10", 1)], -357, 12, [8.25], False),
    "notice of 60 days, which has passed": (
        [started("2023-07-20", "2024-07-20", 1, notice_days=60)], 49, 12, [49], False),
    "late, within the grace: the decision is open": (
        [started("2023-05-20", "2024-05-20", 12), renewed("2024-06-05", "2025-05-20", 12)],
        -12, 12, [0], False),
    "late and ended in between: renewed within the grace": (
        [started("2023-06-10", "2024-06-10", 12),
         ("contract.cancelled", "2024-06-10", None, None, {}),
         started("2024-07-01", "2025-07-01", 12)], 9, 12, [9], False),
    "late beyond the grace: gone": (
        [started("2023-06-10", "2024-06-10", 12),
         ("contract.cancelled", "2024-06-10", None, None, {}),
         started("2024-07-20", "2025-07-20", 12)], 9, 12, [9], True),
    "three years": ([started("2023-03-01", "2026-03-01", 12)], 638, 36, [], False),
    "renewed early for another year": (
        [started("2023-06-20", "2024-06-20", 1), renewed("2024-05-01", "2025-06-20", 1)],
        384, 12, [], False),
    "fewer seats in mid-term": (
        [YEARLY, changed("2024-05-20", "2024-12-18", 1, seats=4)], 200, 12, [200], False),
    "fewer seats in mid-term, of which the event repeats no date": (
        [YEARLY, changed("2024-05-20", None, None, seats=4)], 200, 12, [200], False),
    "the date is corrected in mid-term": (
        [YEARLY, changed("2024-05-20", "2024-12-31", 1)], 213, 12, [213], False),
    "another year from a change in mid-term": (
        [started("2023-08-01", "2024-08-01", 1), changed("2024-05-01", "2025-05-01", 1)],
        334, 12, [334], False),
    "two contracts that end on one day are one decision": (
        [YEARLY, started("2023-12-18", "2024-12-18", 1)], 200, 12, [200], False),
    "a contract added in mid-term that ends with the first": (
        [YEARLY, started("2024-05-15", "2024-12-18", 1)], 200, 12, [200], False),
    "from a year to months at the renewal": (
        [started("2023-05-20", "2024-05-20", 12), changed("2024-05-20", "2024-06-20", 1)],
        19, 1, [19 + MONTH * n for n in range(12)], False),
    "monthly, each month an event": (
        [started("2024-04-11", "2024-05-11", 1), renewed("2024-05-11", "2024-06-11", 1),
         renewed("2024-06-11", "2024-07-11", 1)],
        10, 1, [10 + MONTH * n for n in range(12)], False),
    "a first period that was cut short": (
        [started("2024-03-01", "2024-07-01", 12)], 30, 12, [30], False),
    "a quarter": ([started("2024-05-01", "2024-08-01", 3)], 61, 3,
                  [61, 61 + 3 * MONTH, 61 + 6 * MONTH, 61 + 9 * MONTH], False),
    "evergreen: no date, so no decision is known": (
        [started("2023-01-01", None, 1)], None, 1, None, False),
    "neither a date nor a billing period": (
        [started("2023-01-01", None)], None, None, None, False),
    "a pause of 40 days prolongs the term": (
        [YEARLY, ("contract.paused", "2024-03-01", None, None, {}),
         ("contract.resumed", "2024-04-10", "2025-01-27", None, {})], 240, 12, [240], False),
}  # fmt: skip


@pytest.fixture(scope="module")
def snapshot(timelines) -> pl.DataFrame:
    """Every contract on 1 June 2024."""
    return build_snapshots(
        timelines_of(timelines),
        [timelines.at(AS_OF)],
        load_catalogue(),
        first_recorded={"contract.started": datetime(2020, 1, 1, tzinfo=UTC)},
    )


def timelines_of(timelines) -> pl.DataFrame:
    rows = []
    for account, (events, *_) in TRUTHS.items():
        for kind, day, renewal, billing, more in events:
            known = {"renewal_on": renewal, "billing_months": billing, **more}
            said = {name: value for name, value in known.items() if value is not None}
            mrr = None if kind in ("contract.cancelled", "contract.paused") else 100.0
            rows.append(timelines.event(account, kind, day, mrr, **said))
    return events_frame(rows).with_columns(
        event_id=pl.int_range(pl.len()).cast(pl.String).str.zfill(4)
    )


@pytest.mark.parametrize("case", TRUTHS)
def test_a_contract_can_end_when_its_term_does(snapshot, timelines, case) -> None:
    _, days, months, leads, leaves = TRUTHS[case]
    row = snapshot.row(by_predicate=pl.col("account_id") == case, named=True)
    assert (row["days_to_renewal"], row["term_months"]) == (days, months)
    if days is not None:
        matrix = np.array([[days, np.nan if months is None else months]], dtype=float)
        found = [lead[0] for lead, _ in CALENDAR.decisions(matrix, 365) if lead[0] < 365]
        assert found == pytest.approx(leads)
    mine = timelines_of(timelines).filter(account_id=case)
    rows = cohort_rows(CHURN, mine, (timelines.at(AS_OF),))
    labelled = label_rows(CHURN, mine, rows, known_until=timelines.at("2025-06-01"))
    assert labelled.frame[CHURN.column(90)].to_list() == [leaves]


@pytest.mark.parametrize("moment", ["2024-03-01", "2024-03-02"])
def test_a_term_is_that_which_was_known_then(timelines, moment) -> None:
    """The move to a year was agreed on 1 February and recorded on 1 March."""
    events = events_frame(
        [
            timelines.event("a", "contract.started", "2023-12-01", 1.0, renewal_on="2024-03-10"),
            timelines.event(
                "a", "contract.changed", "2024-02-01", 1.0,
                recorded="2024-03-01", renewal_on="2025-02-01",
            ),
        ]
    )  # fmt: skip
    found = build_snapshots(
        events,
        [timelines.at(moment)],
        load_catalogue(),
        first_recorded={"contract.started": datetime(2020, 1, 1, tzinfo=UTC)},
    )
    assert found["term_months"].to_list() == [3.0 if moment == "2024-03-01" else 12.0]
