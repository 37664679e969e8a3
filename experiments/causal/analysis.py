"""Analyse the trials of one design: effects, money, counts, checks and doubts.

``analyse`` takes trials and gives a ``DesignResult``: a value with everything that a page shows.
The estimator follows from who decided; a failed check takes the claim away but not the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from experiments.causal.checks import CHECKS
from experiments.causal.checks.balance import Balance, balance_table
from experiments.causal.checks.protocol import CheckedComparison, CheckResult, standardise
from experiments.causal.contrast import Contrast, effective_size
from experiments.causal.design import Design
from experiments.causal.estimates import (
    Estimate,
    Heterogeneity,
    SegmentEffect,
    Verdict,
    estimate_of,
    heterogeneity,
    segment_effects,
    tipping_risk_ratio,
    verdict_of,
)
from experiments.causal.estimators import Estimator, estimator_for
from experiments.causal.exclusions import EXCLUSIONS
from experiments.causal.power import needed_per_arm
from experiments.causal.sample import Estimand, Floats, Sample, SampleError
from experiments.causal.sentences import headline_of, money_sentence
from experiments.causal.trials import CHURN, MRR_AFTER, REVENUE, Trials

HISTOGRAM_BINS = 20


@dataclass(frozen=True, kw_only=True)
class OutcomeEffect:
    """The effect on one outcome, and the plain means of both arms."""

    outcome: str
    estimate: Estimate
    mean_treated: float
    mean_control: float


@dataclass(frozen=True, kw_only=True)
class TrialCounts:
    """The counts behind the result."""

    n_accounts: int
    n_trials: int
    n_treated: int
    n_control: int
    n_clusters: int
    n_trimmed: int
    n_executed: int
    effective_treated: float
    effective_control: float


@dataclass(frozen=True, kw_only=True)
class NaiveComparison:
    """The usual comparison: the plain difference of means, and the "saves"."""

    difference: Estimate
    n_acted_on: int
    n_stayed: int


@dataclass(frozen=True, kw_only=True)
class CountedMoney:
    """For how long the ranking counts revenue that was kept, and which share of it is ours."""

    months: float
    margin: float


@dataclass(frozen=True, kw_only=True)
class LongRun:
    """The value as the ranking counts it: the MRR kept at the end of the follow-up, for ``months``.

    In the reporting currency, at ``margin``; ``net`` is what is left of ``total`` after the cost. That
    those who were kept stay so long is an assumption, not measured.
    """

    months: float
    margin: float
    per_account: Estimate
    total: Estimate
    net: Estimate | None


@dataclass(frozen=True, kw_only=True)
class RevenueEffect:
    """Revenue retained over the follow-up, in the reporting currency, and its cost."""

    per_account: Estimate
    total: Estimate
    cost_per_action: float | None
    n_actions: int
    cost: float | None
    net: Estimate | None
    sentence: str
    long_run: LongRun | None = None


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Propensities of both arms in equal bins from 0 to 1."""

    treated: tuple[int, ...]
    control: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class DesignResult:
    """The result of one design."""

    design: Design
    estimator: str
    estimator_description: str
    verdict: Verdict  # "unknown" whenever a check failed
    is_claimed: bool
    headline: str
    churn: OutcomeEffect
    revenue: OutcomeEffect
    mrr_after: OutcomeEffect
    naive: NaiveComparison
    money: RevenueEffect
    counts: TrialCounts
    segments: tuple[SegmentEffect, ...]
    segments_too_small: tuple[str, ...]
    heterogeneity: Heterogeneity | None
    checks: tuple[CheckResult, ...]
    balance: tuple[Balance, ...]
    propensities: Histogram
    tipping_ratio: float | None
    excluded: Mapping[str, tuple[int, int]]
    covariates: tuple[str, ...]
    covariates_missing: tuple[str, ...]
    first_start: datetime
    last_start: datetime
    would_change: tuple[str, ...]


