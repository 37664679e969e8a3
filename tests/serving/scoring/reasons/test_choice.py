from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from features.catalogue.catalogue import load_catalogue
from features.health.formula import FORMULAS
from registry.promotion.reason_evidence import ReasonEvidence, SideEvidence
from serving.scoring.reasons.choice import MOST_AWAY, MOST_TOWARD, choose_reasons
from serving.scoring.reasons.facts import ExplainedRows, Facts
from serving.scoring.score import NONE

CATALOGUE = load_catalogue(("report",)).by_name
NAN = float("nan")


def rows(
    facts: dict[str, tuple[float, float]], *, age: float = 900.0, of_leaving: bool = True
) -> ExplainedRows:
    """One row: by fact its percentage points and its value."""
    made = Facts.of(tuple(facts), CATALOGUE, FORMULAS["balanced"], of_leaving=of_leaving)
    points = np.array([[share / 100 for share, _ in facts.values()]])
    by_theme = points @ made.in_theme
    return ExplainedRows(
        facts=made,
        points=points,
        by_theme=by_theme,
        start=np.array([0.05]),
        total=by_theme.sum(axis=1),
        values=np.array([[value for _, value in facts.values()]]),
        age=np.array([age]),
    )


def chosen(
    facts: dict[str, tuple[float, float]],
    usual: dict[str, float] | None = None,
    *,
    evidence: ReasonEvidence | None = None,
    **how,
) -> list[tuple[str, float]]:
    """The leading fact of each reason and its points, in order."""
    row = rows(facts, **how)
    middles = np.array([[(usual or {}).get(name, NAN) for name in facts]])
    found = choose_reasons(row, middles, evidence)
    return [
        (row.facts.names[fact], round(float(points), 9))
        for fact, points in zip(found.leading[0], found.points[0], strict=True)
        if fact != NONE
    ]


@pytest.mark.parametrize(
    ("name", "value", "usual", "points", "is_told"),
    [
        ("nps_last", 4.0, 8.0, 3.0, True),
        ("nps_last", 4.0, 8.0, -3.0, False),  # in green on a critical account
        ("nps_last", 9.0, 8.0, -3.0, True),
        ("nps_last", 9.0, 8.0, 3.0, False),
        ("nps_last", 8.0, 8.0, 3.0, False),
        ("nps_last", 8.2, 8.0, -3.0, False),  # reads the same
        ("invoices_unpaid", 1.0, 0.0, 3.0, True),
        ("invoices_unpaid", 1.0, 0.0, -3.0, False),
        ("nps_last", NAN, 8.0, 3.0, False),
        ("nps_last", 4.0, NAN, 3.0, False),  # nobody knows what is usual
        ("seats", 4.0, 8.0, 3.0, True),  # no direction is declared
        ("seats", 4.0, 8.0, -3.0, True),
        ("seats", 8.0, 8.0, 3.0, False),
        ("seats", 4.0, NAN, 3.0, True),
        ("days_to_renewal", 8.0, 8.0, 3.0, True),  # no date is usual
    ],
)
def test_a_fact_is_a_reason_where_it_points_the_way_it_is_declared(
    name, value, usual, points, is_told
):
    assert bool(chosen({name: (points, value)}, {name: usual})) == is_told


def test_directions_are_of_leaving_alone():
    assert not chosen({"sessions_7d": (3.0, 90.0)}, {"sessions_7d": 10.0})
    assert chosen({"sessions_7d": (3.0, 90.0)}, {"sessions_7d": 10.0}, of_leaving=False)


def test_a_theme_is_one_net_number_that_its_largest_agreeing_fact_says():
    facts = {
        "errors_7d": (4.0, 14.0),
        "errors_28d": (3.0, 40.0),
        "error_days_28d": (-2.0, 0.0),
        "nps_last": (1.0, 4.0),
    }
    usual = {"errors_7d": 2.0, "errors_28d": 8.0, "error_days_28d": 1.0, "nps_last": 8.0}
    assert chosen(facts, usual) == [("errors_7d", 5.0), ("nps_last", 1.0)]


