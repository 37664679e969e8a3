from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from uplift_worlds import ACTIONS, uplift_world

from experiments.causal.checks.protocol import CheckedComparison, standardise
from experiments.causal.contrast import Scores
from experiments.causal.estimates import mean_effects
from experiments.causal.estimators.aipw import cross_fit
from experiments.uplift.effect_records import Measurement, action_effects
from experiments.uplift.grading import Grading, grade_effect

MEASURED = Measurement(
    outcome="retention",
    horizon_days=90,
    measured_from=datetime(2026, 1, 1, tzinfo=UTC),
    measured_to=datetime(2026, 6, 1, tzinfo=UTC),
    source="sequential trials",
)


def scored(world, outcome=None, sample=None) -> Scores:
    return cross_fit(
        world.sample if sample is None else sample,
        world.stayed if outcome is None else outcome,
        rng=np.random.default_rng(1),
        repeats=1,
    )


@pytest.fixture(scope="module")
def judged():
    """People chose, by what is known; use before the start depends on health alone."""
    world = uplift_world(np.random.default_rng(8), rows=2500)
    use = world.sample.covariates[:, 0] + np.random.default_rng(2).normal(size=2500)
    return world, scored(world), {"past use": scored(world, standardise(use))}


@pytest.fixture(scope="module")
def drawn():
    world = uplift_world(np.random.default_rng(9), rows=2500, randomised=True)
    return world, scored(world)


def grade_of(scores, outcome, action, *, placebos, is_exposed=None, **more) -> Grading:
    return grade_effect(
        CheckedComparison(
            contrast=scores.contrast(action),
            outcome=outcome,
            outcome_words=("stayed", "left"),
            by_lot=scores.sample.is_lottery(action),
            placebos={name: found.contrast(action) for name, found in placebos.items()},
            is_exposed=is_exposed,
        ),
        **more,
    )


def verdicts(grading):
    return {check.name: check.verdict for check in grading.checks}


def test_a_lottery_with_sound_checks_is_the_best_evidence(drawn):
    world, scores = drawn
    found = grade_of(scores, world.stayed, 1, placebos={})
    assert found.grade == "A"
    assert verdicts(found)["sample_ratio"] == "passed"


def test_judgement_with_sound_checks_is_observational(judged):
    world, scores, placebos = judged
    found = grade_of(scores, world.stayed, 1, placebos=placebos)
    assert found.grade == "C", found.why
    assert verdicts(found) == {
        "enough_outcomes": "passed",
        "sample_ratio": "not_applicable",
        "even_exclusion": "not_applicable",
        "balance": "passed",
        "overlap": "passed",
        "pre_period_placebo": "passed",
        "control_exposure": "not_applicable",
    }


@pytest.mark.parametrize(("share", "grade"), [(0.1, "C"), (0.4, "E")])
def test_where_the_untouched_were_acted_on_later_nothing_is_claimed(judged, share, grade):
    world, scores, placebos = judged
    later = np.random.default_rng(0).random(2500) < share
    assert grade_of(scores, world.stayed, 1, placebos=placebos, is_exposed=later).grade == grade


def test_an_event_from_outside_is_a_natural_experiment(judged):
    world, scores, placebos = judged
    found = grade_of(
        scores, world.stayed, 1, placebos=placebos, decided_outside="an outage of the mail server"
    )
    assert found.grade == "B"
    assert "outage of the mail server" in found.why


def test_without_a_placebo_judgement_claims_nothing(judged):
    world, scores, _ = judged
    found = grade_of(scores, world.stayed, 1, placebos={}, prior_grade="D")
    assert found.grade == "D"
    assert "name such a measure (--before COLUMN of a table; the placebo of a design)" in found.why


def test_what_people_saw_and_the_log_does_not_is_found_by_the_placebo(judged):
    world, _, _ = judged
    hidden = replace(
        world.sample,
        covariates=world.sample.covariates[:, 1:],
        covariate_names=world.sample.covariate_names[1:],
    )
    use = world.sample.covariates[:, 0] + 0.3 * np.random.default_rng(2).normal(size=2500)
    found = grade_of(
        scored(world, sample=hidden),
        world.stayed,
        1,
        placebos={"past use": scored(world, standardise(use), hidden)},
    )
    assert found.grade == "E"
    assert verdicts(found)["pre_period_placebo"] == "failed"
    assert "differed before anything was done: “past use”" in found.why


