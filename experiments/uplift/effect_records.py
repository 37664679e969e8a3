"""Turn scores into the records of effects that the policy, the API and the pages read.

For every action one record over all trials and one for each segment in which it was tried, shrunk
toward the action's own mean and not toward the playbook, which readers mix in once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from experiments.causal.checks.protocol import CheckedComparison
from experiments.causal.contrast import Scores
from experiments.causal.estimates import mean_effect
from experiments.causal.sample import Bools, Floats, SampleError
from experiments.effects.action_effect import ActionEffect, GoodOutcome
from experiments.uplift.ageing import Ageing, estimate_ageing, segment_weights, weight_by_age
from experiments.uplift.grading import Grading, grade_effect
from experiments.uplift.segments import segment_uplifts
from registry.playbook.actions import Grade

OUTCOME_WORDS: Mapping[GoodOutcome, tuple[str, str]] = {
    "retention": ("stayed", "left"),
    "expansion": ("grew", "did not grow"),
}
"""Words for a good outcome of 1 and of 0."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The outcome, the period and the source of a measurement."""

    outcome: GoodOutcome
    horizon_days: int
    measured_from: datetime
    measured_to: datetime
    source: str


@dataclass(frozen=True, kw_only=True)
class EffectRecords:
    """The records, the checks behind each action's grade, and the actions without a result."""

    records: tuple[ActionEffect, ...]
    gradings: Mapping[str, Grading]
    unanswered: Mapping[str, str]  # action: why


def action_effects(
    scores: Scores,
    outcome: Floats,
    *,
    placebos: Mapping[str, Scores],
    measured: Measurement,
    rng: np.random.Generator,
    prior_grades: Mapping[str, Grade] | None = None,
    decided_outside: Mapping[str, str] | None = None,
    is_exposed: Bools | None = None,
    excluded: Mapping[str, tuple[int, int]] | None = None,
    age_days: Floats | None = None,
) -> EffectRecords:
    """The records of every action of the scores.

    ``placebos`` are scores of values from before the start, under the same arms.
    ``prior_grades`` is the grade that an action falls back to, ``decided_outside`` the event that
    decided about an action in place of people. With ``age_days``, the days from each trial's start
    to the newest one's, trials of an action whose effect changes count by their age.
    """
    sample = scores.sample
    moving = (
        {}
        if age_days is None
        else {
            number: found
            for number in range(1, len(sample.arms))
            if (
                found := estimate_ageing(
                    scores.middle(number),
                    age_days,
                    sample.cluster,
                    follow_up_days=measured.horizon_days,
                )
            ).half_life_days
            is not None
        }
    )
    counted = scores if age_days is None or not moving else weight_by_age(scores, age_days, moving)
    everybody = np.ones(len(sample), dtype=bool)
    records: list[ActionEffect] = []
    gradings: dict[str, Grading] = {}
    unanswered: dict[str, str] = {}
    for number, action in enumerate(sample.arms[1:], 1):
        try:
            mean = mean_effect(counted, number)
        except SampleError as error:
            unanswered[action] = str(error)
            continue
        graded = gradings[action] = grade_effect(
            CheckedComparison(
                contrast=scores.contrast(number),
                outcome=outcome,
                outcome_words=OUTCOME_WORDS[measured.outcome],
                by_lot=sample.is_lottery(number),
                placebos={name: found.contrast(number) for name, found in placebos.items()},
                is_exposed=is_exposed,
                excluded=excluded or {},
            ),
            prior_grade=(prior_grades or {}).get(action, "E"),
            decided_outside=(decided_outside or {}).get(action),
        )
        records.append(
            _record(
                measured,
                graded,
                action,
                None,
                estimate=mean.estimate,
                low=mean.low,
                high=mean.high,
                standard_error=mean.standard_error,
                n=mean.n,
                effective_n=_effective_n(scores, number, everybody, age_days, moving.get(number)),
                why=_why(graded.why, moving.get(number)),
                risk=untreated_risk(scores, everybody, measured.outcome),
            )
        )
    by_segment = _segments(scores, counted, measured, gradings, rng, age_days, moving)
    return EffectRecords(records=(*records, *by_segment), gradings=gradings, unanswered=unanswered)


def _segments(
    scores: Scores,
    counted: Scores,
    measured: Measurement,
    gradings: Mapping[str, Grading],
    rng: np.random.Generator,
    age_days: Floats | None,
    moving: Mapping[int, Ageing],
) -> list[ActionEffect]:
    arms = scores.sample.arms
    try:
        found = segment_uplifts(counted, rng=rng, actions=tuple(gradings))
    except SampleError:
        return []  # a segment of one account: the action's own record stands for it
    if len({item.segment for item in found}) < 2:
        return []
    records = []
    for item in found:
        if item.n_treated == 0 or item.n_control == 0:
            continue
        number, rows = arms.index(item.action), scores.sample.segment == item.segment
        records.append(
            _record(
                measured,
                gradings[item.action],
                item.action,
                item.segment,
                estimate=item.estimate,
                low=item.low,
                high=item.high,
                standard_error=item.standard_error,
                n=item.n_treated + item.n_control,
                effective_n=_effective_n(scores, number, rows, age_days, moving.get(number)),
                why=_why(
                    f"{gradings[item.action].why} {item.own_share:.0%} of the estimate is the "
                    f"segment's own, the rest the action's in all segments.",
                    moving.get(number),
                ),
                risk=untreated_risk(scores, rows, measured.outcome),
            )
        )
    return records


def _effective_n(
    scores: Scores, number: int, rows: Bools, age_days: Floats | None, ageing: Ageing | None
) -> float:
    if age_days is not None and ageing is not None and ageing.half_life_days is not None:
        scores = replace(
            scores, weight=scores.weight * segment_weights(scores, age_days, ageing.half_life_days)
        )
    return scores.effective_n(number, rows)


def _why(why: str, ageing: Ageing | None) -> str:
    return why if ageing is None or ageing.words is None else f"{why} {ageing.words}"


def _record(
    measured: Measurement,
    graded: Grading,
    action: str,
    segment: str | None,
    *,
    estimate: float,
    standard_error: float,
    low: float,
    high: float,
    n: int,
    effective_n: float,
    why: str,
    risk: float | None,
) -> ActionEffect:
    return ActionEffect(
        action_id=action,
        segment=segment,
        estimate=estimate,
        standard_error=standard_error,
        n=n,
        effective_n=min(effective_n, float(n)),
        grade=graded.grade,
        measured_from=measured.measured_from,
        measured_to=measured.measured_to,
        source=measured.source,
        outcome=measured.outcome,
        horizon_days=measured.horizon_days,
        low=low,
        high=high,
        why=why,
        untouched_risk=risk,
    )


def untreated_risk(scores: Scores, rows: Bools, outcome: GoodOutcome) -> float | None:
    """The probability that these accounts leave (retention) or grow (expansion) if nobody acts.

    None if the scores give no probability above 0.
    """
    good = float(np.median(scores.score[:, rows, 0].mean(axis=1)))
    risk = 1 - good if outcome == "retention" else good
    return risk if 0 < risk <= 1 else None
