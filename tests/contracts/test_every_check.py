"""Every check sits the same exam: it passes on evidence built to pass and fails on one built to
fail, says why in a sentence, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from causal_worlds import SampleWorld, sample_world
from uplift_worlds import uplift_world

from experiments.causal.checks import CHECKS
from experiments.causal.checks.protocol import Check, CheckedComparison, standardise
from experiments.causal.design import Design
from experiments.causal.estimators import estimator_for
from experiments.causal.sample import Sample
from experiments.causal.trials import CHURN

LOTTERY = Design(
    design_id="d",
    question="Does it?",
    action="success_call",
    intervention="calls",
    mechanism="lottery",
    estimand="ITT",
)
JUDGED = replace(LOTTERY, mechanism="judgement", estimand="ATT", window_days=7)


def compare(
    world: SampleWorld,
    design: Design,
    *,
    sample: Sample | None = None,
    outcome: np.ndarray | None = None,
    placebos: dict[str, np.ndarray] | None = None,
    exposed: np.ndarray | None = None,
    excluded: dict[str, tuple[int, int]] | None = None,
) -> CheckedComparison:
    sample = sample or world.sample
    churn = world.outcome if outcome is None else outcome
    placebos = {name: standardise(values) for name, values in (placebos or {}).items()}
    contrasts = estimator_for(design.mechanism).estimate(
        sample, {CHURN: churn, **placebos}, estimand=design.estimand, rng=np.random.default_rng(1)
    )
    return CheckedComparison(
        contrast=contrasts.pop(CHURN),
        outcome=churn,
        by_lot=design.mechanism == "lottery",
        placebos=contrasts,
        is_exposed=np.zeros(len(sample), dtype=bool) if exposed is None else exposed,
        excluded=excluded or {},
    )


@cache
def compare_in_five_arms(*, randomised: bool, differs: bool = False) -> CheckedComparison:
    """The third of four actions against none; use before the start follows health alone."""
    world = uplift_world(np.random.default_rng(8), rows=2500, randomised=randomised)
    sample, rng = world.sample, np.random.default_rng(2)
    use = sample.covariates[:, 0] + rng.normal(size=2500) + 0.6 * differs * (sample.arm == 3)
    score = estimator_for("lottery" if randomised else "judgement").score
    return CheckedComparison(
        contrast=score(sample, world.stayed, rng=rng, repeats=1).contrast(3),
        outcome=world.stayed,
        outcome_words=("stayed", "left"),
        by_lot=randomised,
        placebos={"use": score(sample, standardise(use), rng=rng, repeats=1).contrast(3)},
        is_exposed=np.zeros(2500, dtype=bool),
    )


def drawn_in_five_arms() -> CheckedComparison:
    return compare_in_five_arms(randomised=True)


def judged_in_five_arms() -> CheckedComparison:
    return compare_in_five_arms(randomised=False)


def few_outcomes_in_five_arms() -> CheckedComparison:
    sound = drawn_in_five_arms()
    stayed = np.where(sound.sample.arm == 3, 1.0, sound.outcome)
    return replace(sound, outcome=stayed)


def lost_a_third_of_one_arm() -> CheckedComparison:
    world = uplift_world(np.random.default_rng(9), rows=2500, randomised=True)
    keep = (world.sample.arm != 3) | (np.arange(2500) % 3 > 0)
    stayed = world.stayed[keep]
    scores = estimator_for("lottery").score(
        world.sample.keep(keep), stayed, rng=np.random.default_rng(1)
    )
    return replace(drawn_in_five_arms(), contrast=scores.contrast(3), outcome=stayed)


def five_arms_without_weights() -> CheckedComparison:
    sound = judged_in_five_arms()
    return replace(sound, contrast=replace(sound.contrast, weight=np.ones(2500)))


def nobody_like_a_part_of_five_arms() -> CheckedComparison:
    sound = judged_in_five_arms()
    comparable = sound.contrast.comparable & (np.arange(2500) > 800)
    return replace(sound, contrast=replace(sound.contrast, comparable=comparable))


def a_few_accounts_carry_the_weight() -> CheckedComparison:
    sound = judged_in_five_arms()
    heavy = sound.contrast.weight.copy()
    heavy[np.flatnonzero(sound.contrast.treated)[:10]] *= 1000
    return replace(sound, contrast=replace(sound.contrast, weight=heavy))


def five_arms_exposed(share: float) -> CheckedComparison:
    return replace(drawn_in_five_arms(), is_exposed=np.random.default_rng(7).random(2500) < share)


def lottery_world(**changes: object) -> SampleWorld:
    return sample_world(
        np.random.default_rng(4),
        confounded=False,
        rows=1600,
        rows_per_cluster=1,
        unknown=0.05,
        **changes,
    )  # type: ignore[arg-type]


def a_tiny_lottery() -> SampleWorld:
    return sample_world(np.random.default_rng(4), confounded=False, rows=40, rows_per_cluster=1)


def judged_world(**changes: object) -> SampleWorld:
    return sample_world(
        np.random.default_rng(4), rows=1600, rows_per_cluster=1, unknown=0.05, **changes
    )  # type: ignore[arg-type]


def changed(
    sample: Sample, *, treated: np.ndarray | None = None, propensity: np.ndarray | None = None
) -> Sample:
    """The sample with other treatments, or other logged chances of being treated."""
    return replace(
        sample,
        arm=sample.arm if treated is None else treated.astype(np.int64),
        propensity=sample.propensity
        if propensity is None
        else np.column_stack([1 - propensity, propensity]),
    )


def few_outcomes() -> CheckedComparison:
    world = lottery_world()
    churn = np.zeros(1600)
    churn[:30] = world.sample.treated[:30]
    return compare(world, LOTTERY, outcome=churn)


def lost_half_of_the_drawn() -> CheckedComparison:
    world = lottery_world()
    keep = ~world.sample.treated | (np.arange(1600) % 2 == 0)
    part = replace(world, sample=world.sample.keep(keep), outcome=world.outcome[keep])
    return compare(part, LOTTERY)


def lottery_that_was_none() -> CheckedComparison:
    """Propensities were logged, but the healthy were acted on."""
    world = judged_world()
    logged = np.full(1600, world.sample.treated.mean())
    return compare(world, LOTTERY, sample=changed(world.sample, propensity=logged))


def lottery_that_leaned() -> CheckedComparison:
    """The draw followed health a little: less than adjustment would bear, more than chance."""
    world = lottery_world()
    health = world.sample.covariates[:, 0]
    drawn = np.random.default_rng(8).random(1600) < 1 / (1 + np.exp(-0.35 * health))
    return compare(
        world, LOTTERY, sample=changed(world.sample, treated=drawn, propensity=np.full(1600, 0.5))
    )


def nobody_like_the_treated() -> CheckedComparison:
    world = judged_world()
    health = np.nan_to_num(world.sample.covariates[:, 0])
    treated = world.sample.treated & (health < -0.5) | (health < -1.0)
    return compare(world, JUDGED, sample=changed(world.sample, treated=treated))


def weighting_that_did_nothing() -> CheckedComparison:
    sound = compare(judged_world(), JUDGED)
    return replace(sound, contrast=replace(sound.contrast, weight=np.ones(1600)))


def a_past_that_differs(design: Design) -> CheckedComparison:
    world = judged_world() if design is JUDGED else lottery_world()
    past = np.random.default_rng(5).normal(size=1600) - 0.6 * world.sample.treated
    return compare(world, design, placebos={"past_revenue": past})


def a_past_that_is_alike(design: Design) -> CheckedComparison:
    world = judged_world() if design is JUDGED else lottery_world()
    # Driven by health like the choice itself: alike once health is adjusted for.
    past = np.nan_to_num(world.sample.covariates[:, 0]) + np.random.default_rng(6).normal(size=1600)
    return compare(world, design, placebos={"past_revenue": past})


def called_after_all(share: float) -> CheckedComparison:
    world = lottery_world()
    exposed = ~world.sample.treated & (np.random.default_rng(7).random(1600) < share)
    return compare(world, LOTTERY, exposed=exposed)


@dataclass(frozen=True)
class Exam:
    passes: tuple[Callable[[], CheckedComparison], ...]
    fails: tuple[Callable[[], CheckedComparison], ...]
    not_applicable: tuple[Callable[[], CheckedComparison], ...] = ()


EXAMS: dict[str, Exam] = {
    "enough_outcomes": Exam(
        passes=(lambda: compare(lottery_world(), LOTTERY), drawn_in_five_arms),
        fails=(few_outcomes, few_outcomes_in_five_arms),
    ),
    "sample_ratio": Exam(
        passes=(
            lambda: compare(lottery_world(), LOTTERY),
            lambda: compare(lottery_world(draws=3), LOTTERY),
            drawn_in_five_arms,
        ),
        fails=(lost_half_of_the_drawn, lost_a_third_of_one_arm),
        not_applicable=(lambda: compare(judged_world(), JUDGED), judged_in_five_arms),
    ),
    "even_exclusion": Exam(
        passes=(
            lambda: compare(
                lottery_world(), LOTTERY, excluded={"no_snapshot": (40, 44), "immature": (300, 10)}
            ),
            lambda: compare(lottery_world(), LOTTERY),
        ),
        fails=(lambda: compare(lottery_world(), LOTTERY, excluded={"no_snapshot": (120, 44)}),),
        not_applicable=(lambda: compare(judged_world(), JUDGED),),
    ),
    "balance": Exam(
        passes=(
            lambda: compare(lottery_world(), LOTTERY),
            lambda: compare(judged_world(), JUDGED),
            drawn_in_five_arms,
            judged_in_five_arms,
        ),
        fails=(
            five_arms_without_weights,
            lottery_that_was_none,
            lottery_that_leaned,
            weighting_that_did_nothing,
            lambda: compare(lottery_world(), LOTTERY, sample=lottery_world().sample.columns(())),
        ),
    ),
    "overlap": Exam(
        passes=(
            lambda: compare(judged_world(), JUDGED),
            lambda: compare(lottery_world(), LOTTERY),
            drawn_in_five_arms,
            judged_in_five_arms,
        ),
        fails=(
            nobody_like_the_treated,
            lambda: compare(a_tiny_lottery(), LOTTERY),
            nobody_like_a_part_of_five_arms,
            a_few_accounts_carry_the_weight,
        ),
    ),
    "pre_period_placebo": Exam(
        passes=(
            lambda: a_past_that_is_alike(LOTTERY),
            lambda: a_past_that_is_alike(JUDGED),
            judged_in_five_arms,
        ),
        fails=(
            lambda: a_past_that_differs(LOTTERY),
            lambda: a_past_that_differs(JUDGED),
            lambda: compare_in_five_arms(randomised=False, differs=True),
        ),
        not_applicable=(lambda: compare(lottery_world(), LOTTERY),),
    ),
    "control_exposure": Exam(
        passes=(lambda: called_after_all(0.0), lambda: called_after_all(0.05)),
        fails=(lambda: called_after_all(0.3), lambda: five_arms_exposed(0.4)),
        not_applicable=(lambda: replace(called_after_all(0.0), is_exposed=None),),
    ),
}

every_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)


def test_every_check_has_an_exam() -> None:
    assert list(EXAMS) == [check.name for check in CHECKS]


@every_check
def test_it_passes_on_evidence_built_to_pass(check: Check) -> None:
    for build in EXAMS[check.name].passes:
        result = check(build())
        assert result.verdict == "passed", result.explanation


@every_check
def test_it_fails_on_evidence_built_to_fail(check: Check) -> None:
    for build in EXAMS[check.name].fails:
        result = check(build())
        assert result.verdict == "failed", result.explanation


@every_check
def test_it_says_where_it_does_not_apply(check: Check) -> None:
    for build in EXAMS[check.name].not_applicable:
        result = check(build())
        assert result.verdict == "not_applicable"
        assert result.statistic is None


@every_check
def test_it_speaks_in_sentences(check: Check) -> None:
    exam = EXAMS[check.name]
    for build in (*exam.passes, *exam.fails, *exam.not_applicable):
        result = check(build())
        assert result.explanation.endswith(".")
        assert result.explanation[0].isupper() or result.explanation[0].isdigit()
        assert "nan" not in result.explanation.split()
    assert check.question.endswith("?")


@every_check
def test_the_interval_holds_the_statistic(check: Check) -> None:
    for build in (*EXAMS[check.name].passes, *EXAMS[check.name].fails):
        result = check(build())
        if result.low is not None and check.name != "sample_ratio":  # there: a p-value and a share
            assert result.low <= result.statistic <= result.high  # type: ignore[operator]


@every_check
def test_it_changes_nothing_and_repeats_itself(check: Check) -> None:
    shown = EXAMS[check.name].passes[0]()
    before = shown.sample.covariates.copy()
    assert check(shown) == check(shown)
    np.testing.assert_array_equal(shown.sample.covariates, before)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sample_ratio", "balance", "pre_period_placebo"])
def test_a_sound_lottery_is_rarely_doubted(name: str) -> None:
    """False alarms over 200 sound lotteries, against the rate that each criterion promises."""
    check = next(item for item in CHECKS if item.name == name)
    alarms = 0
    for seed in range(200):
        world = sample_world(
            np.random.default_rng(seed), confounded=False, rows=500, rows_per_cluster=1
        )
        past = np.random.default_rng(1000 + seed).normal(size=500)
        alarms += check(compare(world, LOTTERY, placebos={"past": past})).verdict == "failed"
    promised = {"sample_ratio": 0.001, "balance": 0.01, "pre_period_placebo": 0.05}[name]
    assert alarms <= 200 * promised + 4 * np.sqrt(200 * promised * (1 - promised)) + 1
