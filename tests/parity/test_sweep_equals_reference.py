"""The compiled sweep gives what the slow reference gives, on random and on edge timelines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Row, reference

from features.catalogue import Catalogue, catalogue
from features.feature import Aggregate, Feature, Operation
from features.snapshots import build_snapshots
from features.telemetry import Event, events_frame, properties_text

DAY = timedelta(days=1)
AS_OFS = (datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=UTC),
          datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 5, 29, tzinfo=UTC))
ALWAYS = {"feature.used": datetime(2000, 1, 1, tzinfo=UTC),
          "contract.started": datetime(2000, 1, 1, tzinfo=UTC)}
OPERATIONS: dict[Operation, str | None] = {
    "count": None, "sum": None, "mean": None, "max": None, "min": None, "last": None,
    "users": None, "user_days": None, "peak_users": None, "values": "name", "active_days": None,
    "days_since_last": None, "days_since_first": None, "days_until": "renewal_on",
}


def feature(operation: Operation, of: str | None, lookback: int | None, ends_before: int = 0,
            where: dict[str, str | tuple[str, ...]] | None = None, empty: float | None = None,
            quantities: tuple[float, ...] = ()) -> Feature:
    suffix = "" if lookback is None else f"_{lookback}d"
    kept = ("" if where is None else "_where") + ("_picked" if quantities else "")
    return Feature(
        name=f"{operation}_{of or 'event'}_back{ends_before}{kept}{suffix}",
        description="A feature of the test.", theme="adoption",
        reads=("feature.used", "contract.started"), where=where or {}, quantities=quantities,
        aggregate=Aggregate(operation=operation, of=of),
        lookback=None if lookback is None else timedelta(days=lookback),
        ends_before=timedelta(days=ends_before), when_empty=empty, unit="", phrase="",
    )


TEST_FEATURES = tuple(
    [feature(op, of, lookback, back, None, 0.0 if op == "count" else None)
     for op, of in OPERATIONS.items() for lookback, back in ((7, 0), (28, 28), (None, 0))]
    + [feature("count", None, 28, where={"name": "a"}, empty=0.0),
       feature("count", None, 28, 7, where={"name": ("a", "b")}, empty=0.0),
       feature("last", "seats", None),
       feature("count", None, 28, quantities=(1.5, 8.0), empty=0.0)]
)
CATALOGUE = Catalogue(features=(*catalogue().features, *TEST_FEATURES))

edges = st.sampled_from([
    as_of - offset + nudge
    for as_of in AS_OFS
    for offset in (0 * DAY, 7 * DAY, 28 * DAY, 56 * DAY)
    for nudge in (timedelta(0), timedelta(microseconds=1), -timedelta(microseconds=1))
])
anywhere = st.datetimes(datetime(2023, 12, 1), datetime(2024, 6, 1)).map(  # noqa: DTZ001 - aware below
    lambda moment: moment.replace(tzinfo=UTC))
far_zones = st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-11))])


@st.composite
def timelines(draw: st.DrawFn) -> list[Row]:
    rows: list[Row] = []
    for number in range(draw(st.integers(0, 12))):
        occurred = draw(st.one_of(edges, anywhere)).astimezone(draw(far_zones))
        delay = draw(st.sampled_from([timedelta(0), timedelta(hours=3), 5 * DAY, 40 * DAY]))
        properties = draw(st.fixed_dictionaries({}, optional={
            "name": st.sampled_from(["a", "b", "c"]),
            "seats": st.sampled_from([1, 5.5, "many"]),
            "renewal_on": st.sampled_from(["2024-02-29", "2025-01-31"]),
        }))
        event = Event(
            event_id=f"e{number}", account_id="one",
            user_id=draw(st.sampled_from([None, "u1", "u2", "u3"])),
            kind=draw(st.sampled_from(["feature.used", "contract.started"])),
            occurred_at=occurred, recorded_at=occurred + delay,
            event_count=draw(st.integers(1, 4)), user_count=draw(st.integers(1, 9)),
            quantity=draw(st.sampled_from([None, -2.0, 0.0, 1.5, 8.0])),
            properties=properties_text(properties),
        )
        gone = draw(st.sampled_from([None, None, None, 1 * DAY, 30 * DAY]))
        rows.append((event, None if gone is None else event.recorded_at + gone))
    return rows


def frame_of(rows: list[Row]) -> pl.DataFrame:
    superseded = pl.Series("superseded_at", [gone for _, gone in rows], pl.Datetime("us", "UTC"))
    return events_frame([event for event, _ in rows]).with_columns(superseded)


@settings(max_examples=150, deadline=None)  # compiling the kernel takes seconds the first time
@given(rows=timelines())
def test_every_primitive_equals_its_reference(rows: list[Row]) -> None:
    if not rows:
        return
    frame = build_snapshots(frame_of(rows), AS_OFS, CATALOGUE, first_recorded=ALWAYS)
    known_since = min(event.recorded_at for event, _ in rows)
    assert frame["as_of"].to_list() == [m for m in AS_OFS if m > known_since]
    for row in frame.to_dicts():
        for declared in TEST_FEATURES:
            expected = reference(rows, declared, row["as_of"])
            if expected is None:
                assert row[declared.name] is None, declared
            else:  # 1e-12: numbers of a few events, summed in another grouping
                assert row[declared.name] == pytest.approx(expected, rel=1e-12, abs=1e-12), declared


def test_the_reference_can_tell_every_operation_apart() -> None:
    rows: list[Row] = [(Event(
        event_id=f"e{n}", account_id="one", user_id=f"u{n % 2}", kind="feature.used",
        occurred_at=AS_OFS[1] - timedelta(days=n + 0.25), recorded_at=AS_OFS[1] - n * DAY - DAY / 8,
        event_count=n + 2, user_count=n + 7, quantity=float(n) - 0.5,
        properties=properties_text({"name": "abc"[n % 3], "renewal_on": "2024-12-31"}),
    ), None) for n in range(5)]
    values = {op: reference(rows, feature(op, of, 28), AS_OFS[1])
              for op, of in OPERATIONS.items()}
    assert len(set(values.values())) >= len(values) - 2, values


def test_every_declared_primitive_has_an_operation_that_the_reference_knows() -> None:
    assert {f.aggregate.operation for f in catalogue().primitives} <= set(OPERATIONS)
