from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from causal_worlds import event, frame
from hypothesis import given
from hypothesis import strategies as st

from experiments.causal.outcomes import DAYS_A_MONTH, add_outcomes, contract_states, state_at

START = datetime(2025, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def day(number: float) -> datetime:
    return START + number * DAY


def outcome(
    rows: list[dict[str, object]], *, start: float, horizon: int = 90, lag: float = 0
) -> dict[str, object]:
    trials = pl.DataFrame(
        {"account_id": ["a"], "start": [day(start)], "followed_from": [day(start + lag)]}
    ).with_columns(pl.col("start", "followed_from").cast(pl.Datetime("us", "UTC")))
    found = add_outcomes(trials, contract_states(frame(rows)), horizon=horizon * DAY)
    return found.to_dicts()[0]


def began(at: float = 0, mrr: float = 100.0) -> dict[str, object]:
    return event("a", "contract.started", day(at), mrr)


def ended(at: float) -> dict[str, object]:
    return event("a", "contract.cancelled", day(at))


@pytest.mark.parametrize(
    ("end", "churn"),
    [
        (50.0, 1.0),  # just at the start of the follow-up: still a customer then
        (51.0, 1.0),
        (139.99, 1.0),
        (140.0, 0.0),  # the follow-up is half-open: [50, 140)
        (200.0, 0.0),
    ],
)
def test_churn_is_a_contract_that_ends_in_the_follow_up(end: float, churn: float) -> None:
    found = outcome([began(), ended(end)], start=50)
    assert found["is_customer"]
    assert found["churn"] == churn


def test_who_left_before_was_no_customer() -> None:
    assert not outcome([began(), ended(49.99)], start=50)["is_customer"]
    assert not outcome([began(60)], start=50)["is_customer"]


def test_leaving_before_the_follow_up_begins_is_told_apart() -> None:
    found = outcome([began(), ended(52)], start=50, lag=7)
    assert (found["was_customer"], found["is_customer"]) == (True, False)


def test_who_comes_back_before_the_end_has_stayed_but_paid_less() -> None:
    found = outcome([began(), ended(60), began(70)], start=50)
    assert found["churn"] == 0.0
    assert found["revenue"] == pytest.approx(100 * 80 / DAYS_A_MONTH)


def test_a_pause_is_not_churn_and_pays_nothing() -> None:
    found = outcome([began(), event("a", "contract.paused", day(80))], start=50)
    assert (found["churn"], found["mrr_after"]) == (0.0, 0.0)
    assert found["revenue"] == pytest.approx(100 * 30 / DAYS_A_MONTH)


def test_resuming_without_terms_resumes_the_old_price() -> None:
    rows = [
        began(),
        event("a", "contract.paused", day(60)),
        event("a", "contract.resumed", day(70)),
    ]
    assert outcome(rows, start=50)["mrr_after"] == 100.0


def test_revenue_follows_every_change() -> None:
    rows = [began(), event("a", "contract.changed", day(80), 300.0), ended(110)]
    found = outcome(rows, start=50)
    assert found["revenue"] == pytest.approx((100 * 30 + 300 * 30) / DAYS_A_MONTH)
    assert (found["mrr_before"], found["mrr_after"]) == (100.0, 0.0)


def test_an_end_and_a_new_start_at_one_instant_go_on() -> None:
    found = outcome([began(), began(70, 150.0), ended(70)], start=50)
    assert (found["churn"], found["mrr_after"]) == (0.0, 150.0)


def test_the_past_is_as_long_as_the_follow_up_or_unknown() -> None:
    rows = [began(), event("a", "contract.renewed", day(30), 200.0)]
    assert outcome(rows, start=100)["past_revenue"] == pytest.approx(
        (100 * 20 + 200 * 70) / DAYS_A_MONTH
    )
    assert outcome(rows, start=80)["past_revenue"] is None


moments = st.lists(
    st.tuples(
        st.integers(0, 300),
        st.sampled_from(
            ["contract.started", "contract.changed", "contract.cancelled", "contract.paused"]
        ),
        st.integers(1, 9),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda item: item[0],
)


@given(history=moments, start=st.integers(0, 200))
def test_revenue_equals_a_sum_day_by_day(history: list[tuple[int, str, int]], start: int) -> None:
    rows = [event("a", kind, day(at), float(mrr)) for at, kind, mrr in history]
    found = outcome(rows, start=start)
    total = 0.0
    for number in range(start, start + 90):
        before = [item for item in sorted(history) if item[0] <= number]
        if before and before[-1][1] in ("contract.started", "contract.changed"):
            total += before[-1][2]
    if min(item[0] for item in history) < start:  # before its first contract nothing is known
        assert found["revenue"] == pytest.approx(total / DAYS_A_MONTH)


def test_the_state_is_that_of_just_before() -> None:
    asked = pl.DataFrame(
        {"account_id": ["a", "a", "b"], "at": [day(10), day(10.001), day(20)]}
    ).with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")))
    states = contract_states(frame([began(), event("a", "contract.changed", day(10), 50.0)]))
    assert state_at(asked, states, at="at", name="now")["now_mrr"].to_list() == [100.0, 50.0, None]
