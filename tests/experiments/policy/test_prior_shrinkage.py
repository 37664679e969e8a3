"""How far the playbook is believed, by what came true of its promises."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from experiments.effects.action_effect import ActionEffect
from experiments.effects.belief import MeasuredEffects, mix_belief
from experiments.policy.prior_shrinkage import (
    DEVIATION,
    FAR,
    LEAST_SHARE,
    NO_SHRINKAGE,
    SHARED,
    estimate_shrinkage,
    shrinkage_for,
)
from experiments.policy.recommend import AccountState, Limits, recommend
from registry.playbook.playbook import load_playbook

AS_OF = datetime(2026, 3, 2, 10, tzinfo=UTC)
BOOK = load_playbook()
ON_CHURN = [a for a in BOOK.actions if a.prior.outcome == "churn" and a.prior.mean > 0]
STATE = AccountState(
    account_id="a1",
    as_of=AS_OF,
    mrr=20_000.0,
    score_source="model",
    churn_probability=0.2,
    health_score=31.0,
    attributes={"contract_status": "active", "segment": "smb"},
    features={},
)


def effect(action, estimate, *, error=0.002, risk=0.1, **more) -> ActionEffect:
    return ActionEffect(
        **{
            "action_id": action.id,
            "segment": None,
            "estimate": estimate,
            "standard_error": error,
            "n": 8000,
            "effective_n": 4000.0,
            "grade": "A",
            "measured_from": AS_OF,
            "measured_to": AS_OF,
            "source": "A lottery.",
            "outcome": "retention",
            "horizon_days": 90,
            "low": estimate - 2 * error,
            "high": estimate + 2 * error,
            "why": "Drawn by lot.",
            "untouched_risk": risk,
            **more,
        }
    )


def nothing_came_true(actions) -> MeasuredEffects:
    return MeasuredEffects(effects=tuple(effect(action, 0.0) for action in actions))


def all_came_true(actions) -> MeasuredEffects:
    return MeasuredEffects(effects=tuple(effect(a, 0.1 * a.prior.mean) for a in actions))


def test_without_a_measurement_the_playbook_is_taken_at_its_word() -> None:
    assert estimate_shrinkage(MeasuredEffects(), BOOK) is NO_SHRINKAGE
    assert NO_SHRINKAGE.of("success_call") == 1.0


def test_kept_promises_leave_it_believed_and_broken_ones_do_not() -> None:
    some = ON_CHURN[:6]
    assert estimate_shrinkage(all_came_true(some), BOOK).share == pytest.approx(1.0)
    broken = estimate_shrinkage(nothing_came_true(some), BOOK)
    assert broken.share < 0.4
    assert broken.measured == 6
    more = estimate_shrinkage(nothing_came_true(ON_CHURN[:12]), BOOK)
    assert more.share < broken.share


@given(st.lists(st.tuples(st.floats(-0.05, 0.05), st.floats(1e-3, 0.03)), min_size=1, max_size=8))
def test_the_share_is_the_mean_of_a_normal_posterior(measured) -> None:
    """By inverting the whole matrix of what the actions' errors have in common."""
    counted = [
        (action, effect(action, estimate, error=error))
        for action, (estimate, error) in zip(ON_CHURN, measured, strict=False)
        if action.prior.deviation**2
        >= LEAST_SHARE * (action.prior.deviation**2 + (error / 0.1) ** 2)
    ]
    assume(counted)
    effects = [one for _, one in counted]
    promised, deviation = np.array([[a.prior.mean, a.prior.deviation] for a, _ in counted]).T
    error = np.array([one.standard_error for one in effects]) / 0.1
    total = error**2 + deviation**2
    off = (np.array([one.estimate for one in effects]) / 0.1 - promised) / np.sqrt(total)
    seen = promised + np.clip(off, -FAR, FAR) * np.sqrt(total)
    known = np.linalg.inv(np.diag(total - SHARED * error**2) + SHARED * np.outer(error, error))
    mean = (DEVIATION**-2 + promised @ known @ seen) / (DEVIATION**-2 + promised @ known @ promised)
    found = estimate_shrinkage(MeasuredEffects(effects=tuple(effects)), BOOK).share
    assert found == pytest.approx(np.clip(mean, 0, 1), abs=1e-9)