def test_a_theme_whose_agreeing_facts_carry_less_than_half_of_it_is_no_reason():
    usual = {"errors_7d": 2.0, "errors_28d": 8.0}
    backwards = {"errors_7d": (1.1, 14.0), "errors_28d": (1.0, 0.0)}
    assert chosen(backwards, usual) == [("errors_7d", 2.1)]
    assert chosen(backwards | {"errors_28d": (1.2, 0.0)}, usual) == []


def test_what_is_less_than_a_twentieth_of_the_way_is_no_reason():
    usual = {"errors_7d": 2.0, "nps_last": 8.0}
    assert len(chosen({"errors_7d": (19.0, 9.0), "nps_last": (1.01, 4.0)}, usual)) == 2
    assert len(chosen({"errors_7d": (19.0, 9.0), "nps_last": (0.99, 4.0)}, usual)) == 1


def test_a_trend_needs_an_account_that_was_there_before():
    facts, usual = {"use_trend_28d": (2.0, 0.2)}, {"use_trend_28d": 0.9}
    assert not chosen(facts, usual, age=55.0)
    assert chosen(facts, usual, age=56.0)
    assert chosen(facts, usual, age=NAN)


def test_four_toward_the_outcome_and_three_away_from_it_largest_first():
    names = (
        "errors_7d", "tickets_28d", "nps_last", "invoices_unpaid", "days_since_login",
        "seats", "milestones_overdue", "sponsor_silence_days", "features_unused_28d",
    )  # fmt: skip
    facts = {name: (1.0 + n / 10, 5.0) for n, name in enumerate(names)}
    usual = dict.fromkeys(names, 1.0) | {"nps_last": 8.0}
    toward = chosen(facts, usual)
    assert len(toward) == MOST_TOWARD
    assert [points for _, points in toward] == [1.8, 1.7, 1.6, 1.5]
    away = {name: (-points, 1.0) for name, (points, _) in facts.items()}
    found = chosen(away, dict.fromkeys(names, 5.0) | {"nps_last": 0.0})
    assert len(found) == MOST_AWAY
    assert [points for _, points in found] == [-1.8, -1.7, -1.6]
    both = chosen({**facts, "seats": (-9.0, 5.0)}, usual)
    assert [points > 0 for _, points in both] == [True] * 4 + [False]


def test_what_is_not_told_is_counted():
    row = rows({"errors_7d": (3.0, 14.0), "nps_last": (2.0, 9.0), "seats": (0.01, 3.0)})
    found = choose_reasons(row, np.array([[2.0, 8.0, 9.0]]))
    assert found.n_other.tolist() == [1]  # what they say; a hundredth of a point is nothing


def side(came: float) -> SideEvidence:
    return SideEvidence(accounts=200.0, came=came, expected=20.0, same_sign=1.0)


def test_a_theme_or_fact_that_did_not_earn_its_place_is_left_out():
    facts = {"errors_7d": (3.0, 14.0), "error_rate_7d": (2.5, 0.3), "nps_last": (2.0, 4.0)}
    usual = {"errors_7d": 2.0, "error_rate_7d": 0.01, "nps_last": 8.0}
    evidence = ReasonEvidence(refits=20, themes={}, features={}, first={})
    assert chosen(facts, usual, evidence=evidence) == chosen(facts, usual)
    more, as_many = (side(40.0), None), (side(20.0), None)
    no_theme = replace(evidence, themes={"reliability": as_many, "sentiment": more})
    assert chosen(facts, usual, evidence=no_theme) == [("nps_last", 2.0)]
    no_fact = replace(evidence, features={"errors_7d": as_many})
    assert chosen({**facts, "errors_7d": (2.0, 14.0)}, usual, evidence=no_fact) == [
        ("error_rate_7d", 4.5),
        ("nps_last", 2.0),
    ]
