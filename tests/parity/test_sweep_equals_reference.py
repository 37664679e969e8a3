"""The compiled sweep gives what the slow reference gives, on random and on edge timelines."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from random_timelines import ACCOUNTS, ALWAYS, AS_OFS, DAY, Row, frame_of, swept, timelines
from reference import attribute_reference, known_since, reference

from features.catalogue.catalogue import load_catalogue
from features.catalogue.definitions.attributes import ATTRIBUTES
from features.catalogue.feature import Aggregate, Attribute, Feature
from features.compute.snapshots import build_snapshots
from features.events.schema import Event, properties_text
from features.kernel.aggregations import BY_NAME

OPERATIONS = dict.fromkeys(BY_NAME) | {
    "values": "name",
    "in_state": "name",
    "days_until": "renewal_on",
    "days_spanned": "renewal_on",
}
"""Every operation, and the property it is asked of."""


def feature(
    operation: str,
    of: str | None,
    lookback: int | None,
    ends_before: int = 0,
    where: dict[str, str | tuple[str, ...]] | None = None,
    empty: float | None = None,
    quantities: tuple[float, ...] = (),
    words: dict[str, float] | None = None,
    after: int = 0,
) -> Feature:
    suffix = "" if lookback is None else f"_{lookback}d"
    kept = (
        ("" if where is None else "_where")
        + ("_picked" if quantities else "")
        + ("_after" if after else "")
        + ("_words" if words else "")
    )
    state = {"seats": ("1", "3")} if operation == "in_state" else {}
    return Feature(
        name=f"{operation}_{of or 'event'}_back{ends_before}{kept}{suffix}",
        description="A feature of the test.",
        theme="adoption",
        reads=("feature.used", "contract.started"),
        where=where or {},
        quantities=quantities,
        aggregate=Aggregate(
            operation=operation, of=of, words=words or {}, state=state, after=timedelta(days=after)
        ),
        lookback=None if lookback is None else timedelta(days=lookback),
        ends_before=timedelta(days=ends_before),
        when_empty=empty,
        unit="",
        phrase="",
    )


TEST_FEATURES = tuple(
    [
        feature(op, of, lookback, back, None, 0.0 if op == "count" else None)
        for op, of in OPERATIONS.items()
        for lookback, back in ((7, 0), (28, 28), (None, 0))
    ]
    + [
        feature("count", None, 28, where={"name": "a"}, empty=0.0),
        feature("count", None, 28, 7, where={"name": ("a", "b")}, empty=0.0),
        feature("last", "seats", None),
        feature("last", "name", None, words={"a": 1.0, "b": -2.5}),
        feature("in_state", "name", None, after=9),
        feature("in_state", "name", None, 7, after=30),
        feature("count", None, 28, quantities=(1.5, 8.0), empty=0.0),
    ]
)
TEST_ATTRIBUTES = (
    Attribute(name="word", description="", reads=("feature.used", "contract.started"), of="name"),
    Attribute(
        name="newest",
        description="",
        reads=("feature.used", "contract.started"),
        words={"feature.used": "used", "contract.started": "begun"},
    ),
)
CATALOGUE = swept(*TEST_FEATURES, words=TEST_ATTRIBUTES)


@settings(max_examples=150, deadline=None)  # compiling the kernel takes seconds the first time
@given(rows=timelines(accounts=ACCOUNTS[:2]))
def test_every_primitive_equals_its_reference(rows: list[Row]) -> None:
    if not rows:
        return
    frame = build_snapshots(frame_of(rows), AS_OFS, CATALOGUE, first_recorded=ALWAYS)
    of = {name: [row for row in rows if row[0].account_id == name] for name in ACCOUNTS[:2]}
    assert list(frame.select("account_id", "as_of").iter_rows()) == [
        (name, as_of) for name in sorted(of) for as_of in AS_OFS if known_since(of[name]) < as_of
    ]
    for row in frame.to_dicts():
        mine = of[row["account_id"]]
        for declared in TEST_FEATURES:
            expected = reference(mine, declared, row["as_of"])
            if expected is None:
                assert row[declared.name] is None, declared
            else:  # 1e-12: numbers of a few events, summed in another grouping
                assert row[declared.name] == pytest.approx(expected, rel=1e-12, abs=1e-12), declared
        for word in (*TEST_ATTRIBUTES, *ATTRIBUTES):
            assert row[word.name] == attribute_reference(mine, word, row["as_of"]), word


def test_a_crowded_account_equals_its_reference_whatever_order_its_events_come_in() -> None:
    """Hundreds of events, people and properties, seen from more cutoffs than a mask has bits."""
    rng = np.random.default_rng(4)
    first = AS_OFS[0] - 40 * DAY
    rows: list[Row] = []
    for number in range(400):
        occurred = first + timedelta(hours=int(rng.integers(0, 24 * 100)))
        rows.append(
            (
                Event(
                    event_id=f"event {rng.integers(10**9)} {number}",
                    account_id="one",
                    user_id=f"somebody by the name of {rng.integers(150)}",
                    kind="feature.used",
                    occurred_at=occurred,
                    recorded_at=occurred + int(rng.integers(0, 3)) * DAY,
                    event_count=int(rng.integers(1, 9)),
                    user_count=int(rng.integers(1, 90)),
                    quantity=float(rng.normal()),
                    properties=properties_text(
                        {"name": f"feature {rng.integers(60)}", "seats": int(rng.integers(1, 40))}
                    ),
                ),
                occurred + 20 * DAY if rng.random() < 0.1 else None,
            )
        )
    rows.sort(key=lambda row: row[0].occurred_at, reverse=True)
    moments = [first + 1.5 * n * DAY for n in range(70)]
    frame = build_snapshots(frame_of(rows), moments, CATALOGUE, first_recorded=ALWAYS)
    assert moments[64] in moments[4::12]  # the first that is in another mask
    for row in frame.filter(frame["as_of"].is_in(moments[4::12])).to_dicts():
        for declared in TEST_FEATURES:
            expected = reference(rows, declared, row["as_of"])
            # 1e-9: hundreds of numbers, summed in another order
            assert row[declared.name] == (
                None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-9)
            ), declared


def test_the_reference_can_tell_every_operation_apart() -> None:
    rows: list[Row] = [
        (
            Event(
                event_id=f"e{n}",
                account_id="one",
                user_id=f"u{n % 2}",
                kind="feature.used",
                occurred_at=AS_OFS[1] - timedelta(days=n + 8 * (n > 0) + 0.25),
                recorded_at=AS_OFS[1] - n * DAY - DAY / 8,
                event_count=n + 3,
                user_count=n + 7,
                quantity=float(n) - 0.5,
                properties=properties_text({"name": "abc"[n % 3], "renewal_on": "2024-12-31"}),
            ),
            None,
        )
        for n in range(5)
    ]
    values = {op: reference(rows, feature(op, of, 28), AS_OFS[1]) for op, of in OPERATIONS.items()}
    assert len(set(values.values())) >= len(values) - 2, values


def test_every_declared_primitive_has_an_operation_that_the_reference_knows() -> None:
    assert {f.aggregate.operation for f in load_catalogue().primitives} <= set(OPERATIONS)
