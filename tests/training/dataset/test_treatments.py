from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from features.events.schema import UTC_INSTANT, events_frame
from registry.bundle.untreated_risk import NO_LOG, UntreatedRisk
from training.dataset.labels import cohort_rows, label_named, label_rows
from training.dataset.training_set import build_training_set
from training.dataset.treatments import treated_rows, treated_section, treated_shares, treatment_log

NAMES = {"signal_28d": "1"}


def executed(timelines, account: str, day: str, action: str = "call", *, known: str | None = None):
    return timelines.event(account, "action.executed", day, recorded=known, action=action)


def decided(timelines, account: str, day: str, arm: str | None, propensity: float | None = None):
    arms = {} if arm is None else {"arm": arm}
    return timelines.event(account, "action.decided", day, propensity, action="call", **arms)


@pytest.fixture
def treated(timelines):
    """Rows of 2 January 2024: a leaves after 18 days, b after 39, c and d stay."""

    def of(*events, superseded=()):
        contracts = timelines(
            *((account, "contract.started", "2023-11-01", 100.0) for account in "abcd"),
            ("a", "contract.cancelled", "2024-01-20"),
            ("b", "contract.cancelled", "2024-02-10"),
        )
        label = label_named("churn")
        as_of, until = timelines.at("2024-01-02"), timelines.at("2024-06-01")
        labelled = label_rows(
            label, contracts, cohort_rows(label, contracts, (as_of,)), known_until=until
        )
        training = build_training_set(
            labelled, lambda rows: rows.with_columns(signal_28d=0.5), NAMES
        )
        frame = events_frame(list(events)).with_columns(
            pl.Series("superseded_at", superseded or [None] * len(events), dtype=UTC_INSTANT)
        )
        log = treatment_log(frame, until)
        return training, treated_rows(training, labelled, log)

    return of


def test_a_touch_counts_from_the_cutoff_to_the_outcome(treated, timelines) -> None:
    training, rows = treated(
        executed(timelines, "a", "2024-01-20"),  # on the day it left: too late
        executed(timelines, "b", "2024-01-02"),  # at the cutoff itself
        executed(timelines, "c", "2024-01-01"),  # before it: history
        executed(timelines, "d", "2024-03-01"),
    )
    assert training.accounts == ("a", "b", "c", "d")
    assert rows.outcome_days.tolist() == [18, 39, np.inf, np.inf]
    assert rows.treated_days.tolist() == [18, 0, np.inf, 59]
    assert rows.treated_within(30).tolist() == [False, True, False, False]
    assert rows.treated_within(59).tolist() == [False, True, False, False]  # half-open
    assert rows.treated_within(60).tolist() == [False, True, False, True]


def test_shares_tell_lost_from_kept_and_name_the_actions(treated, timelines) -> None:
    training, rows = treated(
        executed(timelines, "b", "2024-01-05", "call"),
        executed(timelines, "b", "2024-01-06", "mail"),
        executed(timelines, "d", "2024-03-01", "mail"),
    )
    shares = treated_shares(training, rows, {180: np.array([1.0, 1.0, np.nan, np.nan])})
    thirty, ninety, far = shares[30], shares[90], shares[180]
    assert (thirty.rows, thirty.treated, thirty.with_outcome, thirty.treated_with_outcome) == (
        4,
        1,
        1,
        0,
    )  # b leaves later than in 30 days, and was treated
    assert (ninety.treated, ninety.treated_with_outcome) == (2, 1)
    assert dict(ninety.actions) == {"call": 1, "mail": 1}
    assert (far.rows, far.treated) == (2, 1)  # rows that are not decided are left out
    assert "2 of 4 labels (50.0%)" in ninety.sentence
    assert "1 of 2 with the outcome, 1 of 2 without" in ninety.sentence


def test_what_was_learned_later_than_the_training_is_not_seen(treated, timelines) -> None:
    _, rows = treated(executed(timelines, "d", "2024-03-01", known="2024-07-01"))
    assert np.isinf(rows.treated_days).all()


def test_a_logged_arm_is_a_touch_and_a_recommendation_is_none(treated, timelines) -> None:
    _, rows = treated(
        decided(timelines, "a", "2024-01-05", "treated", 0.5),
        decided(timelines, "b", "2024-01-05", "treated"),
        decided(timelines, "c", "2024-01-05", None, 1.0),
        decided(timelines, "d", "2024-01-05", "control", 0.25),
    )
    assert rows.treated_days.tolist() == [3, 3, np.inf, np.inf]
    assert rows.by_chance.tolist() == [True, False, False, False]
    assert rows.control_row.tolist() == [3]
    assert rows.control_days.tolist() == [3]
    assert rows.control_chance.tolist() == [0.25]


def test_the_past_of_a_row_is_what_was_recorded_before_it(treated, timelines) -> None:
    _, rows = treated(
        executed(timelines, "a", "2023-12-23"),
        executed(timelines, "b", "2023-12-23", known="2024-01-03"),
        decided(timelines, "c", "2023-12-13", "control", 0.5),
    )
    assert rows.days_since_treatment[0] == 10
    assert np.isnan(rows.days_since_treatment[1:]).all()
    assert rows.days_since_choice[[0, 2]].tolist() == [10, 20]


def test_what_was_corrected_after_the_cutoff_was_known_at_it(treated, timelines) -> None:
    """A call of 23 December is moved, on the day of ``corrected``, to the day before that."""
    for corrected, since, touched_on in (
        ("2024-01-10", 10, 7),
        ("2024-01-02", 10, np.inf),
        ("2024-01-01", 2, np.inf),
    ):
        old = executed(timelines, "a", "2023-12-23")
        day = timelines.at(corrected) - timedelta(days=1)
        new = replace(old, occurred_at=day, recorded_at=timelines.at(corrected))
        _, rows = treated(old, new, superseded=[new.recorded_at, None])
        assert rows.days_since_treatment[0] == since
        assert rows.days_since_choice[0] == since
        assert rows.treated_days[0] == touched_on


def test_the_card_counts_touched_labels_or_says_that_none_is_logged(treated, timelines) -> None:
    training, rows = treated(executed(timelines, "b", "2024-01-05"))
    some = treated_shares(training, rows, {})
    untreated = UntreatedRisk(
        shares=some,
        shift=None,
        not_known=dict.fromkeys(some, "Too few."),
        drawn_share=0.0,
        effective_accounts=0.0,
    )
    card = treated_section(untreated)
    assert "| 90 days | 4 | 1 (25.0%) | 2 | 1 | 2 | 0 |" in card
    assert "Risk if nobody acts: not known. Too few." in card
    training, rows = treated()
    none = treated_shares(training, rows, {})
    card = treated_section(
        UntreatedRisk(
            shares=none,
            shift=None,
            not_known=dict.fromkeys(none, NO_LOG),
            drawn_share=0.0,
            effective_accounts=0.0,
        )
    )
    assert NO_LOG in card
