from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from features.catalogue.catalogue import load_catalogue
from features.health.formula import FORMULAS
from serving.scoring.explanations import PEER_KINDS, PeerGroup, Peers
from serving.scoring.reasons.choice import choose_reasons
from serving.scoring.reasons.facts import ExplainedRows, Facts
from serving.scoring.reasons.in_words import ReasonedRows, UsualValues

CATALOGUE = load_catalogue().by_name
EVERYBODY = PEER_KINDS[-1]
ON_A_PLAN = next(kind for kind in PEER_KINDS if kind.where == "on this plan")


def reasons(facts, usual, *, base_rate=0.05, start=0.05):
    """The reasons of one row: by fact its percentage points and value, and what is usual."""
    made = Facts.of(tuple(facts), CATALOGUE, FORMULAS["balanced"])
    points = np.array([[share / 100 for share, _ in facts.values()]])
    rows = ExplainedRows(
        facts=made,
        points=points,
        by_theme=points @ made.in_theme,
        start=np.array([start]),
        total=points.sum(axis=1),
        values=np.array([[value for _, value in facts.values()]], float),
        age=np.array([900.0]),
    )
    chosen = choose_reasons(rows, np.array([[usual.get(name, np.nan) for name in facts]]))
    similar = (PeerGroup(where="on this plan", medians=usual),)
    return ReasonedRows(chosen=chosen, catalogue=CATALOGUE, base_rate=base_rate).reasons(0, similar)


def test_a_reason_is_its_theme_with_the_facts_under_it():
    found = reasons(
        {
            "errors_7d": (4.0, 14.0),
            "errors_28d": (3.0, 40.0),
            "error_rate_7d": (0.5, 0.3),
            "error_days_28d": (-1.0, 0.0),
        },
        {"errors_7d": 2.0, "errors_28d": 8.0, "error_rate_7d": 0.01, "error_days_28d": 1.0},
    )
    [reason] = found.levers
    assert reason.sentence == ("Reliability: 14 errors in the last 7 days; 2 is usual on this plan")
    assert reason.points == pytest.approx(6.5)
    assert [(one.feature, round(one.points, 9)) for one in reason.evidence] == [
        ("errors_7d", 4.0),
        ("error_rate_7d", 0.5),  # errors of another window are the same fact
    ]
    assert reason.also == ("30.0% of uses failed in the last 7 days",)


def test_a_count_is_told_with_its_share_of_the_count_that_it_is_part_of():
    facts = {"invoices_late_90d": (4.0, 2.0), "invoices_issued_90d": (0.0, 3.0)}
    usual = {"invoices_late_90d": 0.0, "invoices_issued_90d": 3.0}
    [reason] = reasons(facts, usual).every
    assert reason.text == "2 invoices late in the last 90 days, 67% of the 3 issued"
    facts["invoices_issued_90d"] = (0.0, float("nan"))
    assert reasons(facts, usual).every[0].text == "2 invoices late in the last 90 days"


def test_a_fact_that_is_next_to_nothing_of_its_theme_is_not_shown():
    usual = {"errors_7d": 2.0, "error_rate_7d": 0.01}
    facts = {"errors_7d": (9.6, 14.0), "error_rate_7d": (0.4, 0.3)}
    assert [one.feature for one in reasons(facts, usual).levers[0].evidence] == ["errors_7d"]


def test_start_rest_and_points_sum_to_the_probability():
    found = reasons(
        {"errors_7d": (4.0, 14.0), "nps_last": (2.0, 10.0), "seats": (-1.0, 3.0)},
        {"errors_7d": 2.0, "nps_last": 8.0, "seats": 9.0},
    )
    assert found.others == 1  # a high number of recommendations cannot raise it
    assert found.rest == pytest.approx(2.0)
    assert found.start + found.rest + sum(r.points for r in found.every) == pytest.approx(10.0)


def test_reasons_are_in_the_list_of_the_fact_that_leads_them():
    found = reasons(
        {"errors_7d": (4.0, 14.0), "nps_last": (2.0, 3.0), "seats": (-1.0, 3.0)},
        {"errors_7d": 2.0, "nps_last": 8.0, "seats": 9.0},
    )
    assert [r.theme for r in found.levers] == ["reliability"]
    assert [r.theme for r in found.signals] == ["sentiment"]
    assert [r.theme for r in found.context] == ["contract"]
    assert [r.theme for r in found.every] == ["reliability", "sentiment", "contract"]


@pytest.mark.parametrize(
    ("start", "points", "stands_out"),
    [(0.01, 0.9, False), (0.01, 1.1, True), (0.06, 0.9, True)],
    ids=["below the base rate, under a point", "a point", "above the base rate"],
)
def test_below_the_base_rate_less_than_a_point_is_nothing(start, points, stands_out):
    found = reasons({"errors_7d": (points, 14.0)}, {"errors_7d": 2.0}, start=start)
    assert (found.foremost is not None) == stands_out


def test_what_keeps_an_account_does_not_stand_out_but_speaks_for_staying():
    found = reasons({"errors_7d": (-0.3, 0.0)}, {"errors_7d": 2.0}, start=0.01)
    assert found.foremost is None
    assert found.against is not None
    assert found.against.text == "No errors in the last 7 days"


def test_nothing_speaks_for_staying_where_leaving_is_usual_or_something_stands_out():
    usual = {"errors_7d": 2.0, "nps_last": 8.0}
    assert reasons({"errors_7d": (-0.3, 0.0)}, usual, start=0.2).against is None
    facts = {"errors_7d": (-3.0, 0.0), "nps_last": (1.2, 3.0)}
    assert reasons(facts, usual, start=0.03).against is None


def test_what_is_usual_is_of_the_first_group_that_knows_it():
    peers = Peers(
        groups={
            ON_A_PLAN: {("pro",): {"seats": 5.0}},
            EVERYBODY: {(): {"seats": 9.0, "errors_7d": 2.0}},
        }
    )
    usual = UsualValues(
        names=("seats", "errors_7d", "nps_last", "mrr"), peers=peers, otherwise={"nps_last": 8.0}
    )
    frame = pl.DataFrame({"price_plan": ["pro", "free", None, "pro"]})
    groups = usual.groups(frame)
    assert groups == [0, 1, 2, 0]
    np.testing.assert_array_equal(
        usual.medians(groups),
        [[5, 2, 8, np.nan], [9, 2, 8, np.nan], [9, 2, 8, np.nan], [5, 2, 8, np.nan]],
    )
    assert [group.where for group in usual.of_group(0)] == ["on this plan", "among all accounts"]
    nowhere = UsualValues(names=("seats",), peers=Peers(groups={}), otherwise={})
    assert np.isnan(nowhere.medians(nowhere.groups(pl.DataFrame({"a": [1]})))).all()