def analyse(
    trials: Trials,
    *,
    costs: Mapping[str, float],
    currency: str,
    rng: np.random.Generator,
    counted: CountedMoney | None = None,
) -> DesignResult:
    """The result of a design on its trials; ``costs`` maps an action to its cost once.

    With ``counted`` its value is also stated over the time that the ranking counts.
    """
    design, sample = trials.design, trials.sample
    estimator = estimator_for(design.mechanism)
    contrasts = estimator.estimate(
        sample,
        {name: trials.outcomes[name] - trials.baselines[name] for name in trials.outcomes},
        estimand=design.estimand,
        rng=rng,
    )
    compared = CheckedComparison(
        contrast=contrasts[CHURN],
        outcome=trials.outcomes[CHURN],
        by_lot=design.mechanism == "lottery",
        placebos=_placebo_contrasts(trials, estimator, rng),
        is_exposed=trials.is_exposed,
        excluded=trials.excluded,
    )
    checks = tuple(check(compared) for check in CHECKS)
    effects = {name: _effect(name, trials, found) for name, found in contrasts.items()}
    churn = effects[CHURN].estimate
    failed = [check for check in checks if check.verdict == "failed"]
    verdict: Verdict = (
        "unknown"
        if failed
        else verdict_of(churn, goal="lower", smallest_effect=design.smallest_effect)
    )
    segments, too_small = segment_effects(
        contrasts[CHURN], trials.segments, goal="lower", smallest_effect=design.smallest_effect
    )
    tipping = (
        None
        if design.mechanism == "lottery"
        else tipping_risk_ratio(
            churn, control_rate=min(max(effects[CHURN].mean_treated - churn.estimate, 0.0), 1.0)
        )
    )
    return DesignResult(
        design=design,
        estimator=estimator.name,
        estimator_description=estimator.description,
        verdict=verdict,
        is_claimed=not failed,
        headline=headline_of(design, churn, verdict, failed),
        churn=effects[CHURN],
        revenue=effects[REVENUE],
        mrr_after=effects[MRR_AFTER],
        naive=_naive(trials),
        money=_money(
            trials,
            effects[REVENUE].estimate,
            effects[MRR_AFTER].estimate,
            costs.get(design.action),
            currency,
            counted,
        ),
        counts=_counts(trials, contrasts[CHURN]),
        segments=segments,
        segments_too_small=too_small,
        heterogeneity=heterogeneity(segments),
        checks=checks,
        balance=balance_table(contrasts[CHURN]),
        propensities=histogram_of(contrasts[CHURN]),
        tipping_ratio=tipping,
        excluded=trials.excluded,
        covariates=sample.covariate_names,
        covariates_missing=trials.covariates_missing,
        first_start=min(trials.starts),
        last_start=max(trials.starts),
        would_change=_would_change(trials, effects[CHURN], verdict, failed, tipping),
    )


def _placebo_contrasts(
    trials: Trials, estimator: Estimator, rng: np.random.Generator
) -> dict[str, Contrast]:
    """The estimator applied before the start; placebos known for the same rows share a fit."""
    groups: dict[bytes, list[str]] = {}
    for name, values in trials.placebos.items():
        groups.setdefault((~np.isnan(values)).tobytes(), []).append(name)
    contrasts: dict[str, Contrast] = {}
    for names in groups.values():
        known = ~np.isnan(trials.placebos[names[0]])
        outcomes = {
            name: standardise(trials.placebos[name][known])
            for name in names
            if known.any() and float(np.nanstd(trials.placebos[name])) > 0
        }
        try:
            sample = trials.sample.keep(known)
            found = estimator.estimate(sample, outcomes, estimand=trials.design.estimand, rng=rng)
        except SampleError:
            continue  # no account of one arm is old enough: the check does not apply
        contrasts.update({name: one for name, one in found.items() if _can_be_read(one)})
    return contrasts


def _can_be_read(contrast: Contrast) -> bool:
    try:
        estimate_of(contrast)
    except SampleError:
        return False
    return True


def _effect(name: str, trials: Trials, contrast: Contrast) -> OutcomeEffect:
    treated, outcome = trials.sample.treated, trials.outcomes[name]
    return OutcomeEffect(
        outcome=name,
        estimate=estimate_of(contrast),
        mean_treated=float(outcome[treated].mean()),
        mean_control=float(outcome[~treated].mean()),
    )


def _naive(trials: Trials) -> NaiveComparison:
    """The difference of the plain means, with an honest interval around the wrong number."""
    treated, outcome = trials.sample.treated, trials.outcomes[CHURN]
    return NaiveComparison(
        difference=plain_difference(trials.sample, outcome, estimand=trials.design.estimand),
        n_acted_on=int(treated.sum()),
        n_stayed=int((outcome[treated] == 0).sum()),
    )


