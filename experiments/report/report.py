"""The report of what our actions caused, as one value.

For each written design: trials, the effect on churn and on revenue with intervals, the naive number
beside it, segments, money, and the checks. A failed check silences the headline. If nothing can be
answered the report states that, with the experiment that would answer it. Pure: events and features
in, a value out; `render` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from typing import Literal

import numpy as np
import polars as pl

from experiments.causal.analysis import CountedMoney, DesignResult, analyse
from experiments.causal.design import Design, DesignNotWrittenError
from experiments.causal.estimates import Verdict
from experiments.causal.power import ExperimentCandidate, ExperimentPlan, cheapest_experiment
from experiments.causal.sample import SampleError
from experiments.causal.sentences import action_title, money
from experiments.causal.trials import NoTrialsError, build_trials
from experiments.report.counted_effects import CountedEffect

LIBRARIES = ("numpy", "scipy", "scikit-learn", "lightgbm", "polars")


@dataclass(frozen=True, kw_only=True)
class Unanswered:
    """A design that the data cannot answer yet, and why."""

    design: Design
    why: str


@dataclass(frozen=True, kw_only=True)
class ActionReport:
    """All designs about one action, the lottery first, and whether they agree."""

    action: str
    title: str
    verdict: Verdict
    grade: Literal["A", "C"] | None  # A: a lottery, C: judgement that passed its checks
    headline: str
    results: tuple[DesignResult, ...]
    unanswered: tuple[Unanswered, ...]
    agreement: str | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """One page for leadership: works, does not work, unknown."""

    title: str
    as_of: datetime
    currency: str
    actions: tuple[ActionReport, ...]
    nothing_logged: str | None  # the sentence if no intervention was logged
    experiment: ExperimentPlan | None
    experiment_sentence: str | None
    base_rate_sentence: str | None
    versions: Mapping[str, str]
    counted: Mapping[str, tuple[CountedEffect, ...]] = field(default_factory=dict)
    """By design the effects of its segments as the ranking counts them, where they are known."""

    @property
    def headline(self) -> str:
        """The report in one or two sentences, for a list of reports."""
        if self.nothing_logged is not None:
            return self.nothing_logged
        words = {
            "works": "works",
            "harms": "harms",
            "does not work": "does not work",
            "unknown": "not known",
        }
        found = [
            f"{title}: {words[verdict]}"
            for title, verdict in ((action.title, action.verdict) for action in self.actions)
        ]
        return f"{'; '.join(found)}." if found else "No design was asked about."


def build_report(
    events: pl.DataFrame,
    features: pl.DataFrame,
    designs: Sequence[Design],
    *,
    as_of: datetime,
    costs: Mapping[str, float],
    currency: str,
    rng: np.random.Generator,
    title: str = "What our actions caused",
    counted: CountedMoney | None = None,
) -> Report:
    """The report on these designs from what was known at ``as_of``.

    ``costs`` maps an action to the cost of carrying it out once; with ``counted`` values are also
    stated over the time that the ranking counts.

    Raises:
        DesignNotWrittenError: a design that was not written before.
    """
    for design in designs:
        if design.written_at is None:
            raise DesignNotWrittenError(
                f"Design {design.design_id!r} was not written before its report. Write it first "
                f"(experiments.design.write_design): a design comes before the data."
            )
    results: dict[str, list[DesignResult]] = {}
    unanswered: dict[str, list[Unanswered]] = {}
    ordered = sorted(designs, key=lambda item: (item.mechanism != "lottery", item.design_id))
    for design in ordered:
        try:
            trials = build_trials(events, features, design, as_of=as_of)
            result = analyse(trials, costs=costs, currency=currency, rng=rng, counted=counted)
        except (NoTrialsError, SampleError) as error:
            unanswered.setdefault(design.action, []).append(
                Unanswered(design=design, why=str(error))
            )
        else:
            results.setdefault(design.action, []).append(result)
    actions = [
        _action_report(action, tuple(results.get(action, ())), tuple(unanswered.get(action, ())))
        for action in dict.fromkeys(design.action for design in ordered)
    ]
    rank: dict[str, int] = {"works": 0, "harms": 1, "does not work": 2, "unknown": 3}
    return Report(
        title=title,
        as_of=as_of,
        currency=currency,
        actions=tuple(sorted(actions, key=lambda item: (rank[item.verdict], item.title))),
        nothing_logged=None,
        experiment=None,
        experiment_sentence=None,
        base_rate_sentence=None,
        versions=library_versions(),
    )


def library_versions() -> dict[str, str]:
    """The libraries that made the numbers."""
    return {name: version(name) for name in LIBRARIES}


def _action_report(
    action: str, results: tuple[DesignResult, ...], unanswered: tuple[Unanswered, ...]
) -> ActionReport:
    """The first claimed result decides about the action; a lottery comes before judgement."""
    speaker = next((result for result in results if result.is_claimed), None)
    if speaker is not None:
        verdict, headline = speaker.verdict, speaker.headline
    elif results:
        verdict, headline = "unknown", results[0].headline
    else:
        verdict, headline = "unknown", f"Not identifiable yet. {unanswered[0].why}"
    return ActionReport(
        action=action,
        title=action_title(action),
        verdict=verdict,
        headline=headline,
        grade=None if speaker is None else "A" if speaker.design.mechanism == "lottery" else "C",
        results=results,
        unanswered=unanswered,
        agreement=_agreement(results),
    )


def _agreement(results: Sequence[DesignResult]) -> str | None:
    """The difference between a lottery's and a judgement's effect; they are about different accounts."""
    by_lot = next((item for item in results if item.design.mechanism == "lottery"), None)
    by_choice = next((item for item in results if item.design.mechanism == "judgement"), None)
    if by_lot is None or by_choice is None:
        return None
    one, other = by_lot.churn.estimate, by_choice.churn.estimate
    difference = other.estimate - one.estimate
    error = float(np.hypot(one.standard_error, other.standard_error))
    naive = by_choice.naive.difference.estimate
    interval = f"{difference * 100:+.1f} points, give or take {1.96 * error * 100:.1f}"
    agree = abs(difference) <= 1.96 * error
    return (
        f"The adjusted comparison and the lottery {'agree' if agree else 'disagree'}: they differ "
        f"by {interval}. The plain comparison of the judged accounts says "
        f"{naive * 100:+.1f} points. "
        + (
            "They are about different accounts: an average over those drawn, and over those chosen."
            if agree
            else "Believe the lottery, and look for what people knew that is not in the telemetry."
        )
    )


def no_intervention_report(
    *,
    as_of: datetime,
    currency: str,
    candidates: Sequence[ExperimentCandidate],
    horizon_days: int = 90,
    base_rate_sentence: str | None = None,
    title: str = "What our actions caused",
) -> Report:
    """The report if no intervention was logged: it proposes an experiment."""
    plan = cheapest_experiment(candidates, horizon_days=horizon_days)
    sentence = None
    if plan is not None:
        each = money(plan.candidate.cost_per_account, currency)
        sentence = (
            f"{plan.sentence} It would cost about {money(plan.cost, currency)} "
            f"({plan.n_treated:,} times {each}, our own estimate)."
        )
    return Report(
        title=title,
        as_of=as_of,
        currency=currency,
        actions=(),
        nothing_logged=(
            "No interventions were logged. The data hold what accounts did, not what was done "
            "for them, so no effect of any action can be known from them, however strong a "
            "correlation looks."
        ),
        experiment=plan,
        experiment_sentence=sentence,
        base_rate_sentence=base_rate_sentence,
        versions=library_versions(),
    )
