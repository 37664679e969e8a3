from __future__ import annotations

from datetime import UTC, datetime

import pytest

from features.compute.backfill import month_starts
from training.dataset.cutoffs import first_of_months, mature, reach_of

UNTIL = datetime(2023, 4, 1, tzinfo=UTC)
MONTHS = month_starts(datetime(2022, 2, 1, tzinfo=UTC), UNTIL)


@pytest.mark.parametrize(("days", "count"), [(30, 14), (60, 12), (90, 12), (180, 9), (365, 3)])
def test_mature_monthly_cutoffs_of_the_crm_sample(days: int, count: int) -> None:
    reach = reach_of(days, lead_days=0)
    assert len(mature(MONTHS, reach=reach, known_until=UNTIL)) == count


def test_a_lead_makes_cutoffs_mature_later() -> None:
    until = datetime(2022, 5, 1, tzinfo=UTC)
    counts = [
        len(mature(MONTHS, reach=reach_of(30, lead_days=lead), known_until=until))
        for lead in (0, 1)
    ]
    assert counts == [3, 2]


def test_cutoffs_come_in_order_and_once() -> None:
    twice = (*reversed(MONTHS), *MONTHS)
    assert mature(twice, reach=reach_of(30, lead_days=0), known_until=UNTIL) == MONTHS[:14]


def test_a_month_gives_one_cutoff_however_often_it_was_looked_at() -> None:
    days = tuple(datetime(2022, 3, day, tzinfo=UTC) for day in (25, 4, 11, 18))
    assert first_of_months((*MONTHS, *days)) == MONTHS
    assert first_of_months(days) == (datetime(2022, 3, 4, tzinfo=UTC),)
