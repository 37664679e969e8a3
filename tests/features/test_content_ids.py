"""The whole-frame ids are those of ``telemetry.content_id``, and the fingerprint has no order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from features.content_ids import fingerprint, with_ids
from features.telemetry import Event, content_id, events_frame

START = datetime(2026, 3, 1, tzinfo=UTC)

events = st.builds(
    Event,
    account_id=st.sampled_from(["a", "b", "ü"]),
    user_id=st.sampled_from([None, "u"]),
    kind=st.just("feature.used"),
    occurred_at=st.sampled_from([START, START + timedelta(microseconds=5)]),
    recorded_at=st.sampled_from([START + timedelta(days=1), START + timedelta(days=2)]),
    event_count=st.integers(0, 3),
    quantity=st.none() | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1e16, 0.1, 5.0]),
    properties=st.sampled_from(["{}", '{"name":"search"}']),
)


@given(st.lists(events, max_size=8))
def test_ids_equal_the_ids_of_single_events(made):
    keyed = with_ids(events_frame(made))
    seen: dict[str, int] = {}
    for event, event_id in zip(made, keyed["event_id"], strict=True):
        ordinal = seen.get(content_id(event), 0)
        seen[content_id(event)] = ordinal + 1
        assert event_id == content_id(event, ordinal)


def test_equal_rows_of_one_frame_are_two_events():
    event = Event(account_id="a", kind="feature.used", occurred_at=START, recorded_at=START)
    assert with_ids(events_frame([event, event]))["event_id"].n_unique() == 2


def test_an_id_that_was_given_stays():
    event = Event(event_id="mine", account_id="a", kind="feature.used", occurred_at=START,
                  recorded_at=START)
    assert with_ids(events_frame([event]))["event_id"].to_list() == ["mine"]


@given(st.lists(events, max_size=8), st.randoms())
def test_the_fingerprint_is_that_of_the_set(made, random):
    keyed = with_ids(events_frame(made))
    order = list(range(keyed.height))
    random.shuffle(order)
    assert fingerprint(keyed) == fingerprint(keyed[order])


def test_the_fingerprint_sees_content_and_the_moment_of_knowledge():
    event = Event(account_id="a", kind="feature.used", occurred_at=START, recorded_at=START)
    later = Event(account_id="a", kind="feature.used", occurred_at=START,
                  recorded_at=START + timedelta(microseconds=1))
    other = Event(account_id="a", kind="feature.used", occurred_at=START, recorded_at=START,
                  quantity=0.0)
    prints = {fingerprint(with_ids(events_frame([e]))) for e in (event, later, other)}
    assert len(prints) == 3
    assert fingerprint(with_ids(pl.DataFrame(schema=events_frame([]).schema))) == 0
