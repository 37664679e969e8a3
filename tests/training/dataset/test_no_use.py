"""The label of companies without contracts: no order within so many days after the cutoff."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.leaving import Leaving
from features.workspace import Workspace
from registry.outcomes import CHURN, churn_of
from training.dataset.labels import (
    Label,
    LabelError,
    cohort_rows,
    label_in,
    label_named,
    label_of,
    label_rows,
)

NO_ORDER = label_of(churn_of(Leaving(means="no_use", days=90, used_within_days=100)))
CUTOFF, CLOSES = "2024-06-01", "2024-08-30"

CASES = {
    "ordered in time": ([("2024-05-01", None), ("2024-07-01", None)], False),
    "never again": ([("2024-05-01", None)], True),
    "when the window opens": ([("2024-05-01", None), ("2024-06-01", None)], False),
    "just before it closes": ([("2024-05-01", None), ("2024-08-29T23:59:59", None)], False),
    "when it closes": ([("2024-05-01", None), ("2024-08-30", None)], True),
    "too long ago": ([("2024-02-21T23:59:59", None)], "not in the cohort"),
    "just in the cohort": ([("2024-02-22", None)], True),
    "first order after the cutoff": ([("2024-06-01", None)], "not in the cohort"),
    "order before the cutoff that was not known": (
        [("2024-05-31", "2024-06-02")],
        "not in the cohort",
    ),
    "a late order before the cutoff says nothing of the time after": (
        [("2024-05-01", None), ("2024-05-31", "2024-06-02")],
        True,
    ),
    "known late, ordered in time": ([("2024-05-01", None), ("2024-08-01", "2024-12-01")], False),
    "known after the end of the data": (
        [("2024-05-01", None), ("2024-08-01", "2025-07-01")],
        True,
    ),
}


def orders(timelines, days):
    """Orders of account "a": (occurred, recorded or None for at once)."""
    frame = timelines(*(("a", "order.placed", occurred, 10.0) for occurred, _ in days))
    recorded = [timelines.at(at if late is None else late) for at, late in days]
    return frame.with_columns(pl.Series("recorded_at", recorded, dtype=frame["recorded_at"].dtype))


def decide(events, *, at, until="2025-06-01", label=NO_ORDER):
    rows = cohort_rows(label, events, (at(CUTOFF),))
    if rows.is_empty():
        return "not in the cohort"
    labelled = label_rows(label, events, rows, known_until=at(until))
    value = labelled.frame["churn_90d"][0]
    return value if value is not None else next(iter(labelled.excluded[90]))


@pytest.mark.parametrize("case", CASES)
def test_no_order_within_the_days_after_the_cutoff(timelines, case):
    days, expected = CASES[case]
    assert decide(orders(timelines, days), at=timelines.at) == expected


def test_a_window_that_is_still_open_is_not_decided_even_where_somebody_ordered(timelines):
    events = orders(timelines, [("2024-05-01", None), ("2024-06-02", None)])
    assert decide(events, at=timelines.at, until=CLOSES) is False
    assert decide(events, at=timelines.at, until="2024-08-29T23:59:59") == "immature"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-200, 200), min_size=1, max_size=8))
def test_it_is_no_order_counted_by_hand(timelines, days_apart):
    cutoff = timelines.at(CUTOFF)
    days = [(cutoff + timedelta(days=n)).isoformat() for n in sorted(days_apart)]
    found = decide(orders(timelines, [(day, None) for day in days]), at=timelines.at)
    in_cohort = any(-100 <= n < 0 for n in days_apart)
    left = not any(0 <= n < 90 for n in days_apart)
    assert found == (left if in_cohort else "not in the cohort")


def test_orders_of_others_and_other_use_do_not_count(timelines):
    at = timelines.at
    events = timelines(
        ("a", "order.placed", "2024-05-01"),
        ("a", "feature.used", "2024-07-01"),
        ("b", "order.placed", "2024-07-01"),
    )
    assert decide(events, at=at) is True
    both = label_of(churn_of(Leaving(means="no_use", kinds=("order.placed", "feature.used"))))
    assert decide(events, at=at, label=both) is False


def test_the_workspace_says_what_leaving_means(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.change_settings(capacity=20)
    assert label_in(workspace.settings, "churn") == label_named("churn") == label_of(CHURN)
    workspace.change_settings(leaving=Leaving(means="no_use", days=60))
    label = label_in(workspace.settings, "churn")
    assert (label.rule, label.horizons, label.reads) == ("no_use", (60,), ("order.placed",))
    assert label.policy["used_within_days"] == 365
    assert label_in(workspace.settings, "expansion") == label_named("expansion")
    assert "used_within_days" not in label_named("churn").policy  # as models hold it already


def test_several_horizons_would_contradict_each_other():
    with pytest.raises(LabelError, match="has one horizon: no use in 90 days is rarer"):
        Label(name="x", description="", rule="no_use", horizons=(30, 90), use_kinds=("a",))
    with pytest.raises(LabelError, match="does not say which kinds of event are use"):
        Label(name="x", description="", rule="no_use", horizons=(90,))
