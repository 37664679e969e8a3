"""The effect of an action that people assigned by judgement, or that chance drew.

Cross-fitted augmented inverse probability weighting (Robins, Rotnitzky and Zhao 1994;
Chernozhukov et al. 2018), for two arms or more: predict the outcome under each arm, then correct
the prediction by the weighted errors. With propensity ``e_a`` and prediction ``m_a`` of arm ``a``::

    score_a = m_a + [arm = a] (Y - m_a) / e_a

    ATE of a   score_a - score_0                                             over 1
    ATT of a   [arm = a](Y - m_0) - [arm = 0](Y - m_0) e_a / e_0             over [arm = a]

Right when either the propensities or the outcome are predicted well, and only if everything that
drove both the choice and the outcome is among the covariates; no arithmetic can check that, so the
checks and the tipping value are reported with it. Logged propensities are used where they exist.

The weights of each arm are scaled to sum to the rows they represent (Hajek), so that one row with a
tiny probability does not decide. An ATE is over all trials, an ATT over the treated that have
counterparts; the check of overlap counts the rows of an ATE that have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.causal.contrast import CLIP, Contrast, Scores, has_counterparts, pair_chance
from experiments.causal.estimators.nuisances import (
    Folds,
    design_matrix,
    predict_arms,
    predict_outcome,
    predict_under_arms,
)
from experiments.causal.sample import Bools, Estimand, Floats, Sample, SampleError

REPEATS = 3
"""Times that the folds are redrawn; the median counts."""

Round = tuple[Floats, dict[str, Floats]]
"""Propensity (rows x arms), and of each outcome the prediction under each arm, all out of fold."""


def estimate_aipw(
    sample: Sample,
    outcomes: Mapping[str, Floats],
    *,
    estimand: Estimand,
    rng: np.random.Generator,
    action: int = 1,
    repeats: int = REPEATS,
    trim: bool = True,
) -> dict[str, Contrast]:
    """One action against none, a contrast per outcome, on shared folds and propensities.

    Without ``trim`` an ATT is over all treated rows, as after ``likely_enough``; those that have no
    counterparts are still counted by the check of overlap.

    Raises:
        SampleError: an estimand that does not exist for judgement, or an unknown outcome.
    """
    if estimand == "ITT":
        raise SampleError(
            "An intention-to-treat effect needs a lottery. Ask for ATT (the accounts that received "
            "the action) or ATE (all eligible accounts)."
        )
    if estimand == "ATE":
        found = cross_fit_all(sample, outcomes, rng=rng, repeats=repeats)
        return {name: scores.contrast(action) for name, scores in found.items()}
    rounds = _rounds(sample, outcomes, rng, repeats, untreated_only=True)
    return {
        name: _on_the_treated(sample, outcome, action, [(e, m[name]) for e, m in rounds], trim=trim)
        for name, outcome in outcomes.items()
    }


def likely_enough(sample: Sample, *, rng: np.random.Generator, repeats: int = REPEATS) -> Bools:
    """Rows whose predicted chance of the action is between ``CLIP`` and one less it, out of fold.

    For a first look at two arms that people chose from: where most of one arm is nothing like the
    other, both predictions are fitted again on these rows alone (Crump et al. 2009; Imbens and Xu
    2024), so that they are about the accounts that are compared.
    """
    chance = np.median(
        [e[:, 1] for e, _ in _rounds(sample, {}, rng, repeats, untreated_only=True)], axis=0
    )
    return np.asarray((chance >= CLIP) & (chance <= 1 - CLIP))


def cross_fit(
    sample: Sample, outcome: Floats, *, rng: np.random.Generator, repeats: int = REPEATS
) -> Scores:
    """The scores of one outcome under all arms; every prediction comes from other accounts.

    Raises:
        SampleError: an outcome that is not known for every trial, or fewer than two accounts.
    """
    return cross_fit_all(sample, {"outcome": outcome}, rng=rng, repeats=repeats)["outcome"]


def cross_fit_all(
    sample: Sample,
    outcomes: Mapping[str, Floats],
    *,
    rng: np.random.Generator,
    repeats: int = REPEATS,
) -> dict[str, Scores]:
    """The scores of several outcomes, on shared folds and propensities, as `cross_fit`."""
    rounds = _rounds(sample, outcomes, rng, repeats, untreated_only=False)
    weights = [arm_weights(sample, propensity) for propensity, _ in rounds]
    return {
        name: Scores(
            sample=sample,
            score=np.array(
                [
                    arm_scores(sample, outcome, predicted[name], weight)
                    for (_, predicted), weight in zip(rounds, weights, strict=True)
                ]
            ),
            propensity=rounds[0][0],
            weight=weights[0],
        )
        for name, outcome in outcomes.items()
    }


def arm_weights(sample: Sample, propensity: Floats) -> Floats:
    """One over the clipped chance of the arm that a row was in; each arm sums to all rows."""
    own = np.clip(propensity[np.arange(len(sample)), sample.arm], CLIP, 1.0)
    weight = 1 / own
    totals = np.bincount(sample.arm, weights=weight, minlength=len(sample.arms))
    return np.asarray(weight * len(sample) / totals[sample.arm])


def arm_scores(sample: Sample, outcome: Floats, predicted: Floats, weight: Floats) -> Floats:
    """The score of every row under every arm: predicted, and in its own arm corrected."""
    own = np.arange(len(sample)), sample.arm
    score = predicted.copy()
    score[own] += weight * (outcome - predicted[own])
    return score


def treated_weights(treated: Bools, untreated: Bools, chance: Floats, kept: Bools) -> Floats:
    """The weight of each row where the untreated stand for the treated; 0 where trimmed.

    ``chance`` is the probability of the action, given that it is the action or none.
    """
    clipped = np.clip(chance, CLIP, 1 - CLIP)
    weight = np.where(treated, 1.0, clipped / (1 - clipped))
    weight = np.where(kept & (treated | untreated), weight, 0.0)
    total, target = float(weight[untreated].sum()), float((kept & treated).sum())
    if total > 0:
        weight[untreated] *= target / total
    return np.asarray(weight)


def treated_terms(
    outcome: Floats, predicted: Floats, treated: Bools, kept: Bools, weight: Floats
) -> tuple[Floats, Floats]:
    """Numerator and denominator of every row for an ATT; ``predicted`` is without the action."""
    sign = np.where(treated, 1.0, -1.0)
    return sign * weight * (outcome - predicted), (treated & kept).astype(float)


def _on_the_treated(
    sample: Sample,
    outcome: Floats,
    action: int,
    rounds: Sequence[tuple[Floats, Floats]],
    *,
    trim: bool,
) -> Contrast:
    """The ATT; a treated row needs enough untreated rows as likely to be treated as itself.

    Untreated rows that were almost certain not to be treated stay: their weight is close to 0.
    """
    treated, untreated = sample.arm == action, sample.arm == 0
    comparable = np.logical_and.reduce([has_counterparts(e, sample.arm, 0) for e, _ in rounds])
    kept = comparable if trim else np.ones(len(sample), dtype=bool)
    weights = [treated_weights(treated, untreated, pair_chance(e, action), kept) for e, _ in rounds]
    terms = [
        treated_terms(outcome, predicted[:, 0], treated, kept, weight)
        for (_, predicted), weight in zip(rounds, weights, strict=True)
    ]
    return Contrast(
        sample=sample,
        action=action,
        estimand="ATT",
        numerator=np.array([top for top, _ in terms]),
        denominator=np.array([bottom for _, bottom in terms]),
        propensity=rounds[0][0],
        weight=weights[0],
        comparable=comparable,
        kept=kept,
    )


def _rounds(
    sample: Sample,
    outcomes: Mapping[str, Floats],
    rng: np.random.Generator,
    repeats: int,
    *,
    untreated_only: bool,
) -> list[Round]:
    for outcome in outcomes.values():
        if outcome.shape != (len(sample),) or not np.isfinite(outcome).all():
            raise SampleError(
                f"The outcome has to be known for each of the {len(sample)} trials; "
                f"leave trials out whose follow-up is not over."
            )
    if np.unique(sample.cluster).size < 2:
        raise SampleError("All trials belong to one cluster, so nothing can be cross-fitted.")
    matrix = design_matrix(sample.covariates)
    return [
        _one_round(sample, matrix, outcomes, rng, untreated_only=untreated_only)
        for _ in range(repeats)
    ]


def _one_round(
    sample: Sample,
    matrix: Floats,
    outcomes: Mapping[str, Floats],
    rng: np.random.Generator,
    *,
    untreated_only: bool,
) -> Round:
    """An ATT needs only the outcome without the action, learned from the untreated."""
    folds = Folds.draw(sample.cluster, sample.treated, rng=rng)
    propensity = sample.propensity.copy()
    predicted = {name: np.full(propensity.shape, np.nan) for name in outcomes}
    unlogged = ~sample.logged
    for fit, predict in folds.splits():
        seed = int(rng.integers(2**31 - 1))
        asked = predict & unlogged
        if asked.any():
            propensity[asked] = predict_arms(
                sample.covariates,
                matrix,
                sample.arm,
                len(sample.arms),
                fit=fit & unlogged,
                predict=asked,
                seed=seed,
            )
        for name, outcome in outcomes.items():
            if untreated_only:
                predicted[name][predict, 0] = predict_outcome(
                    sample.covariates,
                    matrix,
                    outcome,
                    fit=fit & (sample.arm == 0),
                    predict=predict,
                    seed=seed,
                )
            else:
                predicted[name][predict] = predict_under_arms(
                    sample.covariates,
                    matrix,
                    sample.arm,
                    len(sample.arms),
                    outcome,
                    fit=fit,
                    predict=predict,
                    seed=seed,
                )
    return propensity, predicted
