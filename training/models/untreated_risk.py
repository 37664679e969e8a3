"""Estimate the risk if nobody acts, from labels of which some were treated.

The estimand is P(outcome within the horizon | features, no logged intervention in the window), the
prediction under "no treatment" of van Geloven et al. (2020). A row counts until it is treated::

    interval k     ├────────── outcome: it counts
                   ├─── treated: censored from here on
                   ├──────────────────── neither: it counts
    weight         1 / chance of having stayed untreated so long

Logged chances of a lottery are used as they are; for the rest a penalised regression by interval
predicts treatment, fitted to other accounts than it predicts. Only two numbers are fitted: how far
the log-odds of untreated rows lie above those of the model's own score in all rows, on average and
by the chance of being treated. Errors draw whole accounts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from registry.bundle.calibration import sigmoid
from registry.bundle.linear import LinearForm
from registry.bundle.untreated_risk import NO_LOG, ONLY_CHURN, UntreatedRisk, UntreatedShift
from training.dataset.cutoffs import reach_of
from training.dataset.splits import closed_by
from training.dataset.training_set import FIFTHS, TrainingSet
from training.dataset.treatments import TreatedRows, treated_shares
from training.models.fit import fit_linear
from training.models.fitting.fit_rows import usable_columns
from training.models.specs import LIGHTGBM

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Bools = NDArray[np.bool_]
Places = NDArray[np.int64]

LEAST_TREATED_ACCOUNTS = 10
"""At least so many treated accounts are needed to learn who is treated."""

LEAST_OUTCOMES = 20
"""At least so many untreated accounts with the outcome are needed: two numbers are fitted to them."""

LEAST_EFFECTIVE = 50
"""The weighted rows have to be worth so many accounts; below it a few of them decide alone."""

MOST_WEIGHT = 20.0
"""The largest weight of a row: one in twenty stays untreated where nearly all are treated."""

MOST_AT_LIMIT = 0.2
"""Above this share of rows at that limit there is nobody to compare the treated with."""

TREATMENT_STRENGTH = 0.003
"""Inverse penalty of the regression on being treated."""

SPREADS = (1.0, 0.3)
"""Prior standard deviations of the shift and of the weight of being treated; both have mean 0."""

REFIT_DRAWS = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class HorizonInterval:
    """The rows that could have the outcome between two horizons, treated or not."""

    horizon: int
    rows: Places
    outcome: Vector
    untreated: Bools  # until the outcome, or to the end of the interval
    stay: Vector  # chance of that

    @property
    def weight(self) -> Vector:
        """The weight of each row; 0 where it is censored."""
        return np.where(self.untreated, np.minimum(1 / self.stay, MOST_WEIGHT), 0.0)


def fit_untreated_risk(
    training: TrainingSet,
    treated: TreatedRows,
    long_outcomes: Mapping[int, Vector],
    columns: list[int],
    near: Vector,
    *,
    at: datetime,
    seed: int,
) -> UntreatedRisk:
    """Estimate the risk if nobody acts, or say why it cannot be.

    Args:
        training: rows at the nearer horizons.
        treated: when each row was treated, and when its outcome came.
        long_outcomes: the longer horizons that are served, each with its outcomes.
        columns: what the model reads.
        near: its score of every row, by a fit without its account.
        at: windows that close after it are not known.
        seed: of everything random.
    """
    shares = treated_shares(training, treated, long_outcomes)
    came = np.isfinite(treated.treated_days)
    if not came.any() or training.label.rule != "contract_ends":
        reason = ONLY_CHURN if came.any() else NO_LOG
        return UntreatedRisk(
            shares=shares,
            shift=None,
            not_known=dict.fromkeys(shares, reason),
            drawn_share=0.0,
            effective_accounts=0.0,
        )
    near = _centred_by_fifths(training, near)
    intervals = treatment_intervals(
        training, treated, long_outcomes, treatment_predictors(training, treated, near), at=at
    )
    judged, not_known, effective = _judged(training, intervals)
    drawn = float(treated.by_chance[came].mean())
    shift = None
    if judged:
        chance, form = treatment_chance(training, treated, columns, at=at)
        shift = _fit_shift(training, judged, near, chance, form, seed=seed)
    return UntreatedRisk(
        shares=shares,
        shift=shift,
        not_known=not_known,
        drawn_share=drawn,
        effective_accounts=effective,
    )


def _centred_by_fifths(training: TrainingSet, near: Vector) -> Vector:
    """The scores without the level of the fit that each comes from: it would add to their error."""
    fifth = training.fifth
    counts = np.maximum(np.bincount(fifth, minlength=FIFTHS), 1)
    return np.asarray(near - (np.bincount(fifth, near, FIFTHS) / counts)[fifth])


def treatment_intervals(
    training: TrainingSet,
    treated: TreatedRows,
    long_outcomes: Mapping[int, Vector],
    known: Matrix,
    *,
    at: datetime,
) -> list[HorizonInterval]:
    """The rows that could have the outcome between each two horizons, and the chance to be
    untreated.

    Args:
        training: rows at the nearer horizons.
        treated: when each row was treated, and when its outcome came.
        long_outcomes: the longer horizons, each with its outcomes.
        known: rows × predictors of treatment.
        at: windows that close after it are not known.
    """
    outcomes = {
        **{h: training.outcomes[:, k] for k, h in enumerate(training.horizons)},
        **long_outcomes,
    }
    log_stay, start, before = np.zeros(len(known)), 0.0, np.zeros(len(known))
    found = []
    for horizon, outcome in sorted(outcomes.items()):
        end = float(training.label.lead_days + horizon)
        here = _closed(training, horizon, at) & (before == 0) & ~np.isnan(outcome)
        until = np.minimum(treated.outcome_days, end)
        there = here & (treated.treated_days >= start)
        came = there & (treated.treated_days < until)
        judged = came & ~treated.by_chance  # by a person: nobody logged the chance
        own = np.log1p(-_chance_by_fifths(training, known, judged, there & ~(came & ~judged)))
        passed = _share_passed(treated, judged, there, until)
        log_now = log_stay + passed * own + _log_chance_untreated(treated, until)
        found.append(
            HorizonInterval(
                horizon=horizon,
                rows=np.flatnonzero(here),
                outcome=outcome[here],
                untreated=treated.treated_days[here] >= until[here],
                stay=np.exp(log_now[here]),
            )
        )
        log_stay, start, before = log_stay + own, end, outcome
    return found


def treatment_chance(
    training: TrainingSet, treated: TreatedRows, columns: list[int], *, at: datetime
) -> tuple[Vector, LinearForm]:
    """Each row's log-odds of being treated before the longest near horizon, and the served form.

    Uses the model's own features alone, because nothing else is known when it predicts.
    """
    horizon = training.horizons[-1]
    rows = _closed(training, horizon, at) & ~np.isnan(training.outcome)
    came = treated.treated_within(float(training.label.lead_days + horizon)) & rows
    x, y = training.matrix[:, columns], came.astype(np.float64)
    scores = np.empty(len(x))
    for fifth in range(FIFTHS):
        out = training.fifth == fifth
        scores[out] = _treatment_form(x[rows & ~out], y[rows & ~out]).score(x[out])
    return scores, _treatment_form(x[rows], y[rows])


def logit_weights(
    design: Matrix,
    outcome: Vector,
    offset: Vector,
    weight: Vector,
    *,
    precision: Vector,
    start: Vector | None = None,
) -> Vector:
    """Weights of a weighted logistic regression beside an offset, shrunken to 0."""
    found = np.zeros(design.shape[1]) if start is None else start
    for _ in range(MOST_STEPS):
        p = sigmoid(offset + design @ found)
        gradient = design.T @ (weight * (p - outcome)) + precision * found
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + np.diag(precision)
        step = np.clip(np.linalg.solve(curvature, gradient), -2.0, 2.0)
        found = found - step
        if np.abs(step).max() < CLOSE:
            break
    return found


MOST_STEPS, CLOSE, TINY = 50, 1e-8, 1e-6


def _fit_shift(
    training: TrainingSet,
    intervals: list[HorizonInterval],
    near: Vector,
    chance: Vector,
    form: LinearForm,
    *,
    seed: int,
) -> UntreatedShift:
    rows = np.concatenate([one.rows for one in intervals])
    accounts, outcome, weight = (
        training.account[rows],
        *(
            np.concatenate([getattr(one, name) for one in intervals])
            for name in ("outcome", "weight")
        ),
    )
    low, high = np.quantile(chance[rows], [0.01, 0.99])
    t = np.clip(chance[rows], low, high)
    centre = float(t.mean())
    treatment_design = np.column_stack((np.ones(len(rows)), t - centre))
    scores = [np.column_stack((np.ones(len(one.rows)), near[one.rows])) for one in intervals]
    present = np.unique(accounts)
    # rows of one account overlap, so what is known beforehand weighs as if accounts were the rows
    share = len(present) / max(len(one.rows) for one in intervals)

    def fitted(
        times: Vector, plain: list[Vector] | None, best: Vector | None
    ) -> tuple[list[Vector], Vector]:
        """The fit of the score in all rows, and shift and weight; ``times`` weighs accounts."""
        plain = [
            logit_weights(
                design,
                one.outcome,
                np.zeros(len(design)),
                times[training.account[one.rows]],
                precision=np.full(2, TINY),
                start=None if plain is None else plain[k],
            )
            for k, (one, design) in enumerate(zip(intervals, scores, strict=True))
        ]
        offset = np.concatenate([design @ w for design, w in zip(scores, plain, strict=True)])
        return plain, logit_weights(
            treatment_design,
            outcome,
            offset,
            share * weight * times[accounts],
            precision=1 / np.array(SPREADS) ** 2,
            start=best,
        )

    plain, best = fitted(np.ones(len(training.accounts)), None, None)
    rng = np.random.default_rng((seed, len(rows)))
    drawn = np.empty((REFIT_DRAWS, 2))
    for draw in range(REFIT_DRAWS):
        times = np.zeros(len(training.accounts))
        times[present] = rng.multinomial(len(present), np.full(len(present), 1 / len(present)))
        drawn[draw] = fitted(times, plain, best)[1]
    (a, b), (_, c) = np.cov(drawn.T)
    return UntreatedShift(
        horizons=tuple(one.horizon for one in intervals),
        shift=float(best[0]),
        weight=float(best[1]),
        centre=centre,
        bounds=(float(low), float(high)),
        covariance=((float(a), float(b)), (float(b), float(c))),
        treatment=form,
    )


def _judged(
    training: TrainingSet, intervals: list[HorizonInterval]
) -> tuple[list[HorizonInterval], dict[int, str], float]:
    """The intervals that can be learned from, why others cannot, and what their rows are worth."""
    near = [one for one in intervals if one.horizon <= training.horizons[-1]]
    effective = _effective_accounts(training, near[-1])
    reason = _why_not(training, near)
    if reason is not None:
        return [], dict.fromkeys((one.horizon for one in intervals), reason), effective
    judged, not_known = list(near), {}
    for one in intervals[len(near) :]:
        reason = reason or _why_not(training, [one])
        if reason is None:
            judged.append(one)
        else:
            not_known[one.horizon] = reason
    return judged, not_known, effective


def _why_not(training: TrainingSet, intervals: list[HorizonInterval]) -> str | None:
    """Why these rows cannot tell what untreated accounts do; None where they can."""
    last = intervals[-1]

    def accounts(name: str) -> int:
        chosen = [
            one.rows[~one.untreated if name == "treated" else one.untreated & (one.outcome == 1)]
            for one in intervals
        ]
        return len(np.unique(training.account[np.concatenate(chosen)]))

    treated, lost = accounts("treated"), accounts("untreated with the outcome")
    if treated < LEAST_TREATED_ACCOUNTS:
        return (
            f"Only {treated} accounts were treated, and {LEAST_TREATED_ACCOUNTS} are needed to tell "
            f"whom that happens to."
        )
    at_limit = float((last.stay < 1 / MOST_WEIGHT).mean())
    if at_limit > MOST_AT_LIMIT:
        return (
            f"{at_limit:.0%} of the rows were all but sure to be treated, so there is nobody "
            f"to compare them with."
        )
    if lost < LEAST_OUTCOMES:
        return (
            f"Only {lost} accounts had the outcome without being treated before it, and "
            f"{LEAST_OUTCOMES} are needed."
        )
    effective = _effective_accounts(training, last)
    if effective < LEAST_EFFECTIVE:
        return (
            f"The untreated rows are worth {effective:.0f} accounts once they stand for all, "
            f"and {LEAST_EFFECTIVE} are needed."
        )
    return None


def _effective_accounts(training: TrainingSet, one: HorizonInterval) -> float:
    """The number of accounts of equal weight with the same precision (Kish 1965)."""
    by_account = np.bincount(training.account[one.rows], one.weight)
    total = float(by_account.sum())
    return total**2 / float((by_account**2).sum()) if total > 0 else 0.0


def treatment_predictors(training: TrainingSet, treated: TreatedRows, near: Vector) -> Matrix:
    """The predictors of treatment: every feature, the score, and earlier treatments."""
    every = usable_columns(training, np.ones(len(near), dtype=np.bool_), LIGHTGBM)
    return np.column_stack(
        (training.matrix[:, every], near, treated.days_since_treatment, treated.days_since_choice)
    )


def _chance_by_fifths(training: TrainingSet, known: Matrix, came: Bools, rows: Bools) -> Vector:
    """The chance of being treated in an interval, by a fit that does not know the account."""
    chance = np.zeros(len(known))
    if len(np.unique(training.account[came])) < LEAST_TREATED_ACCOUNTS:
        return chance  # too few to learn from: counts as none
    for fifth in range(FIFTHS):
        out = training.fifth == fifth
        form = _treatment_form(known[rows & ~out], came[rows & ~out].astype(np.float64))
        chance[out] = sigmoid(form.score(known[out]))
    return np.minimum(chance, MOST_CHANCE)


MOST_CHANCE = 0.98


def _treatment_form(known: Matrix, came: Vector) -> LinearForm:
    """The log-odds of being treated; their level where these rows are all alike."""
    if not 0 < came.sum() < len(came):
        n = known.shape[1]
        level = float(np.log((came.sum() + 0.5) / (len(came) - came.sum() + 0.5)))
        return LinearForm.plain(
            intercept=level,
            fill=np.zeros(n),
            center=np.zeros(n),
            scale=np.ones(n),
            coefficient=np.zeros(n),
        )
    return fit_linear(known, came, strength=TREATMENT_STRENGTH)


def _share_passed(treated: TreatedRows, came: Bools, there: Bools, until: Vector) -> Vector:
    """Share of an interval's treatments that come before each row's own end.

    By Nelson and Aalen: treatments mostly come at few moments, such as the day after a list is
    made.
    """
    moments, times = np.unique(treated.treated_days[came], return_counts=True)
    if not len(moments):
        return np.zeros(len(until))
    left = np.sort(np.minimum(until, treated.treated_days)[there])
    at_risk = len(left) - np.searchsorted(left, moments, side="left")
    risen = np.concatenate(([0.0], np.cumsum(times / at_risk)))
    return np.asarray(risen[np.searchsorted(moments, until, side="left")] / risen[-1])


def _log_chance_untreated(treated: TreatedRows, until: Vector) -> Vector:
    """Log of the chance, as it was logged, that each lottery before its end left a row untreated."""
    total = np.zeros(len(until))
    drawn = treated.control_days < until[treated.control_row]
    np.add.at(total, treated.control_row[drawn], np.log1p(-treated.control_chance[drawn]))
    return total


def _closed(training: TrainingSet, horizon: int, at: datetime) -> Bools:
    """Rows whose window of this horizon had closed at a moment."""
    reach = reach_of(horizon, lead_days=training.label.lead_days)
    places = [training.cutoffs.index(one) for one in closed_by(training.cutoffs, at, reach=reach)]
    return np.isin(training.cutoff, places)
