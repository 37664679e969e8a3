from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.store.champion_log import ChampionRecord, chain, next_record, read_records
from registry.store.store import ChampionChange

AT = datetime(2026, 1, 1, tzinfo=UTC)


def change(version, how="promoted"):
    return ChampionChange(version=version, how=how, by="ann", at=AT, evidence={"gain": 0.1})


def versions(records):
    return [record.change.version for record in records]


def test_a_record_survives_its_tag():
    record = ChampionRecord(number=12, follows=7, change=change(3, "rolled back"))
    tags = {3: {record.key: record.text, "keepwell.fingerprint": "abc"}, 4: {}}
    assert read_records(tags) == (record,)
    assert record.key == "keepwell.champion.000012"


def test_the_first_record_follows_none():
    assert next_record((), None, change(1)) == ChampionRecord(number=1, follows=0, change=change(1))


def test_without_a_champion_nothing_has_happened():
    interrupted = next_record((), None, change(1))
    assert chain((interrupted,), None) == ()


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from(["moved", "killed before the move"])),
        max_size=12,
    )
)
def test_only_changes_whose_move_was_made_have_happened(steps):
    """Against a plain list: what a process that died before the move wrote never counts.

    Naming the champion again is excepted: with or without the move the state is the same.
    """
    records, champion, truth = (), None, []
    for version, fate in steps:
        if version == champion:
            continue
        records = (*records, next_record(records, champion, change(version)))
        if fate == "moved":
            champion = version
            truth.append(version)
    assert versions(chain(records, champion)) == truth


@pytest.mark.parametrize("follows", [5, 6, 99])
def test_records_that_run_in_a_circle_end(follows):
    records = (
        ChampionRecord(number=5, follows=follows, change=change(1)),
        ChampionRecord(number=6, follows=5, change=change(2)),
    )
    assert versions(chain(records, 2)) == [1, 2]
