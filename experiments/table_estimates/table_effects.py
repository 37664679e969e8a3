"""The effect of each arm of a table against doing nothing, with its checks, money and doubts.

Each arm is compared with the untreated rows alone, by the estimator that follows from who decided.
Where people did, rows that were hardly ever, or nearly always, acted on are left out after a first
look, and both models are fitted to the others alone. A failed check takes the claim away: do not use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from experiments.causal.analysis import Histogram, histogram_of, plain_difference
from experiments.causal.checks.balance import Balance, balance_table
from experiments.causal.checks.protocol import CheckedComparison, CheckResult, standardise
from experiments.causal.contrast import Contrast
from experiments.causal.design import Mechanism
from experiments.causal.estimates import (
    Estimate,
    Goal,
    Heterogeneity,
    SegmentEffect,
    Verdict,
    estimate_of,
    heterogeneity,
    segment_effects,
    verdict_of,
)
from experiments.causal.estimators import estimator_for
from experiments.causal.estimators.aipw import estimate_aipw, likely_enough
from experiments.causal.sample import Bools, Estimand, Floats, Sample, SampleError
from experiments.causal.sentences import LEAST_WITHOUT_CENTS, money, money_sentence, points
from experiments.table_estimates.arms_table import ArmsTable, Question
from experiments.table_file import TableFileError
from experiments.uplift.grading import grade_effect
from registry.playbook.actions import Grade

REPEATS = 9
"""Times that the folds are redrawn where people decided: an answer for one table may take its time."""

Judgement = Literal["works", "harms", "does not work", "unknown", "do not use"]


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What counts as good, from which size on, and the money of an outcome and of an action.

    ``value`` is what one unit of the outcome is worth; None where that is not money.
    """

    goal: Goal = "higher"
    smallest_effect: float = 0.0
    value: float | None = None
    currency: str = ""
    costs: Mapping[str, float] | None = None
    when: str = "By this outcome"


@dataclass(frozen=True, kw_only=True)
class ArmEffect:
    """The effect of one arm against doing nothing."""

    arm: str
    judgement: Judgement
    headline: str
    estimate: Estimate
    plain: Estimate
    mean_treated: float
    mean_untreated: float
    money_sentence: str | None
    grade: Grade | None
    why: str
    checks: tuple[CheckResult, ...]
    balance: tuple[Balance, ...]
    chances: Histogram
    segments: tuple[SegmentEffect, ...]
    segments_too_small: tuple[str, ...]
    heterogeneity: Heterogeneity | None
    left_out: Mapping[str, tuple[int, int]]

    @property
    def is_claimed(self) -> bool:
        """Whether every check passed that had to."""
        return self.judgement != "do not use"


@dataclass(frozen=True, kw_only=True)
class TableEstimate:
    """The answer of one table: every arm against doing nothing."""

    file: str
    question: Question
    worth: Worth
    is_binary: bool
    untreated: str
    mechanism: Mechanism
    method: str
    rows: int
    unknown_arm: int
    facts: tuple[str, ...]
    effects: tuple[ArmEffect, ...]
    seed: int

    def size(self, value: float, *, signed: bool = True) -> str:
        """An effect in its unit: percentage points, money, or the unit of the outcome."""
        if self.is_binary:
            return f"{points(value)} points"
        if self.worth.currency and self.worth.value == 1:
            sign = "+" if signed and value > 0 else ""
            cents = abs(value) < LEAST_WITHOUT_CENTS
            return sign + money(value, self.worth.currency, cents=cents)
        return f"{value:{'+' if signed else ''}.4g}".replace("-", "−")