def test_where_nobody_like_them_was_left_alone_nothing_is_claimed(judged):
    world, scores, placebos = judged
    chances = scores.propensity.copy()
    chances[:800, 0] = 0.0
    found = grade_of(replace(scores, propensity=chances), world.stayed, 1, placebos=placebos)
    assert found.grade == "E"
    assert verdicts(found)["overlap"] == "failed"
    assert "no comparable one" in found.why


def test_where_a_few_accounts_carry_the_weight_nothing_is_claimed(judged):
    world, scores, placebos = judged
    heavy = scores.weight.copy()
    heavy[np.flatnonzero(world.sample.arm == 1)[:10]] *= 1000
    found = grade_of(replace(scores, weight=heavy), world.stayed, 1, placebos=placebos)
    assert found.grade == "E"
    assert "treated accounts; below 30 a single one can turn it" in found.why


def test_arms_that_stay_unlike_after_weighting_are_no_comparison(judged):
    world, scores, placebos = judged
    even = replace(scores, weight=np.ones(2500))
    found = grade_of(even, world.stayed, 1, placebos=placebos)
    assert verdicts(found)["balance"] == "failed"
    assert found.grade == "E"


def test_too_few_who_left_carry_no_claim_even_in_a_lottery(drawn):
    world, scores = drawn
    stayed = world.stayed.copy()
    acted = np.flatnonzero((world.sample.arm == 1) & (stayed == 0))
    stayed[acted[9:]] = 1.0
    found = grade_of(scores, stayed, 1, placebos={})
    assert found.grade == "E"
    assert "Only 9 treated accounts left" in found.why


def test_a_lottery_that_lost_trials_on_one_side_is_none(drawn):
    world, _ = drawn
    kept = (world.sample.arm != 1) | (np.arange(2500) % 3 > 0)
    scores = cross_fit(
        world.sample.keep(kept), world.stayed[kept], rng=np.random.default_rng(1), repeats=1
    )
    found = grade_of(scores, world.stayed[kept], 1, placebos={})
    assert verdicts(found)["sample_ratio"] == "failed"
    assert found.grade == "E"


def test_no_covariates_is_no_balance(drawn):
    world, scores = drawn
    bare = replace(scores.sample, covariates=np.empty((2500, 0)), covariate_names=())
    found = grade_of(replace(scores, sample=bare), world.stayed, 1, placebos={})
    assert verdicts(found)["balance"] == "failed"


def test_records_hold_every_action_for_all_and_by_segment(judged):
    world, scores, placebos = judged
    found = action_effects(
        scores,
        world.stayed,
        placebos=placebos,
        measured=MEASURED,
        rng=np.random.default_rng(0),
        prior_grades={"newsletter": "D"},
    )
    overall = [record for record in found.records if record.segment is None]
    assert [record.action_id for record in overall] == list(ACTIONS)
    assert len(found.records) == len(ACTIONS) * 7
    assert [record.estimate for record in overall] == [
        mean.estimate for mean in mean_effects(scores)
    ]
    assert {record.playbook_share for record in found.records} == {0.0}
    calls = [record for record in found.records if record.action_id == "exec_call"]
    assert {record.grade for record in calls} == {"C"}
    assert sum(record.n for record in calls[1:]) == calls[0].n
    assert all(record.effective_n < calls[0].effective_n for record in calls[1:])
    assert "of the estimate is the segment's own" in calls[1].why
    leaving = 1 - world.rates[:, 0].mean()
    assert calls[0].untouched_risk == pytest.approx(leaving, abs=0.05)  # two errors or so
    assert min(record.untouched_risk for record in calls[1:]) < calls[0].untouched_risk
    grown = action_effects(
        scores,
        world.stayed,
        placebos=placebos,
        rng=np.random.default_rng(0),
        measured=replace(MEASURED, outcome="expansion"),
    )
    assert grown.records[0].untouched_risk == pytest.approx(1 - calls[0].untouched_risk)


def test_an_action_that_says_nothing_is_left_out_with_the_reason(judged):
    world, scores, placebos = judged
    flat = scores.score.copy()
    flat[:, :, 2] = flat[:, :, 0]
    found = action_effects(
        replace(scores, score=flat),
        world.stayed,
        placebos=placebos,
        measured=MEASURED,
        rng=np.random.default_rng(0),
    )
    assert list(found.unanswered) == ["training"]
    assert "training" not in {record.action_id for record in found.records}


def test_one_segment_is_no_segment(judged):
    world, scores, placebos = judged
    sample = replace(scores.sample, segment=np.array(["all"] * 2500))
    found = action_effects(
        replace(scores, sample=sample),
        world.stayed,
        placebos=placebos,
        measured=MEASURED,
        rng=np.random.default_rng(0),
    )
    assert len(found.records) == len(ACTIONS)
