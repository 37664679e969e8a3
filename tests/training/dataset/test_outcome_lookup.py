"""What became of single accounts is what the label says of the rows of a training."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from small_company import event

from features.events.schema import events_frame
from features.lake.lake import Lake
from training.dataset.labels import cohort_rows, label_named, label_rows
from training.dataset.outcome_lookup import look_up_outcomes

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
CHURN = label_named("churn")


@pytest.fixture
def events(tmp_path):
    """stays; leaves on day 60 before the end; back within the grace; back after it; pauses."""
    told = [
        event(name, "contract.started", 400, quantity=100.0, price_plan="starter")
        for name in ("stays", "leaves", "back", "later", "pauses")
    ]
    told += [
        event("leaves", "contract.cancelled", 60),
        event("back", "contract.cancelled", 60),
        event("back", "contract.started", 45, quantity=90.0, price_plan="starter"),
        event("later", "contract.cancelled", 100),
        event("later", "contract.started", 50, quantity=90.0, price_plan="starter"),
        event("pauses", "contract.paused", 70),
    ]
    lake = Lake(tmp_path / "events")
    lake.append(events_frame(told), source="hand", file="hand", now=AS_OF)
    return lake.scan().collect()


@pytest.mark.parametrize(
    ("account", "days_ago", "left"),
    [
        ("stays", 120, False),
        ("leaves", 120, True),
        ("back", 120, False),
        ("later", 120, True),
        ("leaves", 40, None),  # had left before
        ("pauses", 120, None),  # may come back yet
        ("stays", 89, None),  # the horizon is not over
        ("stays", 90, False),
        ("nobody", 120, False),
    ],
)
def test_what_became_of_an_account_is_the_label(events, account, days_ago, left):
    moment = (account, AS_OF - days_ago * DAY)
    assert look_up_outcomes(CHURN, 90, [moment], events, known_until=AS_OF) == {moment: left}


def test_it_is_the_label_of_every_row_of_a_cohort(events):
    cutoffs = tuple(AS_OF - days * DAY for days in range(100, 300, 7))
    rows = cohort_rows(CHURN, events, cutoffs)
    labelled = label_rows(CHURN, events, rows, known_until=AS_OF).frame
    expected = {
        (account, as_of): left
        for account, as_of, left in labelled.select("account_id", "as_of", "churn_90d").iter_rows()
    }
    assert len(expected) > 100
    assert look_up_outcomes(CHURN, 90, expected, events, known_until=AS_OF) == expected


def test_nothing_asked_is_nothing_answered(events):
    assert look_up_outcomes(CHURN, 90, [], events, known_until=AS_OF) == {}
