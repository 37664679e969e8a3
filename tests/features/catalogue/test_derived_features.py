"""What the formulas of derived features say in cases that a person can check by hand."""

from __future__ import annotations

import polars as pl
import pytest

from features.catalogue.catalogue import load_catalogue
from features.catalogue.feature import Derived


def value(name: str, **inputs: float | None) -> float | None:
    """The value of a derived feature; inputs that are not given are unknown."""
    feature = load_catalogue().feature(name)
    assert isinstance(feature, Derived)
    assert set(inputs) <= set(feature.inputs), name
    row = pl.DataFrame(
        {each: [inputs.get(each)] for each in feature.inputs},
        schema=dict.fromkeys(feature.inputs, pl.Float64),
    )
    return row.select(feature.formula(*map(pl.col, feature.inputs)).cast(pl.Float64)).item()


MONTHS = ("units_used_28d", "units_used_prior_28d", "units_used_back_2m_28d")
LIMITS = ("unit_limit", "unit_limit_28d_ago", "unit_limit_56d_ago")


@pytest.mark.parametrize(
    ("used", "limits", "months"),
    [
        ((110, 110, 110), (100, 100, 100), 3),
        ((110, 110, 90), (100, 100, 100), 2),
        ((110, 90, 110), (100, 100, 100), 1),
        ((90, 110, 110), (100, 100, 100), 0),
        ((100, 110, 110), (100, 100, 100), 0),  # at the limit is not over it
        ((110, 110, 110), (200, 100, 100), 0),  # the limit of its time counts: it was raised
        ((110, 110, 110), (100, None, None), 1),  # no contract was known then
        ((110, 110, 110), (None, 100, 100), None),
        ((None, 110, 110), (100, 100, 100), None),
    ],
)
def test_overage_is_counted_in_months_in_a_row_by_the_limits_of_their_time(
    used,
    limits,
    months,
) -> None:
    inputs = dict(zip(MONTHS + LIMITS, used + limits, strict=True))
    assert value("overage_months", **inputs) == months


@pytest.mark.parametrize(
    ("steps", "since_step", "age", "hours"),
    [
        (2, 4.0, 10, 24.0),  # 96 hours without a step
        (2, 3.0, 10, 0.0),
        (0, None, 5, 48.0),  # no step at all: the clock began at the start
        (5, 9.0, 20, 0.0),  # done
        (2, 30.0, 46, 0.0),  # too old to be in onboarding
        (None, None, 10, None),  # nobody tells of steps
    ],
)
def test_a_stall_is_what_goes_beyond_72_hours_while_the_onboarding_is_open(
    steps,
    since_step,
    age,
    hours,
) -> None:
    assert (
        value(
            "onboarding_stall_hours",
            onboarding_steps_done=steps,
            account_age_days=age,
            days_since_onboarding_step=since_step,
        )
        == hours
    )


def test_outcomes_of_day_7_count_what_came_in_time_and_stay_as_they_were() -> None:
    for age in (7, 8, 400):
        assert (
            value(
                "onboarding_day7_outcomes",
                account_age_days=age,
                onboarding_steps_done=3,
                days_to_first_sso=2.0,
                days_to_first_integration=7.0,
                days_to_first_data_set=7.5,
            )
            == 2
        )
    assert (
        value(
            "onboarding_day7_outcomes",
            account_age_days=6.9,
            onboarding_steps_done=3,
            days_to_first_sso=2.0,
        )
        is None
    )
    assert value("onboarding_day7_outcomes", account_age_days=9, days_to_first_sso=2.0) is None


def test_sponsor_silence_is_broken_by_a_touch_or_a_session() -> None:
    assert (
        value("sponsor_silence_days", days_since_sponsor_touch=40.0, days_since_sponsor_session=3.0)
        == 3
    )
    assert value("sponsor_silence_days", days_since_sponsor_touch=40.0) == 40
    assert value("sponsor_silence_days") is None


@pytest.mark.parametrize(
    ("name", "inputs", "expected"),
    [
        ("features_unused_7d", {"features_used_28d": 9.0, "features_used_7d": 4.0}, 5.0),
        ("features_new_28d", {"features_used_count": 9.0, "features_used_28d_ago_count": 7.0}, 2.0),
        ("login_gap_days_90d", {"session_days_90d": 45.0}, 2.0),
        ("login_gap_days_90d", {"session_days_90d": 0.0}, None),
        ("login_silence", {"days_since_login": 10.0, "login_gap_days_90d": 2.0}, 5.0),
        ("errors_over_p95_1d", {"errors_1d": 12.0, "errors_p95_28d": 9.0}, 3.0),
        ("errors_over_p95_1d", {"errors_1d": 2.0, "errors_p95_28d": 9.0}, 0.0),
        ("days_to_notice", {"days_to_renewal": 70.0, "notice_days": 60.0}, 10.0),
        ("days_to_notice", {"days_to_renewal": 70.0}, None),
        ("trial_days_left", {"trial_age_days": 10.0}, 4.0),
        ("trial_days_left", {"trial_age_days": 10.0, "trial_length_days": 28.0}, 18.0),
        ("champions", {"champions_joined_count": 1.0, "champions_left_count": 2.0}, 0.0),
        ("incidents_open", {"incidents_opened_count": 4.0, "incidents_resolved_count": 3.0}, 1.0),
        ("resolved_at_once_90d", {"tickets_reopened_90d": 1.0, "tickets_resolved_90d": 4.0}, 0.75),
        ("resolved_at_once_90d", {"tickets_reopened_90d": 0.0, "tickets_resolved_90d": 0.0}, None),
    ],
)
def test_a_derived_feature_says_what_its_description_says(name, inputs, expected) -> None:
    assert value(name, **inputs) == expected
