"""The calendar of a world, and the worlds that are refused."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from experiments.simulation.settings import (
    LAST_ANCHOR,
    PRESETS,
    Calendar,
    WorldSettings,
    WorldSettingsError,
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accounts": 19}, "at least 20"),
        ({"months": 5}, "at least 6"),
        ({"starts_on": date(2024, 1, 2)}, "first of a month"),
        ({"opening_share": 1.1}, "opening_share=1.1"),
        ({"pilot_share": 0.6, "judgement_share": 0.5}, "add to more than 1"),
    ],
    ids=lambda value: str(value),
)
def test_a_world_that_can_not_be_is_refused(changes, message):
    with pytest.raises(WorldSettingsError, match=message):
        WorldSettings(**changes)


def test_every_anchor_day_exists_in_every_month():
    calendar = Calendar(starts_on=date(2023, 2, 1), months=26)
    for month in range(26):
        for anchor in (1, LAST_ANCHOR):
            day = int(calendar.day_of(month, anchor))
            assert calendar.date_of(day).day == anchor
            assert calendar.month_of(np.array([day]))[0] == month


def test_weekdays_are_those_of_the_dates():
    calendar = PRESETS["tiny"].calendar
    assert [calendar.date_of(day).weekday() for day in range(40)] == calendar.weekdays[:40].tolist()


def test_the_world_ends_where_its_last_month_ends():
    calendar = Calendar(starts_on=date(2024, 1, 1), months=14)
    assert calendar.ends_at.date() == date(2025, 3, 1)
    assert calendar.date_texts()[calendar.days] == "2025-03-01"
