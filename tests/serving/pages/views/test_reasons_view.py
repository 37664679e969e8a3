from __future__ import annotations

import re
from dataclasses import replace

import pytest

from features.health.formula import FORMULAS
from features.health.score import score_health
from registry.outcomes import CHURN, EXPANSION
from registry.promotion.reason_evidence import FirstReasonRecord
from serving.pages.views.reasons_view import reasons_view, renewal_reasons_view
from serving.scoring.explanations import Evidence, Reason, Reasons

HEALTH = score_health(FORMULAS["balanced"], {})

ADOPTION = Reason(
    feature="seats_used_share_28d", theme="adoption", title="Adoption", text="Half of the seats",
    comparison=None, value=0.5, unit="ratio", points=6.0, points_unit="percentage points",
)  # fmt: skip


def said(reasons: Reasons) -> str:
    view = renewal_reasons_view(reasons, 0.24, CHURN, of="a")
    return re.sub("<[^>]+>", "", str(view.summary))


def test_the_reasons_of_a_renewal_start_at_a_contract_like_it() -> None:
    text = said(Reasons(signals=(ADOPTION,), start=17.0, rest=1.0, others=2))
    assert text.startswith("With a contract like this, an account that is average in everything")
    assert "a chance of 17%. What is listed here moves this one by +6.0 points, to 24%" in text


def test_where_nothing_is_listed_nothing_is_said_to_move() -> None:
    text = said(Reasons(start=17.0, rest=7.0, others=9))
    assert text.endswith("leaves at its renewal with a chance of 17%, and this one with 24%.")


def lines_of(points: float, *facts: float) -> list[tuple[str, str]]:
    evidence = tuple(
        Evidence(feature=f"f{i}", text=f"Fact {i}", comparison=None, value=1.0, unit="", points=one)
        for i, one in enumerate(facts)
    )
    reason = replace(ADOPTION, points=points, evidence=evidence)
    view = renewal_reasons_view(
        Reasons(signals=(reason,), start=17.0, rest=0.0), 0.24, CHURN, of="a"
    )
    return [(fact.text, fact.points) for fact in view.lists[0].lines[0].facts]


def test_facts_that_are_not_listed_are_summed_up_under_their_theme() -> None:
    assert lines_of(6.0, 1.5, 0.5)[2:] == [("Its other facts together", "+4.0 points")]
    assert len(lines_of(6.0, 5.0, 0.7)) == 2  # nearly all of it is listed
    assert len(lines_of(6.0)) == 0


@pytest.mark.parametrize(
    ("rest", "nothing"),
    [
        (0.05, "Nothing about this account stands out from the others."),
        (-1.5, "No single reason is listed: each is small, or past accounts do not bear it out."),
    ],
)
def test_where_no_reason_is_listed_it_is_said_and_nothing_moves_by_zero(rest, nothing) -> None:
    reasons = Reasons(start=2.2, rest=rest, others=6, base_rate=4.5)
    view = reasons_view(reasons, 0.007, EXPANSION, of="a", health=HEALTH)
    text = re.sub("<[^>]+>", "", str(view.summary))
    assert text.endswith("a few high chances raise it. This one has 0.7%.")
    assert view.nothing == nothing
    assert (
        reasons_view(
            replace(reasons, signals=(ADOPTION,)), 0.007, EXPANSION, of="a", health=HEALTH
        ).nothing
        == ""
    )


def test_what_takes_health_points_away_has_a_minus() -> None:
    lost = replace(ADOPTION, points=20.0, points_unit="health points")
    view = reasons_view(Reasons(signals=(lost,)), None, CHURN, of="a", health=HEALTH)
    assert view.lists[0].title == "What takes points away"
    assert view.lists[0].lines[0].points == "−20.0 health points"


@pytest.mark.parametrize(("outcome", "past"), [(CHURN, "left"), (EXPANSION, "expanded")])
def test_the_record_says_what_accounts_did_and_who_expected_how_many(outcome, past) -> None:
    record = FirstReasonRecord(accounts=75, came=5, expected=4.8)
    reasons = Reasons(signals=(replace(ADOPTION, record=record),), start=17.0, rest=0.0)
    [line] = reasons_view(reasons, 0.12, outcome, of="a", health=HEALTH).lists[0].lines
    assert line.record == (
        f"Of 75 past accounts with this as their first reason, 5 {past} within 90 days; the model "
        f"had expected 5"
    )


@pytest.mark.parametrize(("probability", "is_said"), [(0.13, False), (0.12, True), (0.03, False)])
def test_nothing_is_said_of_accounts_whose_chance_was_another(probability, is_said) -> None:
    record = FirstReasonRecord(accounts=75, came=5, expected=4.8)
    reasons = Reasons(signals=(replace(ADOPTION, record=record),), start=17.0, rest=0.0)
    [line] = reasons_view(reasons, probability, CHURN, of="a", health=HEALTH).lists[0].lines
    assert bool(line.record) == is_said


def test_where_what_is_listed_evens_out_it_moves_nothing() -> None:
    against = replace(ADOPTION, points=-6.02)
    text = said(Reasons(signals=(ADOPTION, against), start=17.0, rest=7.0))
    assert "17%. What is listed here evens out; with what is not listed this one has 24%. " in text
