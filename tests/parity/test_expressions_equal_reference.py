"""Every expression feature gives what a slow reference gives, on random and on edge timelines."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from expression_reference import REFERENCES, Known, reference
from polars.testing import assert_frame_equal

from features.catalogue.catalogue import load_catalogue
from features.catalogue.feature import Expression
from features.compute.expressions import with_expressions
from features.events.schema import EVENT_SCHEMA, Event, events_frame, properties_text

DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
AS_OF = datetime(2024, 2, 29, 6, 30, tzinfo=UTC)
EXPRESSIONS = load_catalogue().expressions
KINDS = sorted({kind for feature in EXPRESSIONS for kind in feature.reads})
SINCE = dict.fromkeys([*KINDS, "error.raised"], datetime(2000, 1, 1, tzinfo=UTC))

EDGES = [
    AS_OF - days * DAY + nudge
    for days in (0, 1, 2, 3, 28, 29, 30, 31, 90)
    for nudge in (-TICK, timedelta(0), TICK)
]
THINGS = {"name": ["a", "b"], "invoice_id": ["a", "b"], "kpi": ["a", "b"]}
WORDS = {
    "integration.state": {"state": ["connected", "error", "disconnected"]},
    "feature.requested": {"state": ["open", "answered"]},
    "billing.invoice": {"status": ["issued", "paid", "late", "failed"]},
    "milestone.updated": {"status": ["pending", "overdue", "completed"]},
    "ticket.updated": {"change": ["sentiment", "first_reply"]},
    "review.held": {"renewal_intent": ["yes", "maybe", "no", "?"]},
    "goal.measured": {"baseline": [10, "ten"], "target": [10, 50, 50, "fifty"]},
}


def timeline(account: str, rng: random.Random) -> list[Known]:
    """Events of one account, of one kind or of all, many of them at the edges of windows."""
    kinds = rng.choice([KINDS, [rng.choice(KINDS)], [rng.choice(KINDS)]])
    rows: list[Known] = []
    for number in range(rng.randrange(1, 14)):
        kind = rng.choice(kinds)
        occurred = rng.choice([rng.choice(EDGES), AS_OF - rng.random() * 120 * DAY])
        recorded = occurred + rng.choice([timedelta(0), timedelta(0), TICK, 2 * DAY])
        words = {
            key: rng.choice(values)
            for key, values in (THINGS | WORDS.get(kind, {})).items()
            if rng.random() < 0.9
        }
        rows.append(
            (
                Event(
                    event_id=f"{rng.randrange(4)}-{number}",
                    account_id=account,
                    kind=kind,
                    occurred_at=occurred,
                    recorded_at=recorded,
                    event_count=rng.randrange(1, 5),
                    quantity=rng.choice([None, -0.5, 0.0, 30.0]),
                    properties=properties_text(words),
                ),
                rng.choice([None, None, None, AS_OF - TICK, AS_OF, recorded + DAY]),
            )
        )
    return rows


def frame_of(rows: list[Known]) -> pl.DataFrame:
    superseded = pl.Series("superseded_at", [gone for _, gone in rows], pl.Datetime("us", "UTC"))
    return events_frame([event for event, _ in rows]).with_columns(superseded)


def snapshot_rows(*accounts: str) -> pl.DataFrame:
    return pl.DataFrame(
        {"account_id": accounts, "as_of": [AS_OF] * len(accounts)},
        schema={"account_id": pl.String, "as_of": pl.Datetime("us", "UTC")},
    )


@pytest.mark.parametrize("seed", range(4))
def test_every_expression_equals_its_reference(seed: int) -> None:
    rng = random.Random(seed)
    company = {f"a{n:03d}": timeline(f"a{n:03d}", rng) for n in range(400)}
    frame = with_expressions(
        snapshot_rows(*company),
        frame_of([row for rows in company.values() for row in rows]),
        EXPRESSIONS,
        first_recorded=SINCE,
    )
    for declared in EXPRESSIONS:
        expected = [reference(rows, declared, AS_OF) for rows in company.values()]
        assert Counter(expected).most_common()[1][1] > 3, (
            f"{declared.name} is nearly always the same: draw its kind's properties from WORDS"
        )
        assert frame[declared.name].to_list() == [
            None if value is None else pytest.approx(value, rel=1e-12, abs=1e-12)
            for value in expected
        ], declared.name


def test_every_expression_of_the_catalogue_has_a_reference() -> None:
    assert set(REFERENCES) == {feature.name for feature in EXPRESSIONS}


MEAN = Expression(
    name="mean_value",
    description="",
    theme="adoption",
    reads=("feature.used",),
    unit="",
    formula=lambda: pl.col("quantity").mean(),
    phrase="",
    when_empty=None,
)
SUM = Expression(
    name="sum_value",
    description="",
    theme="adoption",
    reads=("feature.used",),
    unit="",
    formula=lambda: pl.col("quantity").sum(),
    phrase="",
    when_empty=None,
)


@pytest.mark.parametrize("others", [1, 40])
def test_an_account_alone_gives_the_very_bits_that_it_gives_among_others(others: int) -> None:
    rng_values = [0.1 * ((7919 * n) % 1009) for n in range(3000)]
    when = [AS_OF - (n + 1) * timedelta(seconds=1) for n in range(3000)]

    def events(account: str) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "event_id": [f"{account}{n}" for n in range(3000)],
                "account_id": account,
                "user_id": None,
                "kind": "feature.used",
                "occurred_at": when,
                "recorded_at": when,
                "event_count": 1,
                "user_count": 1,
                "quantity": rng_values,
                "properties": "{}",
            },
            schema=EVENT_SCHEMA,
        )

    since = {"feature.used": AS_OF - 400 * DAY}
    alone = with_expressions(snapshot_rows("a"), events("a"), (MEAN, SUM), first_recorded=since)
    names = ["a", *(f"b{n}" for n in range(others))]
    together = with_expressions(
        snapshot_rows(*names), pl.concat(map(events, names)), (MEAN, SUM), first_recorded=since
    )
    assert_frame_equal(together.filter(account_id="a"), alone, check_exact=True)
    assert together["sum_value"].n_unique() == 1


def test_a_formula_that_comes_to_no_finite_number_is_unknown() -> None:
    nothing = Expression(
        name="nothing",
        description="",
        theme="adoption",
        reads=("error.raised",),
        unit="",
        formula=lambda: pl.col("quantity").sum() / 0,
        phrase="",
        when_empty=0.0,
    )
    event = Event(
        account_id="one",
        kind="error.raised",
        occurred_at=AS_OF - DAY,
        quantity=1.0,
        recorded_at=AS_OF - DAY,
    )
    frame = with_expressions(
        snapshot_rows("one", "two"), events_frame([event]), (nothing,), first_recorded=SINCE
    )
    assert frame["nothing"].to_list() == [None, 0.0]


def test_an_expression_is_unknown_until_a_source_sent_what_it_reads() -> None:
    event = Event(
        account_id="one",
        kind="error.raised",
        occurred_at=AS_OF - 5 * DAY,
        recorded_at=AS_OF - 5 * DAY,
    )
    for since in ({}, {"error.raised": AS_OF}, {"job.retry": AS_OF - 9 * DAY}):
        frame = with_expressions(
            snapshot_rows("one", "two"),
            events_frame([event]),
            EXPRESSIONS[:1],
            first_recorded=since,
        )
        assert frame[EXPRESSIONS[0].name].to_list() == [None, None]


def test_a_snapshot_without_rows_stays_one() -> None:
    event = Event(account_id="one", kind="error.raised", occurred_at=AS_OF, recorded_at=AS_OF)
    frame = with_expressions(
        snapshot_rows(), events_frame([event]), EXPRESSIONS, first_recorded=SINCE
    )
    assert frame.is_empty()
    assert {feature.name for feature in EXPRESSIONS} < set(frame.columns)


def test_a_catalogue_without_expressions_is_given_its_frame_back() -> None:
    rows = snapshot_rows("one")
    assert with_expressions(rows, events_frame([]), (), first_recorded=SINCE) is rows
