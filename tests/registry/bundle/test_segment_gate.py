"""The switch between a model and what answers instead: slow to change, and never on one look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.bundle.segment_gate import (
    EVERYONE,
    TO_RETURN,
    TO_WITHHOLD,
    Look,
    SegmentState,
    SegmentSwitch,
    SegmentSwitchError,
    read_switch,
    segment_key,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
SMALL = segment_key("small")

findings = st.lists(st.sampled_from(["worse", "better", "unclear"]), max_size=40)


def month(number: int) -> datetime:
    return START + timedelta(days=30 * number)


def look(finding: str, number: int) -> Look:
    return Look(finding=finding, known_to=month(number), because=f"look {number}")


def states(found: list[str]) -> list[SegmentState]:
    state, every = SegmentState(), []
    for number, finding in enumerate(found):
        state = state.after(look(finding, number), at=month(number))
        every.append(state)
    return every


def expected(found: list[str]) -> list[bool]:
    """The same law, said slowly: the last looks are all of one kind, since the last change."""
    withheld, changed, told = False, 0, []
    for end in range(1, len(found) + 1):
        needed, finding = (TO_RETURN, "better") if withheld else (TO_WITHHOLD, "worse")
        last = found[max(changed, end - needed) : end]
        if len(last) == needed and set(last) == {finding}:
            withheld, changed = not withheld, end
        told.append(withheld)
    return told


@given(findings)
def test_it_changes_exactly_after_enough_looks_in_a_row(found):
    assert [state.withheld for state in states(found)] == expected(found)


@given(findings)
def test_two_changes_are_never_nearer_than_the_looks_they_need(found):
    told = [False, *(state.withheld for state in states(found))]
    changes = [n for n in range(1, len(told)) if told[n] != told[n - 1]]
    for earlier, later in pairwise(changes):
        assert later - earlier >= (TO_RETURN if told[earlier] else TO_WITHHOLD)


@given(findings, st.integers(1, 5))
def test_looking_again_at_the_same_outcomes_changes_nothing(found, times):
    state = SegmentState()
    for number, finding in enumerate(found):
        once = state.after(look(finding, number), at=month(number))
        state = once
        for _ in range(times):
            state = state.after(look(finding, number), at=month(number + 5))
            state = state.after(look("worse", number - 1), at=month(number + 5))
        assert state == once


def test_one_look_is_not_enough_and_an_unclear_one_starts_over():
    assert [s.withheld for s in states(["worse", "unclear", "worse", "worse"])] == [
        False,
        False,
        False,
        True,
    ]


def test_what_changed_it_is_kept_and_said():
    switch = SegmentSwitch()
    for number in range(TO_WITHHOLD):
        switch = switch.looked("model-1", {SMALL: look("worse", number)}, at=month(number))
    assert switch.withheld("model-1") == {
        SMALL: "for accounts of segment small the model is withheld since 2026-01-31: look 1"
    }


def test_another_model_starts_afresh_and_a_rollback_finds_what_was_known():
    switch = SegmentSwitch()
    for number in range(TO_WITHHOLD):
        switch = switch.looked("old", {SMALL: look("worse", number)}, at=month(number))
    switch = switch.looked("new", {SMALL: look("worse", 9)}, at=month(9))
    assert switch.withheld("new") == {}
    assert list(switch.withheld("old")) == [SMALL]


def test_a_segment_that_was_not_looked_at_keeps_its_state():
    switch = SegmentSwitch()
    for number in range(TO_WITHHOLD):
        switch = switch.looked("m", {SMALL: look("worse", number)}, at=month(number))
    switch = switch.looked("m", {EVERYONE: look("better", 7)}, at=month(7))
    assert list(switch.withheld("m")) == [SMALL]


@given(findings)
def test_a_file_holds_all_of_it(tmp_path_factory, found):
    switch = SegmentSwitch()
    for number, finding in enumerate(found):
        switch = switch.looked(
            "m", {SMALL: look(finding, number), EVERYONE: look("worse", number)}, at=month(number)
        )
    file = tmp_path_factory.mktemp("switch") / "segments.json"
    file.write_text(switch.text(), encoding="utf-8")
    assert read_switch(file) == switch


def test_without_a_file_every_model_answers(tmp_path):
    assert read_switch(tmp_path / "segments.json").withheld("m") == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"kind": "something", "version": 1, "models": {}}',
        '{"kind": "keepwell-segment-switch", "version": 2, "models": {}}',
        '{"kind": "keepwell-segment-switch", "version": 1, "models": {"m": {"everyone": {}}}}',
        '{"kind": "keepwell-segment-switch", "version": 1, "models": {"m": {"everyone": '
        '{"withheld": true, "looks": 0, "known_to": null, "since": null, "because": ""}}}}',
    ],
    ids=["empty", "cut off", "a list", "another kind", "another version", "no state", "no moment"],
)
def test_a_file_that_says_something_else_is_refused(tmp_path, text):
    file = tmp_path / "segments.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SegmentSwitchError, match=r"segments.json does not say which segments"):
        read_switch(file)
