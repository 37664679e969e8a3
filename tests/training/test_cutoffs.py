from __future__ import annotations

from datetime import UTC, datetime

import pytest

from training.cutoffs import CutoffError, mature, month_starts


def test_both_ends_count_when_they_are_month_starts() -> None:
    starts = month_starts(datetime(2022, 2, 1, tzinfo=UTC), datetime(2023, 4, 1, tzinfo=UTC))
    assert len(starts) == 15
    assert starts[0].month == 2
    assert starts[-1] == datetime(2023, 4, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("days", "count"), [(30, 14), (60, 12), (90, 12), (180, 9), (365, 3)]
)
def test_mature_monthly_cutoffs_of_the_crm_sample(days: int, count: int) -> None:
    starts = month_starts(datetime(2022, 2, 1, tzinfo=UTC), datetime(2023, 4, 1, tzinfo=UTC))
    until = datetime(2023, 4, 1, tzinfo=UTC)
    assert len(mature(starts, horizon_days=days, lead_days=0, known_until=until)) == count


def test_a_lead_makes_cutoffs_mature_later() -> None:
    starts = month_starts(datetime(2022, 2, 1, tzinfo=UTC), datetime(2022, 4, 1, tzinfo=UTC))
    until = datetime(2022, 5, 1, tzinfo=UTC)
    assert len(mature(starts, horizon_days=30, lead_days=0, known_until=until)) == 3
    assert len(mature(starts, horizon_days=30, lead_days=1, known_until=until)) == 2


def test_a_bound_without_a_zone_is_refused() -> None:
    with pytest.raises(CutoffError, match="time zone"):
        month_starts(datetime(2022, 2, 1), datetime(2022, 4, 1, tzinfo=UTC))  # noqa: DTZ001
