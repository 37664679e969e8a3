"""Who decides about whom: lotteries that anybody can repeat, judgement that sees no secret."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.effects.belief import EFFECT_HORIZON_DAYS
from experiments.simulation.interventions import (
    PROGRAMMES,
    REST_DAYS,
    ObservedAccounts,
    draw_half,
    is_in_group,
    judgement_propensity,
)
from features.catalogue.catalogue import load_catalogue
from features.compute.snapshots import build_snapshots
from registry.playbook.playbook import load_playbook

IDS = [f"a_{index:05d}" for index in range(40)]

every_programme = pytest.mark.parametrize("programme", PROGRAMMES, ids=lambda p: p.name)


def observed(**changes: float) -> ObservedAccounts:
    usual = {
        "use": 0.11,
        "trend": 1.0,
        "severe_tickets": 0,
        "silence_days": 20,
        "days_to_renewal": 30,
        "age_days": 200,
    }
    return ObservedAccounts(
        **{name: np.array([value]) for name, value in (usual | changes).items()}
    )


@every_programme
def test_the_action_of_a_programme_is_one_of_the_playbook(programme):
    assert programme.action in load_playbook().by_id


@every_programme
def test_every_programme_decides_in_a_small_world(small, programme):
    rows = small.truth.decisions.filter(pl.col("intervention") == programme.name)
    assert rows.height > 100
    assert 0.3 < (rows["arm"] == "treated").mean() < 0.7


@given(st.sets(st.integers(0, 39), min_size=2))
def test_a_lottery_draws_half_and_says_so_exactly(eligible):
    rows = np.array(sorted(eligible))
    drawn, share = draw_half(IDS, rows, "a design", 3)
    assert drawn.sum() == len(rows) // 2
    assert share == float(Fraction(int(drawn.sum()), len(rows)))
    back, _ = draw_half(IDS, rows[::-1], "a design", 3)
    assert (back[::-1] == drawn).all()  # the order does not matter


def test_another_design_or_month_draws_others():
    everyone = np.arange(40)
    draws = {
        tuple(draw_half(IDS, everyone, f"design {number % 10}", number)[0]) for number in range(20)
    }
    assert len(draws) == 20


@pytest.mark.parametrize(
    ("changes", "worse"),
    [
        ({"use": 0.05}, True),
        ({"use": 0.25}, False),
        ({"severe_tickets": 2}, True),
        ({"silence_days": 80}, True),
        ({"trend": 0.5}, True),
        ({"trend": 1.5}, False),
    ],
    ids=str,
)
def test_what_looks_bad_is_picked_more_often(changes, worse):
    usual, changed = observed(), observed(**changes)
    assert (changed.looks_bad() > usual.looks_bad()).item() is worse
    assert (judgement_propensity(changed) > judgement_propensity(usual)).item() is worse


@pytest.mark.parametrize("use", [0.0, 0.01, 0.5, 2.0])
def test_nobody_is_sure_to_be_picked_or_left_out(use):
    assert 0.04 <= judgement_propensity(observed(use=use)).item() <= 0.92


@pytest.mark.parametrize(
    ("group", "changes", "inside"),
    [
        ("onboarding", {"age_days": 3}, False),
        ("onboarding", {"age_days": 4}, True),
        ("onboarding", {"age_days": 45}, True),
        ("onboarding", {"age_days": 46}, False),
        ("settled", {"age_days": 56}, False),
        ("settled", {"age_days": 57}, True),
        ("runway", {"days_to_renewal": 90}, True),
        ("runway", {"days_to_renewal": 91}, False),
        ("at_risk", {"use": 0.05}, True),
        ("at_risk", {"use": 0.3}, False),
    ],
    ids=str,
)
def test_a_group_has_sharp_edges(group, changes, inside):
    assert is_in_group(group, observed(**changes)).item() is inside


def test_an_account_rests_until_the_effect_of_its_last_decision_is_over(small):
    gaps = (
        small.truth.decisions.sort("account_id", "decided_at")
        .select(pl.col("decided_at").diff().over("account_id").dt.total_days())
        .to_series()
        .drop_nulls()
    )
    assert len(gaps) > 100
    assert gaps.min() > REST_DAYS >= EFFECT_HORIZON_DAYS


def test_decisions_are_on_the_timeline_as_they_were_made(small):
    decided = small.events.filter(pl.col("kind") == "action.decided").with_columns(
        pl.col("properties").str.json_path_match(f"$.{name}").alias(name)
        for name in ("decision_id", "intervention", "arm", "action")
    )
    truth = small.truth.decisions
    both = decided.join(truth, on="decision_id", suffix="_true")
    assert both.height == truth.height == decided.height
    assert (both["arm"] == both["arm_true"]).all()
    assert (both["account_id"] == both["account_id_true"]).all()
    drawn = both["assignment"] == "lottery"
    assert np.allclose(both.filter(drawn)["quantity"], both.filter(drawn)["propensity"])
    assert both.filter(~drawn)["quantity"].null_count() == (~drawn).sum()
    executed = small.events.filter(pl.col("kind") == "action.executed").height
    assert executed == truth["executed"].sum()


@pytest.mark.parametrize("name", [p.name for p in PROGRAMMES if p.assignment == "lottery"])
def test_not_everybody_receives_what_was_drawn(small, name):
    rows = small.truth.decisions.filter(pl.col("intervention") == name)
    programme = next(p for p in PROGRAMMES if p.name == name)
    for arm, share in (("treated", programme.carried_out), ("control", programme.leaks)):
        received = rows.filter(pl.col("arm") == arm)["executed"]
        error = np.sqrt(max(share * (1 - share), 1e-12) / len(received))
        assert abs(received.mean() - share) <= 4 * error + 1e-9  # four standard errors


def test_what_a_csm_saw_is_in_the_snapshot_of_that_morning(small):
    some = pl.col("account_id").is_in(small.truth.accounts["account_id"].head(200).implode())
    decisions, events = small.truth.decisions.filter(some), small.events.filter(some)
    mornings = decisions["decided_at"].unique().to_list()
    first = dict(small.events.group_by("kind").agg(pl.col("recorded_at").min()).rows())
    snapshots = build_snapshots(events, mornings, load_catalogue(), first_recorded=first)
    both = decisions.join(
        snapshots, left_on=["account_id", "decided_at"], right_on=["account_id", "as_of"]
    )
    assert both.height == decisions.height
    assert np.allclose(both["use"], both["daily_users_28d"] / both["seats"])
    assert (both["severe_tickets"] == both["severe_tickets_28d"]).all()
    assert np.allclose(both["days_to_renewal"], both["days_to_renewal_right"])
    assert np.allclose(both["mrr_at_decision"], both["mrr"])
    touched = both.filter(pl.col("days_since_sponsor_touch").is_not_null())
    assert touched.height > 100
    gap = touched["silence_days"] - touched["days_since_sponsor_touch"]
    assert gap.is_between(0, 1).all()  # a CSM counts whole days
