"""Predict the outcome of an account under each arm, as the basis of decisions.

A decision by the expected outcome needs no proof that accounts differ, only an expectation that
does not overfit. One model of all arms gives it, from the account's covariates, the effect of an
arm on everybody, and differences of that effect between accounts::

    z = intercept + x·main + w·(arm + x·any_action + x·arm)      all but the intercept N(0, spread²)

Three choices are not fixed: the spreads of outcomes and effects, whether they are linear in a
number or also jump at its quartiles, and whether an action changes everybody's odds alike (w = 1)
or adds about the same points to all (w is larger where a point is more log-odds, `_same_points`).
The prediction is averaged over them by the likelihood of the trials (MacKay 1992; the integral by
Laplace's method, exact for numbers). If the trials show no difference, all accounts get nearly the
same effect.

Outcomes that are often zero and else a number (money spent, revenue retained) have two parts (Cragg
1971): whether there is any, by a logistic model, and how much, by a linear model of the others.
Actions mostly change the first part, so effects on amounts are learned from all arms together, and
the amounts of a few large accounts do not dominate. If the stages of each trial are known (visited,
then bought), every stage is a part of its own: many more visit than buy, so the first effect is
known much better. The parts are multiplied, ``P(visited) · P(bought | visited) · E[amount |
bought]``. A factor after the first is no effect of an action, because the accounts that visited
differ between arms; the product is the expected outcome under each arm.

Everything that drove the choice of the arm has to be among the covariates, as it is in a lottery.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from experiments.causal.estimators.nuisances import scaled_columns, scaled_flag
from experiments.causal.sample import Bools, Floats, Ints, Sample, SampleError

MAIN_SPREADS = (0.1, 0.3, 1.0)
"""How far accounts may differ by a covariate: log-odds, or units of the number, a deviation."""

EFFECT_SPREADS = (0.01, 0.05, 0.1, 0.2, 0.35, 0.6)
"""How far effects may differ by a covariate, likewise."""

FAR = 0.4
"""Deviation of the half-normal by which large spreads of effects are less likely before looking."""

ARM_SPREAD = 1.0
"""Prior spread of the effect of an arm on everybody: log-odds, or standard deviations of a number."""

LATER_SPREAD = 0.4
"""Prior spread of the effect of an arm on a later step, in log-odds. It is smaller, because actions
mostly change the first step; where they do not, this costs a little. A step that every trial took
is not the first one."""

AMOUNT_SPREAD = 0.2
"""Prior spread of the effect of an arm on amounts if only some accounts have one, relative to the
usual amount: a fifth is a strong effect."""

FLATTENING = 0.25
"""Keeps the log-odds of a point finite where hardly anybody comes, or all do. Points that double a
small usual chance are ``log(1 + 1 / r)`` log-odds on one of r times the usual; with this they are
met within 9 % for r from 0.1 to 4. Smaller effects it spreads too evenly: of points that are a
tenth of the usual chance it gives half of what they are at r = 0.1."""

ROUNDING = 1e-12
"""Amounts that differ by less, as a share of the largest, are one amount."""

LEAST_NOISE = 1e-6
QUARTILES = (0.25, 0.5, 0.75)
FEW_VALUES = 5
"""A covariate with this many values or fewer has no jumps at quartiles."""

ANY_INTERCEPT = 100.0
NEGLIGIBLE = 1e-3
"""Weight below which a pair of spreads is ignored."""

STEPS, NEAR, LONGEST_STEP = 50, 1e-5, 4.0  # of Newton's method; the last two in log-odds
NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
NODE_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """Normal posterior of the coefficients under one form and pair of spreads; its log evidence."""

    mean: Floats
    covariance: Floats
    log_evidence: float


@dataclass(frozen=True, kw_only=True)
class DesignForm:
    """One form of the model: its columns for trials and for the accounts to decide about.

    Columns are as they are, or also jump at quartiles. The weights are what the log-odds of an
    action are multiplied by in each row: 1 for the same odds, else for about the same points.
    """

    trials: Floats
    asked: Floats
    trials_weight: Floats
    asked_weight: Floats


def expected_outcomes(
    sample: Sample, outcome: Floats, *, asked: Floats, reached: Bools | None = None
) -> Floats:
    """The expected outcome of these accounts under each arm, accounts x arms.

    Rows of one cluster are dependent, so all rows together count as the number of clusters.

    Args:
        sample: the trials.
        outcome: of every trial.
        asked: covariates of the accounts, accounts x covariates.
        reached: trials x stages, whether a trial came so far, in the order of the way; what has an
            outcome other than 0 has come through all of them. The chances of the steps, each
            learned from those who took the step before, are multiplied.

    Raises:
        SampleError: an outcome that is not known for every trial, covariates or stages of another
            shape, or a trial that came further than the stage before.
    """
    if outcome.shape != (len(sample),) or not np.isfinite(outcome).all():
        raise SampleError(
            f"The outcome has to be known for each of the {len(sample)} trials; "
            f"leave trials out whose follow-up is not over."
        )
    if asked.ndim != 2 or asked.shape[1] != len(sample.covariate_names):
        raise SampleError(
            f"The accounts asked about have covariates of shape {asked.shape}; "
            f"{len(sample.covariate_names)} covariates are needed: "
            f"{', '.join(sample.covariate_names)}."
        )
    arms, has_outcome = len(sample.arms), outcome != 0
    way = _stages_of(reached, has_outcome)
    if not has_outcome.any():
        return np.zeros((len(asked), arms))
    forms = _forms(sample.covariates, asked)
    chance, came, spread = np.ones((len(asked), arms)), np.ones(len(sample), dtype=bool), ARM_SPREAD
    for further in way.T:
        if not further[came].all():
            chance = chance * _chances_of(forms, sample, came, further, spread)
            spread = LATER_SPREAD
        came = further
    return np.asarray(chance * _amounts_of(forms, sample, outcome, has_outcome))


def _stages_of(reached: Bools | None, has_outcome: Bools) -> Bools:
    """The stages, and whether there is any outcome as the last."""
    if reached is None:
        return has_outcome[:, None]
    if reached.ndim != 2 or len(reached) != len(has_outcome) or reached.dtype != np.bool_:
        raise SampleError(
            f"Stages are true or false, {len(has_outcome)} trials x stages, and not "
            f"{reached.dtype} of shape {reached.shape}."
        )
    way = np.column_stack([reached, has_outcome])
    skipped = np.flatnonzero((way[:, 1:] & ~way[:, :-1]).any(axis=0))
    if skipped.size:
        number = int(skipped[0])
        rows = int((way[:, number + 1] & ~way[:, number]).sum())
        what = "an outcome" if number + 2 == way.shape[1] else f"come to stage {number + 2}"
        raise SampleError(
            f"{rows} trial(s) have {what} and have not come to stage {number + 1}. "
            f"Give the stages in their order, or leave this one out."
        )
    return way


def _chances_of(
    forms: Sequence[DesignForm], sample: Sample, came: Bools, further: Bools, spread: float
) -> Floats:
    """The chances of the next stage given the one before; under up to four forms."""
    arms, happened, counted = len(sample.arms), further[came].astype(float), _counted(sample, came)
    same_odds = [_of_rows(form, came) for form in forms]
    return _chances(
        arms,
        _averaged(
            [*same_odds, *(_same_points(form, happened, counted) for form in same_odds)],
            arms,
            spread,
            lambda form: _logistic(
                _design(form.trials, form.trials_weight, sample.arm[came], arms), happened, counted
            ),
        ),
    )


def _amounts_of(
    forms: Sequence[DesignForm],
    sample: Sample,
    outcome: Floats,
    has_outcome: Bools,
) -> Floats:
    """The amount if there is any; its sign is that of the trials if all have the same."""
    arms, amounts = len(sample.arms), outcome[has_outcome]
    if np.ptp(amounts) <= ROUNDING * np.abs(amounts).max():
        return np.full((len(forms[0].asked), arms), amounts[0])
    everywhere = bool(has_outcome.all())
    middle = float(amounts.mean()) if everywhere else 0.0
    unit = float(amounts.std() if everywhere else np.abs(amounts).mean())
    found = middle + unit * _numbers(
        arms,
        _averaged(
            [_of_rows(form, has_outcome) for form in forms],
            arms,
            ARM_SPREAD if everywhere else AMOUNT_SPREAD,
            lambda form: _linear(
                _design(form.trials, form.trials_weight, sample.arm[has_outcome], arms),
                (amounts - middle) / unit,
                _counted(sample, has_outcome),
            ),
        ),
    )
    return np.clip(
        found, 0.0 if amounts.min() > 0 else -np.inf, 0.0 if amounts.max() < 0 else np.inf
    )


def _counted(sample: Sample, rows: Bools) -> float:
    """The weight of each trial, so that together they count as their clusters."""
    return float(np.unique(sample.cluster[rows]).size / rows.sum())


Fit = Callable[[Floats, Floats | None], Coefficients]
"""(precision of every coefficient, where to begin) -> posterior"""


def _averaged(
    forms: Sequence[DesignForm],
    arms: int,
    arm_spread: float,
    fitting: Callable[[DesignForm], Fit],
) -> list[tuple[float, DesignForm, Coefficients]]:
    """The posterior under every form and pair of spreads, and its weight."""
    found: list[tuple[DesignForm, Coefficients]] = []
    log_weight = []
    for form in forms:
        fit, begin = fitting(form), None
        for main in MAIN_SPREADS:
            for effect in EFFECT_SPREADS:
                one = fit(
                    _spreads(form.trials.shape[1], arms, main, arm_spread, effect) ** -2.0, begin
                )
                begin = one.mean
                found.append((form, one))
                log_weight.append(one.log_evidence - (effect / FAR) ** 2 / 2)
    weight = np.exp(np.array(log_weight) - max(log_weight))
    return [
        (share, form, one)
        for share, (form, one) in zip((weight / weight.sum()).tolist(), found, strict=True)
        if share > NEGLIGIBLE
    ]


def _design(matrix: Floats, weight: Floats, arm: Ints, arms: int) -> Floats:
    """Intercept, covariates, arms, covariates under any action, covariates under each."""
    acted = np.eye(arms)[arm][:, 1:] * weight[:, None]
    shared = [matrix * acted.sum(axis=1)[:, None]] if arms > 2 else []
    own = [matrix * acted[:, [number]] for number in range(arms - 1)]
    return np.column_stack([np.ones(len(matrix)), matrix, acted, *shared, *own])


def _spreads(covariates: int, arms: int, main: float, arm: float, effect: float) -> Floats:
    """Prior deviation of every column; half the variance of effects is common to all actions."""
    shares = (0.5, *[0.5] * (arms - 1)) if arms > 2 else (1.0,)
    return np.concatenate(
        [
            [ANY_INTERCEPT],
            np.full(covariates, main),
            np.full(arms - 1, arm),
            *(np.full(covariates, effect * np.sqrt(share)) for share in shares),
        ]
    )


def _logistic(design: Floats, happened: Floats, counted: float) -> Fit:
    """Newton's method and Laplace's approximation; trials are weighted."""
    start = np.zeros(design.shape[1])
    start[0] = np.log(happened.mean() / (1 - happened.mean()))

    def fit(precision: Floats, begin: Floats | None) -> Coefficients:
        mean = np.asarray(start if begin is None else begin, dtype=float)
        for _ in range(STEPS):
            chance: Floats = expit(design @ mean)
            curvature: Floats = counted * (
                design * (chance * (1 - chance))[:, None]
            ).T @ design + np.diag(precision)
            step = np.linalg.solve(
                curvature, counted * design.T @ (happened - chance) - precision * mean
            )
            furthest = float(np.abs(design @ step).max())
            mean = np.asarray(mean + step * min(1.0, LONGEST_STEP / max(furthest, NEAR)))
            if furthest < NEAR:
                break
        odds = design @ mean
        fitted = counted * float(np.sum(happened * odds - np.logaddexp(0, odds)))
        return _posterior(np.asarray(mean, dtype=float), curvature, precision, fitted)

    return fit


def _linear(design: Floats, number: Floats, counted: float) -> Fit:
    """The exact posterior; the noise is the residual of a strongly shrunk model."""
    squares, products = design.T @ design, design.T @ number
    cautious = np.full(design.shape[1], EFFECT_SPREADS[2] ** -2.0)
    cautious[0] = ANY_INTERCEPT**-2.0
    solved = np.linalg.solve(
        counted * squares + np.diag(cautious), counted * np.column_stack([squares, products])
    )
    rows = counted * len(design)
    spent = float(np.trace(solved[:, :-1]))  # degrees of freedom
    left = counted * float(np.sum((number - design @ solved[:, -1]) ** 2))
    noise = max(left / max(rows - spent, 1.0), LEAST_NOISE)

    def fit(precision: Floats, begin: Floats | None) -> Coefficients:
        curvature = counted * squares / noise + np.diag(precision)
        mean = np.asarray(np.linalg.solve(curvature, counted * products / noise), dtype=float)
        missed = counted * float(np.sum((number - design @ mean) ** 2)) / noise
        fitted = -(missed + rows * np.log(noise)) / 2
        return _posterior(mean, curvature, precision, fitted)

    return fit


def _posterior(mean: Floats, curvature: Floats, precision: Floats, fitted: float) -> Coefficients:
    """The evidence, up to a constant for all spreads and forms."""
    return Coefficients(
        mean=mean,
        covariance=np.asarray(np.linalg.inv(curvature), dtype=float),
        log_evidence=fitted
        - float(np.sum(precision * mean**2)) / 2
        + float(np.sum(np.log(precision)) - np.linalg.slogdet(curvature)[1]) / 2,
    )


def _chances(arms: int, fits: list[tuple[float, DesignForm, Coefficients]]) -> Floats:
    """Chances averaged over the posterior: one-dimensional integrals by Gauss and Hermite."""
    found = np.zeros((len(fits[0][1].asked), arms))
    for share, form, one in fits:
        for arm in range(arms):
            design = _design(form.asked, form.asked_weight, np.full(len(found), arm), arms)
            error = np.sqrt(np.maximum(np.sum((design @ one.covariance) * design, axis=1), 0))
            found[:, arm] += share * (
                expit((design @ one.mean)[:, None] + error[:, None] * NODES) @ NODE_WEIGHTS
            )
    return found


def _numbers(arms: int, fits: list[tuple[float, DesignForm, Coefficients]]) -> Floats:
    found = np.zeros((len(fits[0][1].asked), arms))
    for share, form, one in fits:
        for arm in range(arms):
            found[:, arm] += share * (
                _design(form.asked, form.asked_weight, np.full(len(found), arm), arms) @ one.mean
            )
    return found


def _forms(trials: Floats, asked: Floats) -> tuple[DesignForm, ...]:
    """Covariates as they are, and with jumps at their quartiles; once, where none has any.

    Uses the trials alone, so that an account's result does not depend on the other accounts.
    """
    plain = _form(_scaled(trials, trials), _scaled(asked, trials))
    jumps = _jumps(trials, trials)
    if jumps.shape[1] == 0:
        return (plain,)
    return plain, _form(
        np.column_stack([plain.trials, jumps]),
        np.column_stack([plain.asked, _jumps(asked, trials)]),
    )


def _form(trials: Floats, asked: Floats) -> DesignForm:
    return DesignForm(
        trials=trials,
        asked=asked,
        trials_weight=np.ones(len(trials)),
        asked_weight=np.ones(len(asked)),
    )


def _of_rows(form: DesignForm, rows: Bools) -> DesignForm:
    return replace(form, trials=form.trials[rows], trials_weight=form.trials_weight[rows])


def _same_points(form: DesignForm, happened: Floats, counted: float) -> DesignForm:
    """The form in which an action adds about the same points to all.

    A point is ``1 / slope`` log-odds, with slope ``chance · (1 − chance)`` at the expected chance
    over all arms. The weights are that, flattened, and 1 at the usual slope::

        (1 + FLATTENING) · usual / (slope + FLATTENING · usual)
    """
    columns = form.trials.shape[1]
    fit = _logistic(np.column_stack([np.ones(len(happened)), form.trials]), happened, counted)
    found = [
        fit(np.array([ANY_INTERCEPT, *[main] * columns]) ** -2.0, None) for main in MAIN_SPREADS
    ]
    best = max(found, key=lambda one: one.log_evidence).mean

    def slope(matrix: Floats) -> Floats:
        """The points of a unit of log-odds."""
        chance: Floats = expit(best[0] + matrix @ best[1:])
        return np.asarray(chance * (1 - chance))

    slopes = slope(form.trials)
    usual = float(slopes.mean())
    weight, asked_weight = (
        (1 + FLATTENING) * usual / (one + FLATTENING * usual) for one in (slopes, slope(form.asked))
    )
    return replace(form, trials_weight=weight, asked_weight=asked_weight)


def _scaled(covariates: Floats, like: Floats) -> Floats:
    return np.column_stack([np.empty((len(covariates), 0)), *scaled_columns(covariates, like=like)])


def _jumps(covariates: Floats, like: Floats) -> Floats:
    """Whether a covariate lies above each quartile of the trials'; the mean where unknown."""
    columns = []
    for column, trials in zip(covariates.T, like.T, strict=True):
        known = trials[~np.isnan(trials)]
        if np.unique(known).size > FEW_VALUES:
            columns += [
                np.where(np.isnan(column), 0.0, scaled_flag(column > edge, like=known > edge))
                for edge in np.unique(np.quantile(known, QUARTILES))
                if (known > edge).any()
            ]
    return np.column_stack([np.empty((len(covariates), 0)), *columns])
