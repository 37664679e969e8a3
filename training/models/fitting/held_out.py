"""Score rows by fits without their accounts, and calibrate on these scores.

::

    cutoffs    ── every cutoff whose window had closed ─────────────┤ moment
    fold 1     accounts of 4 fifths ─► scores of the last fifth
    …          the same months, the same rate, the same mix of contracts as the model that serves
    fold 5     accounts of 4 fifths ─► scores of the last fifth
                         a_h, b from these scores, the newest rows weigh most

So a score means the same in calibration and when it is served, and no level is learned at one
rate and applied at another. Rates drift: a row's weight halves with every ``HALF_LIFE_DAYS`` of
age, and cutoffs whose shorter windows alone have closed count at these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from registry.bundle.calibration import LEAST_DRAWS
from registry.bundle.renewal_risk import RenewalRisk
from training.dataset.cutoffs import reach_of
from training.dataset.training_set import FIFTHS, TrainingSet
from training.models.binned_rows import Grower
from training.models.calibration import CalibrationFit, fit_calibration, unseen_by
from training.models.fitting.fit_rows import fit_rows
from training.models.fitting.shares import HorizonShareFit, fit_shares, shared_probability
from training.models.renewal_risk import calendar_of, fit_renewal_risk, leads_of
from training.models.specs import ModelSpec, Parameters

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Bools = NDArray[np.bool_]

HALF_LIFE_DAYS = 365
"""A row that is this much older weighs half as much in the level and the slope."""


@dataclass(frozen=True, kw_only=True)
class HeldOutScores:
    """The score of every row by a fit without its account, and what is calibrated on them."""

    scores: Vector  # one per row of the training set
    rows: Bools  # that calibrate
    calibration: CalibrationFit
    shares: tuple[HorizonShareFit, ...]  # of the shorter horizons, falling; none: one order for all
    renewal_risk: RenewalRisk | None = None  # of a spec that knows when contracts can end

    def probability(self, f: Vector, matrix: Matrix, position: int) -> Vector:
        """The probability of rows with these scores at the horizon in this position."""
        plain = shared_probability(self.calibration, self.shares, f, matrix, position)
        if self.renewal_risk is None:
            return plain
        return self.by_date(f, matrix, self.renewal_risk.leads[position], plain)

    def by_date(self, f: Vector, matrix: Matrix, horizon_days: int, rest: Vector) -> Vector:
        """The probability within any horizon: of rows with a date by their decisions, else ``rest``."""
        risk = self.renewal_risk
        if risk is None:
            return rest
        dated = risk.calendar.has_date(matrix)
        return np.where(dated, risk.probability(f, matrix, horizon_days), rest)

    def near_odds(self, f: Vector, matrix: Matrix) -> Vector:
        """The log-odds at the longest of the usual horizons."""
        odds = self.calibration.log_odds(f, len(self.calibration.intercepts) - 1)
        if self.renewal_risk is None:
            return np.asarray(odds)
        p = self.probability(f, matrix, len(self.calibration.intercepts) - 1)
        return np.asarray(np.where(self.renewal_risk.calendar.has_date(matrix), logit(p), odds))


def score_held_out(
    spec: ModelSpec,
    training: TrainingSet,
    fitted: Bools,
    columns: list[int],
    parameters: Parameters,
    *,
    at: datetime,
    seed: int,
    draws: int = 0,
    grower: Grower | None = None,
) -> HeldOutScores:
    """Score every row by a fit without its account, and calibrate on what was known at a moment.

    Args:
        spec: what is fitted.
        training: the rows.
        fitted: rows whose longest window had closed at the moment.
        columns: what the spec reads.
        parameters: of the spec.
        at: windows that close after it are not known.
        seed: of everything random.
        draws: bootstrap draws of accounts to keep for intervals.
        grower: of the fitted rows, where trees are grown from bins.

    Raises:
        OneClassError: a fit has nothing to tell apart.
        CalibrationError: the scores cannot be calibrated.
    """
    scores = scores_by_fifths(spec, training, fitted, columns, parameters, seed=seed, grower=grower)
    outcomes = outcomes_known_at(training, at)
    rows = np.asarray(~np.isnan(outcomes).all(axis=1))
    rng = np.random.default_rng(seed)
    weights = recency(training, at)
    calibration = fit_calibration(
        scores[rows],
        outcomes[rows],
        training.account[rows],
        weights=weights[rows],
        n_draws=draws,
        rng=rng,
    )
    calibration = replace(
        calibration,
        unseen=unseen_by(scores[rows], training.account[rows], draws, rng),
        days=training.horizons,
    )
    by_date = spec.form == "renewal"
    return HeldOutScores(
        scores=scores,
        rows=rows,
        calibration=calibration,
        shares=()
        if by_date
        else fit_shares(
            training, outcomes, columns, scores, calibration, weights, draws=draws, seed=seed
        ),
        renewal_risk=_renewal_risk(
            training, outcomes, rows, columns, scores, weights, at=at, draws=draws, seed=seed
        )
        if by_date
        else None,
    )


def _renewal_risk(
    training: TrainingSet,
    outcomes: Matrix,
    rows: Bools,
    columns: list[int],
    scores: Vector,
    weights: Vector,
    *,
    at: datetime,
    draws: int,
    seed: int,
) -> RenewalRisk:
    """How the held-out scores act on the decisions of their accounts."""
    calendar = calendar_of([training.names[column] for column in columns])
    assert calendar is not None, "without dates of renewal it takes no part"
    leads = leads_of(training.horizons)
    parameters, drawn = fit_renewal_risk(
        scores[rows],
        training.part(rows, columns),
        np.column_stack((outcomes, long_outcomes_known_at(training, leads, at)))[rows],
        leads,
        training.account[rows],
        calendar=calendar,
        weights=weights[rows],
        n_draws=max(draws, LEAST_DRAWS),
        rng=np.random.default_rng(seed),
    )
    return RenewalRisk(leads=leads, calendar=calendar, parameters=parameters, draws=drawn)


def scores_by_fifths(
    spec: ModelSpec,
    training: TrainingSet,
    fitted: Bools,
    columns: list[int],
    parameters: Parameters,
    *,
    seed: int,
    grower: Grower | None = None,
) -> Vector:
    """The score of every row, by a fit of the fitted rows without its account."""
    scores = np.zeros(len(training.account))
    for fifth in range(FIFTHS):
        out = training.fifth == fifth
        model = fit_rows(
            spec, training, fitted & ~out, columns, parameters, seed=seed, grower=grower
        )
        scores[out] = model.score(training.part(out, columns))
    return scores


def outcomes_known_at(training: TrainingSet, at: datetime) -> Matrix:
    """The outcomes whose windows had closed at a moment, NaN otherwise."""
    return np.column_stack(
        [
            _known_at(training, outcome, horizon, at)
            for outcome, horizon in zip(training.outcomes.T, training.horizons, strict=True)
        ]
    )


def long_outcomes_known_at(training: TrainingSet, leads: Sequence[int], at: datetime) -> Matrix:
    """The same at the leads beyond the usual horizons; NaN also where nothing was labelled."""
    nothing = np.full(len(training.account), np.nan)
    longer = [horizon for horizon in leads if horizon > training.horizons[-1]]
    known = [
        _known_at(training, training.long_outcomes.get(horizon, nothing), horizon, at)
        for horizon in longer
    ]
    return np.array(known).reshape(len(longer), len(nothing)).T


def _known_at(training: TrainingSet, outcome: Vector, horizon: int, at: datetime) -> Vector:
    reach = reach_of(horizon, lead_days=training.label.lead_days)
    is_open = np.array([cutoff + reach > at for cutoff in training.cutoffs])
    return np.where(is_open[training.cutoff], np.nan, outcome)


def recency(training: TrainingSet, at: datetime) -> Vector:
    """The weight of each row in a calibration: 1 at the moment, half after each half-life."""
    ages = np.array([(at - cutoff).days for cutoff in training.cutoffs])[training.cutoff]
    return np.asarray(0.5 ** (np.maximum(ages, 0) / HALF_LIFE_DAYS))
