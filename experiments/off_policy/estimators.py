"""Estimate what another policy would have earned on logged decisions.

A logged decision holds the possible actions, the chosen one with its probability, and the reward.
From decisions in which chance had a part, the value of a policy that would have chosen differently
can be estimated without trying it. With the ratio ``w = target / propensity`` of the
action that was chosen, its reward ``r`` and a prediction ``q`` of the reward of every action:

    ips            mean of w r                                     (Horvitz and Thompson 1952)
    snips          sum of w r over sum of w                        (Swaminathan and Joachims 2015)
    direct         mean over actions of target q
    dr             direct + mean of w (r - q)                      (Dudik, Langford and Li 2011)
    dr_shrunk      the same with w L / (w² + L), L by the data     (Su and others 2020, optimistic)

``dr`` is unbiased where propensities are right, and the promotion of a policy is decided on it
alone: ``compare`` pairs both policies row by row. ``dr_shrunk`` accepts a little bias for less
noise, and is shown as the value. Rows of one account are one cluster. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy import stats

from experiments.causal.contrast import effective_size
from experiments.causal.estimates import clustered_error
from experiments.causal.estimators.nuisances import Folds, design_matrix, predict_outcome
from experiments.causal.sample import Floats, Ints

EstimatorName = Literal["ips", "snips", "direct", "dr", "dr_shrunk"]

ESTIMATORS: tuple[EstimatorName, ...] = get_args(EstimatorName)
SUMS_TO_ONE = 1e-9
GRID = 40
"""Strengths of shrinking that are tried, between none and full."""

MOST_PRODUCTS = 200
"""Columns of covariates times actions that a fit may have."""

LEAST_EFFECTIVE = 30.0
"""Fewer effective decisions than this are too few for a verdict."""


class OffPolicyError(ValueError):
    """A log that no other policy can be judged on."""


@dataclass(frozen=True, kw_only=True)
class LoggedChoices:
    """Decisions in which chance chose one of several actions: n rows, k actions.

    ``propensity`` is the logged probability of what was chosen; ``predicted`` (n × k) the reward
    that each action was expected to bring, by a fit that did not see the row (`predict_rewards`).
    """

    chosen: Ints
    propensity: Floats
    reward: Floats
    cluster: Ints
    predicted: Floats

    def __post_init__(self) -> None:
        n = len(self.chosen)
        for name in ("propensity", "reward", "cluster", "predicted"):
            if len(getattr(self, name)) != n:
                raise OffPolicyError(
                    f"The log has {n} choices and {len(getattr(self, name))} rows of {name}."
                )
        if n == 0:
            raise OffPolicyError(
                "The log holds no decision in which chance had a say. Let a "
                "lottery or exploration run first."
            )
        if not ((self.propensity > 0) & (self.propensity <= 1)).all():
            raise OffPolicyError(
                "A logged propensity is not above 0 and at most 1; such a "
                "decision cannot have been made."
            )
        if not (np.isfinite(self.reward).all() and np.isfinite(self.predicted).all()):
            raise OffPolicyError(
                "A reward or a prediction is not a number. Leave out decisions "
                "whose outcome is not known yet."
            )
        if self.chosen.min() < 0 or self.chosen.max() >= self.predicted.shape[1]:
            raise OffPolicyError(f"A choice is not one of the {self.predicted.shape[1]} actions.")


@dataclass(frozen=True, kw_only=True)
class PolicyValue:
    """The estimated reward of a policy per decision, in the unit of the rewards.

    ``low`` and ``high`` bound it with 95 % confidence; ``effective`` is the number of decisions of
    the policy's own with the same precision, ``largest_weight`` the greatest share of one row in
    all weights.
    """

    estimator: EstimatorName
    mean: float
    error: float
    low: float
    high: float
    n: int
    effective: float
    largest_weight: float


@dataclass(frozen=True, kw_only=True)
class PolicyComparison:
    """A new policy beside the present one on the same log, by the paired ``dr`` difference.

    ``bound`` is the one-sided 95 % bound below the difference: the new policy passes where it is
    above 0, on at least ``LEAST_EFFECTIVE`` effective decisions.
    """

    difference: float
    error: float
    low: float
    high: float
    bound: float
    n: int
    effective: float

    @property
    def passes(self) -> bool:
        """Whether the log shows that the new policy earns more."""
        return self.effective >= LEAST_EFFECTIVE and self.bound > 0


def evaluate(log: LoggedChoices, target: Floats) -> dict[EstimatorName, PolicyValue]:
    """The value of a policy by every estimator.

    Args:
        log: the decisions by chance, with their rewards.
        target: n × k, the probability with which the policy would choose each action.

    Raises:
        OffPolicyError: the probabilities of a row do not sum to 1.
    """
    weight = _weights(log, target)
    terms = {name: _terms(log, target, weight, name) for name in ESTIMATORS}
    return {name: _value(log, name, weight, terms[name], terms["dr"]) for name in ESTIMATORS}


def compare(log: LoggedChoices, new: Floats, present: Floats | None = None) -> PolicyComparison:
    """Whether a new policy would have earned more than the present one.

    Args:
        log: what was decided, by chance, and what came of it.
        new: n × k, the probabilities of the new policy.
        present: n × k, those of the policy it would replace; without them it is the policy that
            logged, whose value is the mean of its own rewards.

    Raises:
        OffPolicyError: the probabilities of a row do not sum to 1.
    """
    weights = [_weights(log, new)]
    terms = _terms(log, new, weights[0], "dr") - log.reward
    if present is not None:
        weights.append(_weights(log, present))
        terms += log.reward - _terms(log, present, weights[1], "dr")
    difference = float(terms.mean())
    error = _error(terms, log.cluster)
    effective = min(effective_size(weight) for weight in weights)
    freedom = _freedom(log.cluster, effective)
    two_sided, one_sided = stats.t.ppf([0.975, 0.95], freedom)
    return PolicyComparison(
        difference=difference,
        error=error,
        low=difference - two_sided * error,
        high=difference + two_sided * error,
        bound=difference - one_sided * error,
        n=len(log.chosen),
        effective=effective,
    )


def mean_weight(log: LoggedChoices, target: Floats) -> tuple[float, float, float]:
    """The mean of the weights and its 99 % interval. The expectation is 1 if the logged
    propensities are right and the log could have chosen every action of the policy.

    Raises:
        OffPolicyError: the probabilities of a row do not sum to 1.
    """
    weight = _weights(log, target)
    mean = float(weight.mean())
    freedom = _freedom(log.cluster, effective_size(weight))
    reach = float(stats.t.ppf(0.995, freedom)) * _error(weight, log.cluster)
    return mean, mean - reach, mean + reach


def predict_rewards(
    covariates: Floats,
    chosen: Ints,
    reward: Floats,
    cluster: Ints,
    *,
    actions: int,
    rng: np.random.Generator,
) -> Floats:
    """The reward that each action is expected to bring in each row, out of fold: n × actions.

    One model for all actions, with the action among its covariates and, where the columns do not
    get too many, its product with each of the others: an action that was seldom chosen is shrunk to
    the mean of all. Folds hold whole clusters.
    """
    n = len(chosen)
    each = np.eye(actions)
    known = (
        np.nan_to_num(covariates - np.nanmean(covariates, axis=0))
        if covariates.size
        else (covariates)
    )
    with_products = covariates.shape[1] * actions <= MOST_PRODUCTS

    def facts(rows: Ints, action: Ints) -> Floats:
        columns = [covariates[rows], each[action]]
        if with_products:
            columns.append(
                (known[rows, :, None] * each[action][:, None, :]).reshape(
                    len(rows), covariates.shape[1] * actions
                )
            )
        return np.column_stack(columns)

    predicted = np.empty((n, actions))
    folds = Folds.draw(cluster, chosen == chosen[0], rng=rng)
    for fit, predict in folds.splits():
        seed = int(rng.integers(2**31 - 1))
        asked = np.flatnonzero(predict)
        learnt = np.flatnonzero(fit)
        _, first, place = np.unique(
            covariates[asked], axis=0, return_index=True, return_inverse=True
        )
        distinct = asked[first]
        # every distinct row to predict once with each action, below the rows to learn from
        rows = facts(
            np.concatenate([learnt, np.repeat(distinct, actions)]),
            np.concatenate([chosen[learnt], np.tile(np.arange(actions), len(distinct))]),
        )
        is_fit = np.arange(len(rows)) < len(learnt)
        outcome = np.concatenate([reward[learnt], np.zeros(len(rows) - len(learnt))])
        predicted[asked] = predict_outcome(
            rows,
            design_matrix(rows),
            outcome,
            fit=is_fit,
            predict=~is_fit,
            seed=seed,
        ).reshape(len(distinct), actions)[place.ravel()]
    return predicted


def _weights(log: LoggedChoices, target: Floats) -> Floats:
    if target.shape != log.predicted.shape:
        raise OffPolicyError(
            f"The policy gives probabilities for {target.shape[0]} rows of "
            f"{target.shape[1]} actions, the log has {log.predicted.shape[0]} of "
            f"{log.predicted.shape[1]}."
        )
    if (target < 0).any() or (np.abs(target.sum(axis=1) - 1) > SUMS_TO_ONE).any():
        raise OffPolicyError(
            'The probabilities of a decision do not sum to 1; "do nothing" is an action too.'
        )
    return np.asarray(target[np.arange(len(target)), log.chosen] / log.propensity)


def _terms(log: LoggedChoices, target: Floats, weight: Floats, name: EstimatorName) -> Floats:
    """One number per row whose mean is the estimate and whose spread is its error."""
    if name == "ips":
        return weight * log.reward
    if name == "snips":
        scale = weight.mean()
        if scale == 0:
            return np.zeros(len(weight))
        value = (weight @ log.reward) / weight.sum()
        return np.asarray(value + weight * (log.reward - value) / scale)
    direct = (target * log.predicted).sum(axis=1)
    if name == "direct":
        return np.asarray(direct)
    residual = log.reward - log.predicted[np.arange(len(weight)), log.chosen]
    if name == "dr":
        return np.asarray(direct + weight * residual)
    return np.asarray(direct + _shrunk(weight, residual, direct) * residual)


def _shrunk(weight: Floats, residual: Floats, direct: Floats) -> Floats:
    """The weights shrunk as far as their error falls by more than their bias grows."""
    largest = float(weight.max())
    if largest == 0:
        return weight
    n = len(weight)
    best, least = weight, np.inf
    for strength in (*np.geomspace(1e-2, 1e4 * largest**2, GRID), np.inf):
        tried = weight if np.isinf(strength) else weight * strength / (weight**2 + strength)
        lost = (weight - tried) * residual
        error = (direct + tried * residual).var() / n
        bias = lost.mean() ** 2
        if error + bias < least:
            best, least = tried, error + bias
    return np.asarray(best)


def _value(
    log: LoggedChoices, name: EstimatorName, weight: Floats, terms: Floats, unbiased: Floats
) -> PolicyValue:
    mean, error = float(terms.mean()), _error(terms, log.cluster)
    if name == "dr_shrunk":  # less noise costs a bias of unknown size
        error = max(error, _error(unbiased, log.cluster))
    effective = effective_size(weight)
    reach = float(stats.t.ppf(0.975, _freedom(log.cluster, effective))) * error
    total = float(weight.sum())
    return PolicyValue(
        estimator=name,
        mean=mean,
        error=error,
        low=mean - reach,
        high=mean + reach,
        n=len(terms),
        effective=effective,
        largest_weight=float(weight.max() / total) if total else 0.0,
    )


def _error(terms: Floats, cluster: Ints) -> float:
    """Standard error of the mean, rows of a cluster together."""
    if (cluster == cluster[0]).all():
        return float("inf")
    return clustered_error(terms - terms.mean(), cluster)[0] / len(terms)


def _freedom(cluster: Ints, effective: float) -> float:
    """Degrees of freedom: few effective rows make the error itself uncertain."""
    return max(1.0, min(float(len(np.unique(cluster))), effective) - 1)
