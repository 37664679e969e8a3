"""Fit the shares of the shorter horizons: who, of those with the outcome by 90 days, has it by 30.

Only rows with the outcome within the next longer horizon tell: a strongly penalised regression on
every feature, with a step where the renewal lies after the shorter horizon. Scored by fits without
the account and calibrated on these scores. Shares are used only where they lower the held-out log
loss of the shorter horizons; else one order of accounts serves all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry.bundle.calibration import sigmoid
from registry.bundle.linear import LinearForm
from registry.bundle.long_horizons import HorizonShare
from training.dataset.training_set import FIFTHS, TrainingSet
from training.metrics import row_log_loss
from training.models.calibration import CalibrationFit, fit_calibration
from training.models.formula_prior import penalised_weights
from training.models.linear_design import LinearDesign
from training.models.specs import RENEWAL

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEAST_ACCOUNTS = 30
"""With fewer accounts that have the outcome by the longer horizon, or by the shorter, no share."""

STRENGTH = 0.005
"""Of the features; inverse penalty per row-sum of the loss."""

RENEWAL_STRENGTH = 1.0
"""Of the step where the renewal lies after the horizon."""


@dataclass(frozen=True, kw_only=True)
class HorizonShareFit:
    """A fitted share, and its scores of rows by fits without their accounts."""

    horizon: int
    form: LinearForm
    calibration: CalibrationFit
    held_out: Vector  # the share of every row of the training set

    def share(self, matrix: Matrix) -> Vector:
        """The share of rows with these features."""
        return self.calibration.probability(self.form.score(matrix), 0)

    def for_serving(self) -> HorizonShare:
        """The value that a bundle holds."""
        return HorizonShare(
            form=self.form, calibration=self.calibration.for_serving((self.horizon,))
        )


def fit_shares(
    training: TrainingSet,
    outcomes: Matrix,
    columns: list[int],
    scores: Vector,
    calibration: CalibrationFit,
    weights: Vector,
    *,
    draws: int,
    seed: int,
) -> tuple[HorizonShareFit, ...]:
    """The shares of the shorter horizons, falling; none where one order serves as well.

    Args:
        training: the rows.
        outcomes: rows × horizons as far as they are known, NaN otherwise.
        columns: what the model reads.
        scores: of every row, by fits without its account.
        calibration: of these scores, at every horizon.
        weights: of each row.
        draws: bootstrap draws of accounts to keep for intervals.
        seed: of the draws.
    """
    found: list[HorizonShareFit] = []
    last = len(training.horizons) - 1
    probability = calibration.probability(scores, last)
    alone, shared = np.zeros(len(scores)), np.zeros(len(scores))
    for position in reversed(range(last)):
        outcome = outcomes[:, position]
        share = _fit_share(
            training, position, outcome, outcomes[:, position + 1], columns, weights,
            draws=draws, seed=seed,
        )  # fmt: skip
        if share is None:
            return ()
        found.append(share)
        probability = probability * share.held_out
        known = ~np.isnan(outcome)
        alone[known] += row_log_loss(
            outcome[known], calibration.probability(scores[known], position)
        )
        shared[known] += row_log_loss(outcome[known], probability[known])
    return tuple(found) if shared.sum() < alone.sum() else ()


def shared_probability(
    calibration: CalibrationFit,
    shares: tuple[HorizonShareFit, ...],
    f: Vector,
    matrix: Matrix,
    position: int,
) -> Vector:
    """The probability at the horizon in this position, by its share where there is one."""
    last = len(calibration.intercepts) - 1
    if not shares or position == last:
        return calibration.probability(f, position)
    probability = calibration.probability(f, last)
    for share in shares[: last - position]:
        probability = probability * share.share(matrix)
    return probability


def _fit_share(
    training: TrainingSet,
    position: int,
    outcome: Vector,
    longer: Vector,
    columns: list[int],
    weights: Vector,
    *,
    draws: int,
    seed: int,
) -> HorizonShareFit | None:
    rows = (longer == 1) & ~np.isnan(outcome)
    counts = [len(np.unique(training.account[rows & (outcome == y)])) for y in (0, 1)]
    if min(counts) < LEAST_ACCOUNTS:
        return None
    horizon = training.horizons[position]
    ends = training.label.lead_days + horizon
    names = [training.names[column] for column in columns]
    renewal = names.index(RENEWAL) if RENEWAL in names else None
    fifth = training.fifth
    held = np.zeros(len(outcome))
    for out in range(FIFTHS):
        form = _fit_form(
            training.part(rows & (fifth != out), columns),
            outcome[rows & (fifth != out)],
            renewal,
            ends,
        )
        held[fifth == out] = form.score(training.part(fifth == out, columns))
    calibration = fit_calibration(
        held[rows],
        outcome[rows][:, None],
        training.account[rows],
        weights=weights[rows],
        n_draws=draws,
        rng=np.random.default_rng((seed, horizon)),
    )
    return HorizonShareFit(
        horizon=horizon,
        form=_fit_form(training.part(rows, columns), outcome[rows], renewal, ends),
        calibration=calibration,
        held_out=sigmoid(calibration.intercepts[0] + calibration.slope * held),
    )


def _fit_form(matrix: Matrix, outcome: Vector, renewal: int | None, ends: int) -> LinearForm:
    design = LinearDesign.with_step(matrix, renewal, ends)
    columns = design.columns(matrix)
    strength = np.full(columns.shape[1], STRENGTH)
    if renewal is not None:
        strength[renewal] = RENEWAL_STRENGTH
    weights = penalised_weights(columns, outcome, np.zeros(len(outcome)), strength=strength)
    return design.form(float(weights[0]), weights[1:])
