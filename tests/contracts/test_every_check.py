"""Every check sits the same exam: it passes on evidence built to pass and fails on one built to
fail, says why in a sentence, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from causal_worlds import FIRST, SampleWorld, sample_world

from experiments.causal.checks import CHECKS
from experiments.causal.checks.check import Check, Evidence
from experiments.causal.design import Design
from experiments.causal.estimators import estimator_for
from experiments.causal.sample import Fit, Sample
from experiments.causal.trials import CHURN, Trials

LOTTERY = Design(
    design_id="d",
    question="Does it?",
    action="success_call",
    intervention="calls",
    mechanism="lottery",
    estimand="ITT",
)
JUDGED = replace(LOTTERY, mechanism="judgement", estimand="ATT", window_days=7)


def evidence(
    world: SampleWorld,
    design: Design,
    *,
    sample: Sample | None = None,
    outcome: np.ndarray | None = None,
    placebos: dict[str, np.ndarray] | None = None,
    exposed: np.ndarray | None = None,
    excluded: dict[str, tuple[int, int]] | None = None,
) -> Evidence:
    sample = sample or world.sample
    rows = len(sample)
    churn = world.outcome if outcome is None else outcome
    placebos = placebos or {}
    fits: dict[str, Fit] = estimator_for(design.mechanism).estimate(
        sample, {CHURN: churn, **placebos}, estimand=design.estimand, rng=np.random.default_rng(1)
    )
    trials = Trials(
        design=design,
        account_ids=tuple(f"a{number}" for number in sample.cluster),
        starts=(FIRST,) * rows,
        segments=("all",) * rows,
        sample=sample,
        outcomes={CHURN: churn},
        baselines={CHURN: np.zeros(rows)},
        placebos=placebos,
        is_exposed=np.zeros(rows, dtype=bool) if exposed is None else exposed,
        excluded=excluded or {},
        covariates_missing=(),
    )
    return Evidence(
        trials=trials,
        churn=fits.pop(CHURN),
        placebos=fits,
        placebo_spread={name: float(values.std()) for name, values in placebos.items()},
    )


def lottery_world(**changes: object) -> SampleWorld:
    return sample_world(
        np.random.default_rng(4),
        confounded=False,
        rows=1600,
        rows_per_cluster=1,
        unknown=0.05,
        **changes,
    )  # type: ignore[arg-type]


def judged_world(**changes: object) -> SampleWorld:
    return sample_world(
        np.random.default_rng(4), rows=1600, rows_per_cluster=1, unknown=0.05, **changes
    )  # type: ignore[arg-type]


def changed(sample: Sample, **changes: object) -> Sample:
    return replace(sample, **changes)  # type: ignore[arg-type]


def few_outcomes() -> Evidence:
    world = lottery_world()
    churn = np.zeros(1600)
    churn[:30] = world.sample.treated[:30]
    return evidence(world, LOTTERY, outcome=churn)


def lost_half_of_the_drawn() -> Evidence:
    world = lottery_world()
    keep = ~world.sample.treated | (np.arange(1600) % 2 == 0)
    part = replace(world, sample=world.sample.keep(keep), outcome=world.outcome[keep])
    return evidence(part, LOTTERY)


def lottery_that_was_none() -> Evidence:
    """Propensities were logged, but the healthy were acted on."""
    world = judged_world()
    logged = np.full(1600, world.sample.treated.mean())
    return evidence(world, LOTTERY, sample=changed(world.sample, propensity=logged))


def lottery_that_leaned() -> Evidence:
    """The draw followed health a little: less than adjustment would bear, more than chance."""
    world = lottery_world()
    health = world.sample.covariates[:, 0]
    drawn = np.random.default_rng(8).random(1600) < 1 / (1 + np.exp(-0.35 * health))
    return evidence(
        world, LOTTERY, sample=changed(world.sample, treated=drawn, propensity=np.full(1600, 0.5))
    )


def nobody_like_the_treated() -> Evidence:
    world = judged_world()
    health = np.nan_to_num(world.sample.covariates[:, 0])
    treated = world.sample.treated & (health < -0.5) | (health < -1.0)
    return evidence(world, JUDGED, sample=changed(world.sample, treated=treated))


def weighting_that_did_nothing() -> Evidence:
    sound = evidence(judged_world(), JUDGED)
    return replace(sound, churn=replace(sound.churn, weight=np.ones(1600)))


def a_past_that_differs(design: Design) -> Evidence:
    world = judged_world() if design is JUDGED else lottery_world()
    past = np.random.default_rng(5).normal(size=1600) - 0.6 * world.sample.treated
    return evidence(world, design, placebos={"past_revenue": past})


def a_past_that_is_alike(design: Design) -> Evidence:
    world = judged_world() if design is JUDGED else lottery_world()
    # Driven by health like the choice itself: alike once health is adjusted for.
    past = np.nan_to_num(world.sample.covariates[:, 0]) + np.random.default_rng(6).normal(size=1600)
    return evidence(world, design, placebos={"past_revenue": past})


def called_after_all(share: float) -> Evidence:
    world = lottery_world()
    exposed = ~world.sample.treated & (np.random.default_rng(7).random(1600) < share)
    return evidence(world, LOTTERY, exposed=exposed)


@dataclass(frozen=True)
class Exam:
    passes: tuple[Callable[[], Evidence], ...]
    fails: tuple[Callable[[], Evidence], ...]
    not_applicable: tuple[Callable[[], Evidence], ...] = ()


EXAMS: dict[str, Exam] = {
    "enough_outcomes": Exam(
        passes=(lambda: evidence(lottery_world(), LOTTERY),), fails=(few_outcomes,)
    ),
    "sample_ratio": Exam(
        passes=(
            lambda: evidence(lottery_world(), LOTTERY),
            lambda: evidence(lottery_world(draws=3), LOTTERY),
        ),
        fails=(lost_half_of_the_drawn,),
        not_applicable=(lambda: evidence(judged_world(), JUDGED),),
    ),
    "even_exclusion": Exam(
        passes=(
            lambda: evidence(
                lottery_world(), LOTTERY, excluded={"no_snapshot": (40, 44), "immature": (300, 10)}
            ),
            lambda: evidence(lottery_world(), LOTTERY),
        ),
        fails=(lambda: evidence(lottery_world(), LOTTERY, excluded={"no_snapshot": (120, 44)}),),
        not_applicable=(lambda: evidence(judged_world(), JUDGED),),
    ),
    "balance": Exam(
        passes=(
            lambda: evidence(lottery_world(), LOTTERY),
            lambda: evidence(judged_world(), JUDGED),
        ),
        fails=(
            lottery_that_was_none,
            lottery_that_leaned,
            weighting_that_did_nothing,
            lambda: evidence(lottery_world(), LOTTERY, sample=lottery_world().sample.columns(())),
        ),
    ),
    "overlap": Exam(
        passes=(lambda: evidence(judged_world(), JUDGED),),
        fails=(nobody_like_the_treated,),
        not_applicable=(lambda: evidence(lottery_world(), LOTTERY),),
    ),
    "pre_period_placebo": Exam(
        passes=(lambda: a_past_that_is_alike(LOTTERY), lambda: a_past_that_is_alike(JUDGED)),
        fails=(lambda: a_past_that_differs(LOTTERY), lambda: a_past_that_differs(JUDGED)),
        not_applicable=(lambda: evidence(lottery_world(), LOTTERY),),
    ),
    "control_exposure": Exam(
        passes=(lambda: called_after_all(0.0), lambda: called_after_all(0.05)),
        fails=(lambda: called_after_all(0.3),),
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
    before = shown.trials.sample.covariates.copy()
    assert check(shown) == check(shown)
    np.testing.assert_array_equal(shown.trials.sample.covariates, before)


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
        alarms += check(evidence(world, LOTTERY, placebos={"past": past})).verdict == "failed"
    promised = {"sample_ratio": 0.001, "balance": 0.01, "pre_period_placebo": 0.05}[name]
    assert alarms <= 200 * promised + 4 * np.sqrt(200 * promised * (1 - promised)) + 1
