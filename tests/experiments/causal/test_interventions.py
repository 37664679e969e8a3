from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from causal_worlds import event, frame

from experiments.causal.interventions import (
    assignments,
    choices,
    exposures,
    logged_interventions,
    mechanism_of,
    propose_designs,
)
from features.events.visibility import visible_events

MARCH = datetime(2025, 3, 1, tzinfo=UTC)
MAY = datetime(2025, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def decided(
    account: str,
    arm: str | None,
    propensity: float | None,
    *,
    at: datetime = MARCH,
    intervention: str | None = "calls",
) -> dict[str, object]:
    words = {
        "action": "success_call",
        "decision_id": f"d-{account}",
        "arm": arm,
        "intervention": intervention,
    }
    return event(
        account,
        "action.decided",
        at,
        propensity,
        **{name: word for name, word in words.items() if word is not None},
    )


def executed(
    account: str, *, at: datetime = MARCH + HOUR, intervention: str = "calls"
) -> dict[str, object]:
    return event(account, "action.executed", at, action="success_call", intervention=intervention)


def test_both_arms_with_chances_between_make_a_lottery() -> None:
    events = frame([decided("a", "treated", 0.4), decided("b", "control", 0.4), executed("a")])
    (found,) = logged_interventions(events)
    assert (found.name, found.action, found.mechanism) == ("calls", "success_call", "lottery")
    assert (found.n_decided, found.n_executed) == (2, 1)
    assert assignments(events)["is_treated"].to_list() == [True, False]


@pytest.mark.parametrize(
    "rows",
    [
        [decided("a", "treated", 0.4)],  # one arm only
        [decided("a", "treated", 1.0), decided("b", "control", 0.0)],  # certain
        [decided("a", "treated", None), decided("b", "control", None)],  # no chance logged
        [decided("a", "treated", 0.4), decided("b", "control", None)],  # mixed
        [executed("a")],
    ],
)
def test_anything_else_was_judgement(rows: list[dict[str, object]]) -> None:
    assert mechanism_of(assignments(frame(rows))) == "judgement"


def test_a_holdout_is_untreated_and_an_unnamed_arm_is_treated() -> None:
    found = assignments(
        frame(
            [decided("a", "holdout", 0.9), decided("b", None, 1.0), decided("c", "variant_b", 0.5)]
        )
    )
    assert found["is_treated"].to_list() == [False, True, True]


def test_a_decision_without_an_intervention_is_known_by_its_action() -> None:
    assert assignments(frame([decided("a", "treated", 1.0, intervention=None)]))[
        "intervention"
    ].to_list() == ["success_call"]


def test_an_identical_decision_counts_once() -> None:
    assert assignments(frame([decided("a", "treated", 0.5)] * 2)).height == 1


def test_what_was_not_recorded_yet_is_not_known() -> None:
    events = frame([executed("a"), executed("b", at=MAY)])
    assert exposures(visible_events(events, MAY))["account_id"].to_list() == ["a"]
    late = events.with_columns(
        pl.lit(MAY + HOUR).cast(pl.Datetime("us", "UTC")).alias("recorded_at")
    )
    assert visible_events(late, MAY).is_empty()


@pytest.mark.parametrize(("superseded", "height"), [(None, 1), (MAY, 1), (MAY - HOUR, 0)])
def test_a_corrected_event_counts_until_it_was_corrected(
    superseded: datetime | None, height: int
) -> None:
    events = frame([executed("a")]).with_columns(
        pl.lit(superseded, pl.Datetime("us", "UTC")).alias("superseded_at")
    )
    assert visible_events(events, MAY).height == height


def test_choices_are_decisions_where_they_were_logged() -> None:
    log = frame(
        [decided("a", "treated", None), decided("b", "control", None), executed("a"), executed("c")]
    )
    assert choices(assignments(log), exposures(log))["account_id"].to_list() == ["a"]
    done = frame([executed("a"), executed("c")])
    assert choices(assignments(done), exposures(done))["account_id"].to_list() == ["a", "c"]


def test_designs_follow_from_the_log_of_decisions_alone() -> None:
    april = datetime(2025, 4, 1, tzinfo=UTC)
    events = frame(
        [
            decided("a", "treated", 0.5),
            decided("b", "control", 0.5),
            executed("c", at=MARCH + 30 * HOUR, intervention="by hand"),
            decided("d", "treated", None, intervention="reviewed"),
            decided("e", "control", None, intervention="reviewed"),
        ]
    )
    by_hand, calls, reviewed = propose_designs(events, as_of=MAY, snapshots=[MARCH, april])
    assert (calls.mechanism, calls.estimand, calls.window_days) == ("lottery", "ITT", 0)
    assert (reviewed.mechanism, reviewed.window_days) == ("judgement", 0)
    assert (by_hand.mechanism, by_hand.estimand, by_hand.window_days) == ("judgement", "ATT", 7)
    assert by_hand.written_at is None
    assert by_hand.design_id == "by-hand-judgement-90d"


def test_no_log_proposes_nothing() -> None:
    assert propose_designs(frame([]), as_of=MAY, snapshots=[MARCH]) == ()
