"""This module is about the effect of an action that people assigned by judgement.

Cross-fitted augmented inverse probability weighting (Robins, Rotnitzky and Zhao 1994;
Chernozhukov et al. 2018): predict the outcome either way, then correct the prediction by the
weighted errors. Right when either the propensity or the outcome is predicted well, and only if
everything that drove both the choice and the outcome is among the covariates; no arithmetic can
check that, so the checks and the tipping value go with it.

Per row, with propensity ``e``, predictions ``m1`` and ``m0``::

    ATE   m1 - m0 + T(Y - m1)/e - (1 - T)(Y - m0)/(1 - e)            over 1
    ATT   T(Y - m0) - (1 - T) (Y - m0) e/(1 - e)                     over T

The weights of each arm are scaled to sum to what they stand for (Hajek), which keeps one row with
a tiny probability from deciding.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from experiments.causal.estimators.nuisances import (
    Folds,
    design_matrix,
    predict_binary,
    predict_outcome,
)
from experiments.causal.sample import Bools, Estimand, Fit, Floats, Sample, SampleError

CLIP = 0.01
"""Propensities nearer to 0 or 1 than this are moved here; where comparison ends, see `comparable`.
"""

LEAST_COUNTERPARTS = 3
"""Rows of the other arm at least this far out that a row needs to stay. A model smooths over where
nobody was left untreated, so a bound on the propensity alone does not see it."""

REPEATS = 3
"""Times that the folds are redrawn; the median counts."""


def estimate_aipw(
    sample: Sample,
    outcomes: Mapping[str, Floats],
    *,
    estimand: Estimand,
    rng: np.random.Generator,
    repeats: int = REPEATS,
) -> dict[str, Fit]:
    """One fit per outcome, on shared folds and propensities.

    Raises:
        SampleError: an estimand that judgement has no meaning for.
    """
    if estimand == "ITT":
        raise SampleError(
            "An intention-to-treat effect needs a lottery. Ask for ATT (the accounts that received "
            "the action) or ATE (all eligible accounts)."
        )
    matrix = design_matrix(sample.covariates)
    rounds = [_one_round(sample, matrix, outcomes, estimand, rng) for _ in range(repeats)]
    first = rounds[0][0]
    kept = np.logical_and.reduce([comparable(e, sample.treated, estimand) for e, _ in rounds])
    fits = {}
    for name, outcome in outcomes.items():
        terms = [
            signal(
                outcome=outcome,
                treated=sample.treated,
                propensity=propensity,
                predicted_control=predictions[name][0],
                predicted_treated=predictions[name][1],
                kept=kept,
                estimand=estimand,
            )
            for propensity, predictions in rounds
        ]
        fits[name] = Fit(
            estimand=estimand,
            numerator=np.array([top for top, _ in terms]),
            denominator=np.array([bottom for _, bottom in terms]),
            cluster=sample.cluster,
            treated=sample.treated,
            propensity=first,
            weight=weights(first, sample.treated, kept, estimand),
            kept=kept,
        )
    return fits


def comparable(propensity: Floats, treated: Bools, estimand: Estimand) -> Bools:
    """Rows that have counterparts in the other arm.

    For ATT a row needs enough untreated rows at least as likely to be treated as itself, and not
    to have been all but sure to be. Untreated rows that were all but sure not to be stay: they
    weigh next to nothing. For ATE the same from below, against the treated.
    """
    highest = _nth(np.sort(propensity[~treated])[::-1])
    lowest = _nth(np.sort(propensity[treated]))
    below = propensity <= min(highest, 1 - CLIP)
    return below if estimand == "ATT" else below & (propensity >= max(lowest, CLIP))


def _nth(ordered: Floats) -> float:
    return float(ordered[min(LEAST_COUNTERPARTS, ordered.shape[0]) - 1])


def weights(propensity: Floats, treated: Bools, kept: Bools, estimand: Estimand) -> Floats:
    """The weight of each row in its arm; 0 where trimmed. Each arm's weights sum to its target."""
    clipped = np.clip(propensity, CLIP, 1 - CLIP)
    if estimand == "ATT":
        raw = np.where(treated, 1.0, clipped / (1 - clipped))
        target = float((kept & treated).sum())
    else:
        raw = np.where(treated, 1 / clipped, 1 / (1 - clipped))
        target = float(kept.sum())
    raw = np.where(kept, raw, 0.0)
    for arm in (treated, ~treated):
        total = float(raw[arm].sum())
        if total > 0:
            raw[arm] *= target / total
    return np.asarray(raw)


def signal(
    *,
    outcome: Floats,
    treated: Bools,
    propensity: Floats,
    predicted_control: Floats,
    predicted_treated: Floats,
    kept: Bools,
    estimand: Estimand,
) -> tuple[Floats, Floats]:
    """Numerator and denominator of every row, as in the module's formulas."""
    weight = weights(propensity, treated, kept, estimand)
    if estimand == "ATT":
        residual = outcome - predicted_control
        return np.where(treated, 1.0, -1.0) * weight * residual, (treated & kept).astype(float)
    residual = outcome - np.where(treated, predicted_treated, predicted_control)
    plain = predicted_treated - predicted_control
    return plain + np.where(treated, 1.0, -1.0) * weight * residual, kept.astype(float)


def _one_round(
    sample: Sample,
    matrix: Floats,
    outcomes: Mapping[str, Floats],
    estimand: Estimand,
    rng: np.random.Generator,
) -> tuple[Floats, dict[str, tuple[Floats, Floats]]]:
    """Propensity, and per outcome the predictions untreated and treated, all out of fold.

    An ATT does not ask what the treated arm predicts, so that stays NaN.
    """
    arms = (False,) if estimand == "ATT" else (False, True)
    folds = Folds.draw(sample.cluster, sample.treated, rng=rng)
    propensity = np.empty(len(sample))
    unasked = np.full(len(sample), np.nan)
    predictions = {name: (unasked.copy(), unasked.copy()) for name in outcomes}
    for fit, predict in folds.splits():
        seed = int(rng.integers(2**31 - 1))
        propensity[predict] = predict_binary(
            sample.covariates, matrix, sample.treated, fit=fit, predict=predict, seed=seed
        )
        for name, outcome in outcomes.items():
            for arm in arms:
                predictions[name][int(arm)][predict] = predict_outcome(
                    sample.covariates,
                    matrix,
                    outcome,
                    fit=fit & (sample.treated == arm),
                    predict=predict,
                    seed=seed,
                )
    return propensity, predictions
