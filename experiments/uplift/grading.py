"""This module is about the grade of an effect: what has to hold before it may be called evidence.

A: chance decided, with the odds on record. B: an event from outside decided, and the checks passed.
C: people decided, and all checks passed. An effect whose checks fail, or that has not been
looked at, keeps the grade of the prior (D or E): its numbers are shown, and move no belief. The
checks are those of reports, asked of the average over all trials, against no action.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from experiments.causal.checks import (
    balance,
    control_exposure,
    enough_outcomes,
    overlap,
    pre_period_placebo,
    sample_ratio,
)
from experiments.causal.checks.balance import balance_table
from experiments.causal.checks.check import Check, CheckResult, Finding, not_applicable
from experiments.causal.estimates import effective_size
from experiments.causal.estimators.aipw import CLIP, LEAST_COUNTERPARTS
from experiments.causal.sample import Bools, Floats
from experiments.uplift.means import mean_and_error
from experiments.uplift.scores import Scores
from registry.playbook.actions import Grade

FALSE_ALARM = 0.05
"""Chance that a placebo of any action seems to move in a history in which none does."""


@dataclass(frozen=True, kw_only=True)
class Grading:
    """A grade, why, and every check behind it."""

    grade: Grade
    why: str
    checks: tuple[CheckResult, ...]


def grade_of(
    scores: Scores,
    outcome: Floats,
    action: int,
    *,
    placebos: Mapping[str, Scores],
    prior_grade: Grade = "E",
    decided_outside: str | None = None,
    is_exposed: Bools | None = None,
) -> Grading:
    """The grade of the mean effect of one action.

    ``outcome`` is 1 or 0 per trial, ``is_exposed`` whether it received one of the actions later.
    ``placebos`` are scores of what was measured before the start, under the same arms.
    ``decided_outside`` says, in words, what event decided in place of people.
    """
    by_lot = is_lottery(scores, action)
    found = (
        _result(enough_outcomes.CHECK, _enough(scores, outcome, action)),
        _result(
            sample_ratio.CHECK,
            _ratio(scores, action)
            if by_lot
            else not_applicable("No lottery was held, so no ratio was promised."),
        ),
        _result(balance.CHECK, _balance(scores, action, by_lot=by_lot)),
        _result(overlap.CHECK, _overlap(scores, action)),
        _result(pre_period_placebo.CHECK, _placebo(placebos, action)),
        _result(control_exposure.CHECK, _exposure(scores, is_exposed)),
    )
    failed = [check for check in found if check.verdict == "failed"]
    if failed:
        return Grading(
            grade=prior_grade,
            checks=found,
            why=" ".join(
                [
                    "No effect is claimed.",
                    *(f"{check.title}: {check.explanation}" for check in failed),
                ]
            ),
        )
    if by_lot:
        return Grading(
            grade="A",
            checks=found,
            why="Chance decided, with the odds on record; all checks passed.",
        )
    if not placebos:
        return Grading(
            grade=prior_grade,
            checks=found,
            why=(
                "No effect is claimed. People decided, and nothing measured before the start shows "
                "that the groups were alike: give the design a placebo."
            ),
        )
    if decided_outside is not None:
        return Grading(
            grade="B", checks=found, why=f"Decided by {decided_outside}; all checks passed."
        )
    return Grading(grade="C", checks=found, why="People decided; all checks passed.")


def is_lottery(scores: Scores, action: int) -> bool:
    """Whether chance could have given every trial either arm, with the odds on record."""
    chances = scores.sample.propensity[:, [0, action]]
    return bool(((chances > 0) & (chances < 1)).all())  # NaN where nothing was logged


def _result(check: Check, found: Finding) -> CheckResult:
    return CheckResult(
        name=check.name,
        title=check.title,
        verdict=found.verdict,
        statistic=found.statistic,
        low=found.low,
        high=found.high,
        criterion=check.criterion,
        explanation=found.explanation,
    )


def _enough(scores: Scores, outcome: Floats, action: int) -> Finding:
    counts = {
        (arm, result): np.unique(
            scores.sample.cluster[(scores.sample.arm == number) & (outcome == value)]
        ).size
        for number, arm in ((action, "acted on"), (0, "untouched"))
        for value, result in ((1.0, "with the good outcome"), (0.0, "without it"))
    }
    (arm, result), smallest = min(counts.items(), key=lambda item: item[1])
    if smallest < enough_outcomes.LEAST:
        return Finding(
            verdict="failed",
            statistic=float(smallest),
            explanation=f"Only {smallest} accounts {arm} are {result}; below "
            f"{enough_outcomes.LEAST} an interval promises more than it can hold.",
        )
    return Finding(
        verdict="passed",
        statistic=float(smallest),
        explanation=f"At least {smallest} accounts with and without the good outcome in each arm.",
    )


def _ratio(scores: Scores, action: int) -> Finding:
    chance = scores.sample.propensity[:, action]
    drawn, promised = int((scores.sample.arm == action).sum()), float(chance.sum())
    error = math.sqrt(float(np.sum(chance * (1 - chance))))
    p_value = float(2 * stats.norm.sf(abs(drawn - promised) / error))
    words = f"{drawn} trials were drawn; the logged chances promise {promised:.0f}"
    if p_value < sample_ratio.LEAST_P:
        return Finding(
            verdict="failed",
            statistic=p_value,
            explanation=f"{words}. Chance does not do that: trials were lost or added on one side.",
        )
    return Finding(
        verdict="passed", statistic=p_value, explanation=f"{words}, as chance would have it."
    )


def _balance(scores: Scores, action: int, *, by_lot: bool) -> Finding:
    pair, rows = scores.sample.against_nothing(action)
    table = balance_table(pair, scores.weight[rows])
    if not table:
        return Finding(
            verdict="failed",
            explanation="No covariate is known often enough in both arms to compare them.",
        )
    reach = float(stats.norm.ppf(1 - balance.FALSE_ALARM / (2 * len(table))))
    bound = 0.0 if by_lot else balance.LARGEST
    worst = max(table, key=lambda row: (abs(row.weighted) - bound) / max(row.standard_error, 1e-12))
    low, high = (worst.weighted + side * reach * worst.standard_error for side in (-1, 1))
    words = (
        f"“{worst.covariate.replace('_', ' ')}” differs by {worst.weighted:+.2f} standard "
        f"deviations after weighting"
    )
    verdict = "failed" if low > bound or high < -bound else "passed"
    return Finding(
        verdict="failed" if verdict == "failed" else "passed",
        statistic=worst.weighted,
        low=low,
        high=high,
        explanation=words
        + (
            ": the arms were not alike before the start."
            if verdict == "failed"
            else f", the clearest of {len(table)} facts, not shown to exceed what may be."
        ),
    )


def _overlap(scores: Scores, action: int) -> Finding:
    lacking = ~(has_counterparts(scores, action) & has_counterparts(scores, 0))
    share = float(lacking.mean())
    interval = stats.binomtest(int(lacking.sum()), len(lacking)).proportion_ci(method="wilson")
    low, high = float(interval.low), float(interval.high)
    worth = min(
        (
            effective_size(
                np.bincount(scores.sample.cluster[rows], scores.weight[rows]).astype(float)
            ),
            name,
        )
        for rows, name in (
            (scores.sample.arm == action, "acted on"),
            (scores.sample.arm == 0, "untouched"),
        )
    )
    if low > overlap.LARGEST_SHARE:
        return Finding(
            verdict="failed",
            statistic=share,
            low=low,
            high=high,
            explanation=f"{share:.0%} of the trials have no comparable one in the other arm: there "
            f"is nothing to compare them with.",
        )
    if worth[0] < overlap.LEAST_CONTROLS:
        return Finding(
            verdict="failed",
            statistic=share,
            low=low,
            high=high,
            explanation=f"The effect rests on what amounts to {worth[0]:.0f} accounts {worth[1]}; "
            f"below {overlap.LEAST_CONTROLS:.0f} a single one can turn it.",
        )
    return Finding(
        verdict="passed",
        statistic=share,
        low=low,
        high=high,
        explanation=f"{share:.1%} of the trials have no comparable one in the other arm; the "
        f"smaller arm is worth {worth[0]:.0f} equal accounts.",
    )


def has_counterparts(scores: Scores, arm: int) -> Bools:
    """Trials that some trials of this arm resemble: enough of them had no larger chance of it."""
    chance = scores.propensity[:, arm]
    received = np.sort(chance[scores.sample.arm == arm])
    least = float(received[min(LEAST_COUNTERPARTS, len(received)) - 1])
    return np.asarray(chance >= max(least, CLIP))


def _exposure(scores: Scores, is_exposed: Bools | None) -> Finding:
    if is_exposed is None:
        return not_applicable("It is not recorded who received an action later.")
    later = is_exposed[scores.sample.arm == 0]
    share = float(later.mean())
    interval = stats.binomtest(int(later.sum()), len(later)).proportion_ci(method="wilson")
    low, high = float(interval.low), float(interval.high)
    words = f"{share:.1%} of the untouched trials received one of the actions later"
    if low > control_exposure.LARGEST_SHARE:
        return Finding(
            verdict="failed",
            statistic=share,
            low=low,
            high=high,
            explanation=(f"{words}: the groups differ too little in what they received."),
        )
    return Finding(
        verdict="passed",
        statistic=share,
        low=low,
        high=high,
        explanation=(f"{words}; effects are a little too small for it."),
    )


def _placebo(placebos: Mapping[str, Scores], action: int) -> Finding:
    """One false alarm in twenty histories, whatever the number of placebos and actions looked at."""
    if not placebos:
        return not_applicable("Nothing was measured long enough before the start.")
    found: list[tuple[float, str, float, float]] = []
    for name, scores in placebos.items():
        value, error, clusters = mean_and_error(scores.of(action), scores.sample.cluster)
        looks = len(placebos) * (len(scores.sample.arms) - 1)
        reach = float(stats.t.ppf(1 - FALSE_ALARM / (2 * looks), clusters - 1)) * error
        found.append((value, name, value - reach, value + reach))
    value, name, low, high = max(
        found, key=lambda item: abs(item[0]) / max(item[3] - item[0], 1e-12)
    )
    words = (
        f"“{name.replace('_', ' ')}”, measured before the start, differs by {value:+.2f} "
        f"standard deviations (interval {low:+.2f} to {high:+.2f})"
    )
    negligible = low > -pre_period_placebo.NEGLIGIBLE and high < pre_period_placebo.NEGLIGIBLE
    if (low > 0 or high < 0) and not negligible:
        return Finding(
            verdict="failed",
            statistic=value,
            low=low,
            high=high,
            explanation=(f"{words}: whatever caused that is in the effect too."),
        )
    return Finding(
        verdict="passed",
        statistic=value,
        low=low,
        high=high,
        explanation=f"{words}, as if there were no effect before the start.",
    )


def standardised(placebos: Sequence[float] | Floats) -> Floats:
    """A placebo in standard deviations, as the check reads it."""
    values = np.asarray(placebos, dtype=float)
    spread = float(values.std())
    return np.asarray((values - values.mean()) / (spread if spread > 0 else 1.0))