def test_what_was_measured_of_an_action_does_not_count_twice() -> None:
    some = ON_CHURN[:3]
    all_three = estimate_shrinkage(nothing_came_true(some), BOOK)
    for action in some:
        others = estimate_shrinkage(nothing_came_true([a for a in some if a is not action]), BOOK)
        assert all_three.of(action.id) == pytest.approx(others.share)
        assert all_three.of(action.id) > all_three.share
    assert all_three.of("another") == all_three.share


def test_one_action_that_does_great_harm_does_not_undo_the_others() -> None:
    some = ON_CHURN[:6]
    harmful = replace(all_came_true(some).effects[0], estimate=-0.09, low=-0.1, high=-0.08)
    worst = replace(harmful, estimate=-0.9, low=-1.0, high=-0.8)
    rest = all_came_true(some).effects[1:]
    found = estimate_shrinkage(MeasuredEffects(effects=(harmful, *rest)), BOOK)
    assert 0.3 < found.share < 1
    assert estimate_shrinkage(MeasuredEffects(effects=(worst, *rest)), BOOK).share == pytest.approx(
        found.share
    )


@given(st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=8), st.floats(1e-4, 0.2))
def test_the_share_lies_between_nothing_and_all(estimates, error) -> None:
    found = estimate_shrinkage(
        MeasuredEffects(
            effects=tuple(
                effect(action, estimate, error=error)
                for action, estimate in zip(ON_CHURN, estimates, strict=False)
            )
        ),
        BOOK,
    )
    assert 0 <= found.share <= 1
    assert all(0 <= found.of(a.id) <= 1 for a in ON_CHURN)


@given(st.floats(-0.5, 0.5), st.floats(1e-3, 0.2))
def test_what_hardly_counts_for_its_own_action_says_nothing_of_the_others(estimate, error) -> None:
    measured = effect(ON_CHURN[0], estimate, error=error, grade="C")
    own = mix_belief(ON_CHURN[0].prior, 0.3, measured).data_share
    assume(abs(own - LEAST_SHARE) > 1e-9)
    found = estimate_shrinkage(MeasuredEffects(effects=(measured,)), BOOK)
    assert own > LEAST_SHARE or found == NO_SHRINKAGE


def test_segments_other_outcomes_and_what_is_no_evidence_say_nothing() -> None:
    action = ON_CHURN[0]
    for silent in (
        {"segment": "smb"},
        {"outcome": "expansion"},
        {"grade": "E"},
        {"risk": None},
        {"horizon_days": 365},
        {"playbook_share": 0.5},
    ):
        assert (
            estimate_shrinkage(MeasuredEffects(effects=(effect(action, 0.0, **silent),)), BOOK)
            == NO_SHRINKAGE
        )


def test_it_is_found_once_for_the_same_evidence_and_anew_for_another_playbook() -> None:
    evidence = nothing_came_true(ON_CHURN[:6])
    first = shrinkage_for(evidence, BOOK)
    assert shrinkage_for(evidence, BOOK) is first
    other = replace(BOOK, actions=tuple(a for a in BOOK.actions if a.id != ON_CHURN[0].id))
    assert shrinkage_for(evidence, other).measured == 5
    assert shrinkage_for(evidence, BOOK) is first
    assert evidence == nothing_came_true(ON_CHURN[:6])


def test_broken_promises_make_what_was_not_measured_worth_less_and_say_so() -> None:
    def ask(evidence: MeasuredEffects):
        return recommend(
            STATE, playbook=BOOK, limits=Limits(), history=(), as_of=AS_OF, evidence=evidence
        )

    before = {c.action_id: c for c in ask(MeasuredEffects()).ranked}
    others = [a for a in ON_CHURN if a.id not in before][:8]
    answer = ask(MeasuredEffects(effects=tuple(effect(a, 0.06 * a.prior.mean) for a in others)))
    shared = [c for c in answer.ranked if c.action_id in before and c.value.outcome == "churn"]
    assert shared
    for candidate in shared:
        assert candidate.value.uplift < before[candidate.action_id].value.uplift
        assert candidate.value.belief.kept < 1
    assert any(
        note.startswith("What 8 measured action(s) changed is less than the playbook promised, so ")
        for note in answer.notes
    )
    assert not any("promised" in note for note in ask(all_came_true(others)).notes)
