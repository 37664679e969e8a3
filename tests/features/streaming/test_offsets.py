"""Messages of a stream: each counted once, its offset stored with its event."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from features.lake.lake import Lake
from features.streaming.offsets import (
    Message,
    StreamSummary,
    ingest_messages,
    read_offsets,
    stream_clock,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
GOOD = {"account_id": "a", "kind": "feature.used", "occurred_at": "2026-05-01T00:00:00Z"}


def message(offset: int, value: object = None, *, partition: int = 0, **changes: object) -> Message:
    content = value if isinstance(value, bytes) else json.dumps({**GOOD, **changes}).encode()
    return Message(topic="t", partition=partition, offset=offset, value=content)


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(tmp_path / "events")


def test_messages_land_together_with_how_far_they_were_read(lake):
    summary = ingest_messages(
        lake, [message(0, event_id="1"), message(7, event_id="2", partition=3)], group="g", now=NOW
    )
    assert summary == StreamSummary(read=2, landed=2)
    assert read_offsets(lake, "g") == {("t", 0): 1, ("t", 3): 8}
    assert read_offsets(lake, "other") == {}
    assert lake.sources["kafka.t"].rows == 2


def test_what_was_read_before_is_passed_over_even_without_an_id(lake):
    twins = [message(0), message(1)]
    ingest_messages(lake, twins, group="g", now=NOW)
    again = ingest_messages(lake, [*twins, message(2, event_id="3")], group="g", now=NOW)
    assert again == StreamSummary(read=3, landed=1, read_before=2)
    assert lake.scan().collect().height == 3
    assert ingest_messages(lake, twins, group="g", now=NOW) == StreamSummary(read=2, read_before=2)


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_equal_events_without_an_id_are_as_many_as_messages_wherever_a_batch_ends(lake, cut):
    sent = [message(n) for n in range(3)]
    ingest_messages(lake, sent[:cut], group="g", now=NOW)
    ingest_messages(lake, sent[cut:], group="g", now=NOW)
    assert ingest_messages(lake, sent, group="h", now=NOW).duplicates == 3
    assert lake.scan().collect()["event_id"].n_unique() == 3


def test_another_group_reads_from_the_beginning_and_an_id_is_still_known(lake):
    sent = [message(0, event_id="1")]
    ingest_messages(lake, sent, group="g", now=NOW)
    assert ingest_messages(lake, sent, group="h", now=NOW) == StreamSummary(read=1, duplicates=1)


MALFORMED = {
    "no JSON": (b"{", "is not JSON"),
    "no object": (b"[1]", "is not a JSON object"),
    "empty": (b"", "is not a JSON object"),
    "half a character": (b'{"account_id": "\\ud800"}', "holds text that is no Unicode"),
    "no account": (
        b'{"kind": "feature.used", "occurred_at": "2026-05-01T00:00:00Z"}',
        "account_id: field required",
    ),
    "bytes": (b"\xff\xfe\x00", "is not JSON"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_message_goes_to_quarantine_with_its_place(lake, name):
    value, reason = MALFORMED[name]
    messages = [message(4, event_id="1"), message(41, value, partition=2), message(5, event_id="2")]
    summary = ingest_messages(lake, messages, group="g", now=NOW)
    assert summary == StreamSummary(read=3, landed=2, quarantined=1)
    (row,) = lake.quarantined().collect().iter_rows(named=True)
    assert (row["source"], row["file"], row["line"]) == ("kafka", "t/2", 41)
    assert row["reason"] == reason
    assert read_offsets(lake, "g") == {("t", 0): 6, ("t", 2): 42}


def test_a_message_may_be_written_over_several_lines(lake):
    value = json.dumps(GOOD, indent=2).encode()
    assert ingest_messages(lake, [message(0, value), message(1, b"\n\n")], group="g", now=NOW) == (
        StreamSummary(read=2, landed=1, quarantined=1)
    )


def test_a_deleted_record_is_no_event_and_is_counted(lake):
    gone = Message(topic="t", partition=0, offset=0, value=None)
    assert ingest_messages(lake, [gone], group="g", now=NOW) == StreamSummary(read=1, quarantined=1)


def test_the_counts_of_a_batch_sum_to_its_messages(lake):
    sent = [
        message(0, event_id="1"),
        message(1, event_id="1"),
        message(2, b"{"),
        message(3, event_id="1", quantity=3, recorded_at="2026-05-20T00:00:00Z"),
        message(4, event_count=0),
    ]
    summary = ingest_messages(
        lake,
        [*sent, message(5, event_id="1", quantity=5, recorded_at="2026-05-10T00:00:00Z")],
        group="g",
        now=NOW,
    )
    counts = {name: count for name, count in vars(summary).items() if name != "read"}
    assert summary.read == 6 == sum(counts.values())
    assert (summary.quarantined, summary.left_out) == (1, 1)


def test_nothing_is_written_for_no_messages(lake):
    assert ingest_messages(lake, [], group="g", now=NOW) == StreamSummary()
    assert not lake.folder.exists()


def test_a_group_and_a_topic_may_have_points_and_dashes(lake):
    sent = Message(topic="crm.use-v2", partition=1, offset=2, value=json.dumps(GOOD).encode())
    ingest_messages(lake, [sent], group="keep.well-1", now=NOW)
    assert read_offsets(lake, "keep.well-1") == {("crm.use-v2", 1): 3}


def test_the_clock_of_a_stream_is_its_newest_moment(lake):
    assert stream_clock(lake) is None
    ingest_messages(
        lake,
        [
            message(0, recorded_at="2026-05-20T00:00:00Z"),
            message(1, recorded_at="2026-05-10T00:00:00Z"),
        ],
        group="g",
        now=NOW,
    )
    assert stream_clock(lake) == datetime(2026, 5, 20, tzinfo=UTC)


def test_a_summary_says_what_became_of_every_message():
    total = StreamSummary(read=3, landed=2, quarantined=1) + StreamSummary(read=1, read_before=1)
    assert total.line() == "4 messages: 2 landed + 1 quarantined + 1 read before"
    assert StreamSummary().line() == "0 messages: nothing"