def estimate_table(
    table: ArmsTable, file: str, question: Question, worth: Worth, *, seed: int
) -> TableEstimate:
    """The effect of every arm of the table.

    Raises:
        TableFileError: an arm cannot be compared.
    """
    mechanism: Mechanism = "lottery" if question.by_lot else "judgement"
    costs = worth.costs or {}
    strange = sorted(set(costs) - set(table.arms[1:]))
    if strange:
        raise TableFileError(
            f"--cost names {', '.join(strange)}, which is no arm that was acted on. The table has "
            f"{', '.join(table.arms[1:])}."
        )
    answer = TableEstimate(
        file=file,
        question=question,
        worth=worth,
        is_binary=table.is_binary,
        untreated=table.arms[0],
        mechanism=mechanism,
        method=estimator_for(mechanism).description,
        rows=table.rows,
        unknown_arm=table.unknown_arm,
        facts=(*table.facts, *table.before),
        effects=(),
        seed=seed,
    )
    found = []
    for number in range(1, len(table.arms)):
        try:
            found.append(_effect(table, number, answer))
        except SampleError as error:
            raise TableFileError(
                f"{table.arms[number]!r} of {file} cannot be compared with {table.arms[0]!r}: {error}"
            ) from error
    return TableEstimate(**{**vars(answer), "effects": tuple(found)})


def _effect(table: ArmsTable, number: int, answer: TableEstimate) -> ArmEffect:
    question, worth = answer.question, answer.worth
    rng = np.random.default_rng([answer.seed, number])
    pair = (table.arm == 0) | (table.arm == number)
    outcome, arms = table.outcome[pair], len(table.arms) - 1
    everything = {**table.facts, **table.before}
    whole = _sample(table, number, everything, question)
    sample, kept, contrast = _compare(whole, outcome, question, rng)
    estimate = estimate_of(contrast, comparisons=arms)
    compared = CheckedComparison(
        contrast=contrast,
        outcome=outcome[kept],
        outcome_words=_outcome_words(table, question),
        by_lot=question.by_lot,
        placebos=_placebos(table, number, question, rng),
        excluded={"unknown_outcome": (table.unknown_outcome[number], table.unknown_outcome[0])},
        odds_on_record=bool(question.odds),
        unit="rows" if question.cluster is None else "clusters",
    )
    grading = grade_effect(compared)
    claimed = grading.grade in ("A", "B", "C")
    verdict = verdict_of(estimate, goal=worth.goal, smallest_effect=worth.smallest_effect)
    segments, too_small = segment_effects(
        contrast,
        tuple(sample.segment),
        goal=worth.goal,
        smallest_effect=worth.smallest_effect,
    )
    treated = whole.treated
    return ArmEffect(
        arm=table.arms[number],
        judgement=verdict if claimed else "do not use",
        headline=_headline(answer, table.arms[number], estimate, verdict, grading.why, claimed),
        estimate=estimate,
        plain=plain_difference(whole, outcome, estimand=estimate.estimand),
        mean_treated=float(outcome[treated].mean()),
        mean_untreated=float(outcome[~treated].mean()),
        money_sentence=_money(worth, table.arms[number], estimate, int(treated.sum())),
        grade=grading.grade if claimed else None,
        why=grading.why,
        checks=grading.checks,
        balance=balance_table(contrast),
        chances=histogram_of(contrast),
        segments=segments if question.segment else (),
        segments_too_small=too_small if question.segment else (),
        heterogeneity=heterogeneity(segments),
        left_out=_left_out(table, number, whole, kept),
    )


def _sample(
    table: ArmsTable, number: int, facts: Mapping[str, Floats], question: Question
) -> Sample:
    pair = (table.arm == 0) | (table.arm == number)
    treated = table.arm[pair] == number
    chance = float("nan")
    if question.by_lot:
        odds = question.odds or {}
        mine, none = odds.get(table.arms[number], 0.0), odds.get(table.arms[0], 0.0)
        chance = mine / (mine + none) if odds else float(treated.mean())
    rows = len(treated)
    columns = [column[pair] for column in facts.values()]
    return Sample.of_two_arms(
        covariates=np.column_stack(columns) if columns else np.empty((rows, 0)),
        covariate_names=tuple(facts),
        treated=treated,
        propensity=np.full(rows, chance),
        action=table.arms[number],
        segment=table.segment[pair],
        cluster=table.cluster[pair],
    )