def plain_difference(sample: Sample, outcome: Floats, *, estimand: Estimand) -> Estimate:
    """The difference of the plain means of two arms, with its interval."""
    treated = sample.treated
    share = treated.mean()
    numerator = np.where(treated, outcome / share, -outcome / (1 - share))
    centred: Floats = np.where(
        treated,
        (outcome - outcome[treated].mean()) / share,
        -(outcome - outcome[~treated].mean()) / (1 - share),
    )
    everybody = np.ones(len(outcome), dtype=bool)
    return estimate_of(
        Contrast(
            sample=sample,
            action=1,
            estimand=estimand,
            numerator=(centred + numerator.mean())[None, :],
            denominator=np.ones((1, len(outcome))),
            propensity=np.tile([1 - share, share], (len(outcome), 1)),
            weight=np.ones(len(outcome)),
            comparable=everybody,
            kept=everybody,
        )
    )


def _money(
    trials: Trials,
    revenue: Estimate,
    mrr_after: Estimate,
    cost_per_action: float | None,
    currency: str,
    counted: CountedMoney | None,
) -> RevenueEffect:
    treated = trials.sample.treated
    in_lottery = trials.design.mechanism == "lottery"
    n_actions = int((treated & trials.is_exposed).sum()) if in_lottery else int(treated.sum())
    total = revenue.scaled(float(treated.sum()))
    cost = None if cost_per_action is None else cost_per_action * n_actions
    net = None if cost is None else total.shifted(-cost)
    long_run = None
    if counted is not None:
        each = mrr_after.scaled(counted.months * counted.margin)
        whole = each.scaled(float(treated.sum()))
        long_run = LongRun(
            months=counted.months,
            margin=counted.margin,
            per_account=each,
            total=whole,
            net=None if cost is None else whole.shifted(-cost),
        )
    return RevenueEffect(
        per_account=revenue,
        total=total,
        cost_per_action=cost_per_action,
        n_actions=n_actions,
        cost=cost,
        net=net,
        sentence=money_sentence(
            f"Over {trials.design.horizon_days} days",
            revenue,
            total,
            cost=cost,
            net=net,
            n_actions=n_actions,
            currency=currency,
        ),
        long_run=long_run,
    )


def _counts(trials: Trials, contrast: Contrast) -> TrialCounts:
    treated = trials.sample.treated
    return TrialCounts(
        n_accounts=trials.n_accounts,
        n_trials=len(trials.sample),
        n_treated=int(treated.sum()),
        n_control=int((~treated).sum()),
        n_clusters=int(np.unique(trials.sample.cluster).size),
        n_trimmed=contrast.n_trimmed,
        n_executed=int((treated & trials.is_exposed).sum()),
        effective_treated=effective_size(contrast.weight[treated]),
        effective_control=effective_size(contrast.weight[~treated]),
    )


def histogram_of(contrast: Contrast) -> Histogram:
    """The chances of the action in both arms, in equal bins."""
    chance = contrast.chance
    counts = [
        np.histogram(chance[arm & ~np.isnan(chance)], bins=HISTOGRAM_BINS, range=(0, 1))[0]
        for arm in (contrast.treated, contrast.untreated)
    ]
    return Histogram(
        treated=tuple(int(n) for n in counts[0]), control=tuple(int(n) for n in counts[1])
    )


def _would_change(
    trials: Trials,
    churn: OutcomeEffect,
    verdict: Verdict,
    failed: Sequence[CheckResult],
    tipping: float | None,
) -> tuple[str, ...]:
    """The result that a later report would have to show for another verdict."""
    design = trials.design
    reasons = [f"“{check.title}” would have to pass: {check.criterion}." for check in failed]
    if not failed and verdict == "unknown" and 0 < churn.mean_control < 1:
        needed = needed_per_arm(base_rate=churn.mean_control, effect=design.smallest_effect)
        have = min(int(trials.sample.treated.sum()), int((~trials.sample.treated).sum()))
        reasons.append(
            f"More trials: to show an effect of {design.smallest_effect * 100:.0f} point(s) takes "
            f"about {needed:,} accounts in each group; the smaller group has {have:,}."
        )
    if not failed and verdict in ("works", "harms", "does not work"):
        reasons.append(
            "A later period, or another group of accounts, whose interval does not "
            "include this effect."
        )
    if design.mechanism == "judgement":
        if tipping is not None:
            reasons.append(
                f"Something that people knew and the telemetry does not, if it made both the "
                f"action and leaving at least {tipping:.1f} times as likely."
            )
        reasons.append(
            "A lottery among equal cases: it needs no assumption about what people knew."
        )
    return tuple(reasons)


def describe_exclusions(result: DesignResult) -> tuple[tuple[str, int, int], ...]:
    """Why trials were left out: (reason in words, treated, untreated), without empty reasons."""
    return tuple(
        (EXCLUSIONS[reason], *arms) for reason, arms in result.excluded.items() if sum(arms) > 0
    )
