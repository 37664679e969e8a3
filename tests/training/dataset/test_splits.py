from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.dataset.splits import SplitError, closed_by, newest, rolling_folds, time_split

START = datetime(2022, 2, 1, tzinfo=UTC)

gaps = st.lists(st.integers(1, 45), min_size=0, max_size=40)
reaches = st.integers(1, 200).map(lambda days: timedelta(days=days))


def cutoffs_of(days: list[int]) -> tuple[datetime, ...]:
    at, made = START, [START]
    for gap in days:
        at += timedelta(days=gap)
        made.append(at)
    return tuple(made)


@settings(deadline=None, max_examples=50)
@given(gaps, reaches)
def test_no_label_window_crosses_into_a_newer_part(days: list[int], reach: timedelta) -> None:
    try:
        split = time_split(cutoffs_of(days), reach=reach)
    except SplitError:
        return
    assert max(split.before_test) + reach <= min(split.test)


@settings(deadline=None, max_examples=50)
@given(gaps, reaches)
def test_every_cutoff_plays_exactly_one_part(days: list[int], reach: timedelta) -> None:
    cutoffs = cutoffs_of(days)
    try:
        split = time_split(cutoffs, reach=reach)
    except SplitError:
        return
    parts = [*split.before_test, *split.embargoed, *split.test]
    assert sorted(parts) == list(cutoffs)


@settings(deadline=None, max_examples=50)
@given(gaps, reaches, st.integers(1, 6))
def test_no_fold_learns_from_a_window_that_was_still_open(
    days: list[int], reach: timedelta, most: int
) -> None:
    cutoffs = cutoffs_of(days)
    held_out = newest(cutoffs, 0.5)
    folds = rolling_folds(cutoffs, held_out, reach=reach, most=most)
    assert len(folds) <= most
    for fold in folds:
        assert max(fold.train) + reach <= min(fold.held_out)
    scored = [at for fold in folds for at in fold.held_out]
    assert len(scored) == len(set(scored))


def test_twelve_months_at_ninety_days() -> None:
    months = tuple(datetime(2022 + i // 12, i % 12 + 1, 1, tzinfo=UTC) for i in range(1, 13))
    split = time_split(months, reach=timedelta(days=90))
    assert [at.month for at in split.test] == [11, 12, 1]
    assert [at.month for at in split.before_test] == [2, 3, 4, 5, 6, 7, 8]
    folds = rolling_folds(split.before_test, split.before_test[-3:], reach=timedelta(days=90))
    assert [[at.month for at in fold.train] for fold in folds] == [[2, 3], [2, 3, 4], [2, 3, 4, 5]]


def test_seven_months_are_enough_at_ninety_days() -> None:
    months = tuple(datetime(2022, month, 1, tzinfo=UTC) for month in range(1, 8))
    split = time_split(months, reach=timedelta(days=90))
    assert [at.month for at in split.before_test] == [1, 2, 3]
    assert [at.month for at in split.test] == [6, 7]
    with pytest.raises(SplitError, match=r"3 cutoffs must close .* and 1 do"):
        time_split(months[:-1], reach=timedelta(days=90))


def test_a_window_may_close_when_the_next_part_opens() -> None:
    assert closed_by((START,), START + timedelta(days=30), reach=timedelta(days=30)) == (START,)
    assert closed_by((START,), START + timedelta(days=29), reach=timedelta(days=30)) == ()


@pytest.mark.parametrize("months", [0, 1, 5], ids=["no cutoffs", "one", "five at 90 days"])
def test_too_few_cutoffs_say_what_to_do(months: int) -> None:
    cutoffs = cutoffs_of([30] * (months - 1)) if months else ()
    with pytest.raises(SplitError, match=r"mature cutoff.*keepwell snapshot"):
        time_split(cutoffs, reach=timedelta(days=90))


def test_cutoffs_out_of_order_are_refused() -> None:
    with pytest.raises(SplitError, match="in order, each once"):
        time_split((START, START), reach=timedelta(days=30))