def _compare(
    whole: Sample, outcome: Floats, question: Question, rng: np.random.Generator
) -> tuple[Sample, Bools, Contrast]:
    """The compared rows, which they are, and the contrast of the outcome over them."""
    if question.by_lot:
        estimator, estimand = estimator_for("lottery"), _estimand(question)
        kept = np.ones(len(whole), dtype=bool)
        found = estimator.estimate(whole, {"outcome": outcome}, estimand=estimand, rng=rng)
        return whole, kept, found["outcome"]
    kept = likely_enough(whole, rng=rng, repeats=REPEATS)
    sample = whole.keep(kept)
    if not sample.treated.any() or sample.treated.all():
        raise SampleError(
            "no row of one arm is like any of the other in what was known before. Compare with "
            "rows that could have been acted on."
        )
    found = estimate_aipw(
        sample,
        {"outcome": outcome[kept]},
        estimand=_estimand(question),
        rng=rng,
        repeats=REPEATS,
        trim=False,
    )
    return sample, kept, found["outcome"]


def _estimand(question: Question) -> Estimand:
    return "ITT" if question.by_lot else "ATT"


def _placebos(
    table: ArmsTable, number: int, question: Question, rng: np.random.Generator
) -> dict[str, Contrast]:
    """Each measurement from before as if it were the outcome, adjusted for what is older than it."""
    pair = (table.arm == 0) | (table.arm == number)
    names = list(table.before)
    found = {}
    for place, name in enumerate(names):
        older = {**table.facts, **{one: table.before[one] for one in names[:place]}}
        values = table.before[name][pair]
        known = ~np.isnan(values)
        if not known.any() or float(values[known].std()) == 0:
            continue
        sample = _sample(table, number, older, question).keep(known)
        if not question.by_lot and not older:
            continue  # nothing to adjust for: the plain difference says nothing of the method
        try:
            _, _, contrast = _compare(sample, standardise(values[known]), question, rng)
            estimate_of(contrast)
        except SampleError:
            continue
        found[name] = contrast
    return found


def _left_out(
    table: ArmsTable, number: int, whole: Sample, kept: Bools
) -> dict[str, tuple[int, int]]:
    """Why rows do not count: (acted on, not)."""
    return {
        "the outcome is not known": (table.unknown_outcome[number], table.unknown_outcome[0]),
        "hardly ever, or nearly always, acted on, by what was known before": (
            int((~kept & whole.treated).sum()),
            int((~kept & ~whole.treated).sum()),
        ),
    }


def _outcome_words(table: ArmsTable, question: Question) -> tuple[str, str]:
    if table.is_binary:
        return f"have {question.outcome} = 1", f"have {question.outcome} = 0"
    return f"have another {question.outcome} than the commonest", f"have a known {question.outcome}"


def _headline(
    answer: TableEstimate, arm: str, found: Estimate, verdict: Verdict, why: str, claimed: bool
) -> str:
    if not claimed:
        return f"{arm}: do not use. {why}"
    interval = f"95% interval {answer.size(found.low)} to {answer.size(found.high)}"
    size = f"{answer.question.outcome} {answer.size(found.estimate)} ({interval})"
    by = "" if answer.question.by_lot else ", as far as the named facts explain who was acted on"
    if verdict in ("works", "harms"):
        return f"{arm} {verdict}{by}: {size} against {answer.untreated}."
    if verdict == "does not work":
        smallest = answer.size(answer.worth.smallest_effect)
        return f"{arm} does not work{by}: less than {smallest}; {size} against {answer.untreated}."
    return f"{arm}: not known. {size} against {answer.untreated}."


def _money(worth: Worth, arm: str, found: Estimate, n_actions: int) -> str | None:
    if worth.value is None or not worth.currency:
        return None
    each = found.scaled(worth.value if worth.goal == "higher" else -worth.value)
    total = each.scaled(float(n_actions))
    cost = (worth.costs or {}).get(arm)
    spent = None if cost is None else cost * n_actions
    return money_sentence(
        worth.when,
        each,
        total,
        cost=spent,
        net=None if spent is None else total.shifted(-spent),
        n_actions=n_actions,
        currency=worth.currency,
    )
