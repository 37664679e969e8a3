"""The whole-frame ids are those of the reference in tests/parity, and the fingerprint has no order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
from content_id import content_id
from hypothesis import given, settings
from hypothesis import strategies as st

from features.events.schema import Event, events_frame
from features.lake.deduplication.ids import OWN, content_ids, fingerprint, with_first_ids
from features.lake.deduplication.row_keys import with_keys

START = datetime(2026, 3, 1, tzinfo=UTC)

events = st.builds(
    Event,
    account_id=st.sampled_from(["a", "b", "ü"]),
    user_id=st.sampled_from([None, "u"]),
    kind=st.just("feature.used"),
    occurred_at=st.sampled_from([START, START + timedelta(microseconds=5)]),
    recorded_at=st.sampled_from([START + timedelta(days=1), START + timedelta(days=2)]),
    event_count=st.integers(0, 3),
    quantity=st.none()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1e16, 1e15, 1e-3, 9e-4, 1e-5, 0.1, 5.0, -0.0, 123456789.123]),
    properties=st.sampled_from(["{}", '{"name":"search"}']),
)


@settings(deadline=None)
@given(made=st.lists(events, min_size=1, max_size=8), ordinal=st.integers(0, 12))
def test_ids_equal_the_ids_of_single_events(made, ordinal):
    ids = content_ids(events_frame(made), ordinal)
    assert ids.to_list() == [content_id(event, ordinal) for event in made]


def test_each_row_may_have_an_ordinal_of_its_own():
    event = Event(account_id="a", kind="feature.used", occurred_at=START, recorded_at=START)
    ids = content_ids(events_frame([event, event]), pl.Series([0, 1]))
    assert ids.to_list() == [content_id(event, 0), content_id(event, 1)]


def test_only_an_event_without_an_id_gets_one():
    plain = Event(account_id="a", kind="feature.used", occurred_at=START, recorded_at=START)
    mine = Event(
        event_id="mine", account_id="a", kind="feature.used", occurred_at=START, recorded_at=START
    )
    named = with_first_ids(events_frame([mine, plain]))
    assert named["event_id"].to_list() == ["mine", content_id(plain)]
    assert named[OWN].to_list() == [True, False]
    assert with_first_ids(events_frame([mine]))["event_id"].to_list() == ["mine"]
    assert with_first_ids(events_frame([plain]))["event_id"].to_list() == [content_id(plain)]


def keyed(made):
    return with_keys(with_first_ids(events_frame(made)))


@settings(deadline=None)
@given(st.lists(events, max_size=8), st.randoms())
def test_the_fingerprint_is_that_of_the_set(made, random):
    whole = keyed(made)
    order = list(range(whole.height))
    random.shuffle(order)
    assert fingerprint(whole) == fingerprint(whole[order])


def test_the_fingerprint_sees_content_id_and_the_moment_of_knowledge():
    event = Event(
        event_id="x", account_id="a", kind="feature.used", occurred_at=START, recorded_at=START
    )
    others = [
        Event(
            event_id="x",
            account_id="a",
            kind="feature.used",
            occurred_at=START,
            recorded_at=START + timedelta(microseconds=1),
        ),
        Event(
            event_id="x",
            account_id="a",
            kind="feature.used",
            occurred_at=START,
            recorded_at=START,
            quantity=0.0,
        ),
        Event(
            event_id="y", account_id="a", kind="feature.used", occurred_at=START, recorded_at=START
        ),
    ]
    assert len({fingerprint(keyed([e])) for e in (event, *others)}) == 4
    assert fingerprint(keyed([])) == 0
