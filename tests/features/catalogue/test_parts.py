"""A count that is part of another is told as a share of it, where the numbers make one."""

from __future__ import annotations

import pytest

from features.catalogue.catalogue import load_catalogue
from features.catalogue.feature import Feature
from features.catalogue.parts import AFTER, LEAST_WHOLE, PART_OF, whole_of

CATALOGUE = load_catalogue(("cancel_meeting", "schedule_meeting", "search")).by_name

every_part = pytest.mark.parametrize("name", PART_OF)


@every_part
def test_both_counts_are_declared_and_of_one_theme(name):
    part, whole = CATALOGUE[name], CATALOGUE[PART_OF[name].feature]
    assert part.theme == whole.theme


@every_part
def test_a_share_says_both_numbers(name):
    said = PART_OF[name].share(1.0, 4.0)
    assert "25%" in said
    assert "4" in said


@every_part
def test_two_windows_are_not_mixed(name):
    part, whole = CATALOGUE[name], CATALOGUE[PART_OF[name].feature]
    if isinstance(part, Feature) and isinstance(whole, Feature):
        assert part.lookback == whole.lookback


def test_own_features_are_counted_beside_what_was_done_before():
    whole = whole_of("use_cancel_meeting_count_90d")
    assert whole.feature in CATALOGUE
    assert whole.share(9.0, 17.0) == "53% as often as schedule meeting"
    assert whole_of("use_search_count_28d") is None
    assert set(AFTER).isdisjoint(AFTER.values())


@pytest.mark.parametrize(
    ("part", "whole"), [(0, 9), (4, 3), (1, LEAST_WHOLE - 1), (1, float("nan")), (float("nan"), 3)]
)
def test_numbers_that_make_no_share_are_told_alone(part, whole):
    assert PART_OF["invoices_late_90d"].share(part, whole) == ""
