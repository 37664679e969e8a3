"""This module is about horizons beyond the one that models are fitted to: half a year, a year.

Few cutoffs are old enough for a window that long, and a score fitted to them alone would not know
the newest months. So the score and its slope are those of the shorter horizons; a longer one adds
an intercept::

    newest third of the cutoffs closed at 90 days    slope, intercepts of 30, 60 and 90 days
    newest third of the cutoffs closed at 180 days   intercept of 180 days, not below that of 90

So no probability falls as the horizon grows, and to ask for a year changes nothing that is said of
90 days. Each long horizon is judged on cutoffs after every window that its calibration has seen;
where there are none, or where the score is no better than the base rate there, it is not
estimable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.calibration import CalibrationFit, with_horizon
from training.cutoffs import mature, reach_of
from training.dataset import TrainingSet
from training.evaluation import Interval, evaluate
from training.labels import ROW, Label, label_rows
from training.race import fit_rows, out_of_time, usable_columns
from training.specs import ModelSpec, Parameters
from training.splits import (
    CALIBRATION_SHARE,
    TEST_SHARE,
    Fold,
    closed_by,
    newest,
    rolling_folds,
)

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEAST_OUTCOMES = 10
"""A part needs so many rows of either class to calibrate or to judge a horizon."""


@dataclass(frozen=True, kw_only=True)
class LaterHorizons:
    """Outcomes within the longer horizons that the data can judge, and why it can not others."""

    outcomes: Mapping[int, Vector]  # horizon -> one per row of the training set, NaN undecided
    test: Mapping[int, tuple[datetime, ...]]  # horizon -> cutoffs that judge it
    not_estimable: Mapping[int, str]

    def without(self, reasons: Mapping[int, str]) -> LaterHorizons:
        """The same without the horizons for which there is a reason."""
        return LaterHorizons(
            outcomes={h: o for h, o in self.outcomes.items() if h not in reasons},
            test={h: t for h, t in self.test.items() if h not in reasons},
            not_estimable={**self.not_estimable, **reasons})

    @property
    def horizons(self) -> tuple[int, ...]:
        """Those that can be judged, in rising order."""
        return tuple(sorted(self.outcomes))


def later_horizons(
    label: Label, training: TrainingSet, events: pl.DataFrame, rows: pl.DataFrame, *,
    known_until: datetime,
) -> LaterHorizons:
    """Label the rows of a training set at the label's later horizons, and say which can be judged.

    Args:
        label: with its later horizons.
        training: the rows, labelled at the shorter horizons.
        events: what decides the label.
        rows: cohort rows; those of the training set are among them.
        known_until: nothing later is read.
    """
    wanted = tuple(h for h in label.later if h > training.horizons[-1])
    if not wanted:
        return LaterHorizons(outcomes={}, test={}, not_estimable={})
    labelled = label_rows(replace(label, horizons=wanted, later=()), events, rows,
                          known_until=known_until)
    keys = pl.DataFrame({
        "account_id": [training.accounts[i] for i in training.account],
        "as_of": pl.Series([training.cutoffs[i] for i in training.cutoff],
                           dtype=labelled.frame.schema["as_of"])})
    frame = keys.join(labelled.frame, on=ROW, how="left", maintain_order="left")
    outcomes: dict[int, Vector] = {}
    test: dict[int, tuple[datetime, ...]] = {}
    not_estimable: dict[int, str] = {}
    for horizon in wanted:
        outcome = frame[labelled.label.column(horizon)].cast(pl.Float64).to_numpy().copy()
        reach = reach_of(horizon, lead_days=label.lead_days)
        closed = mature(training.cutoffs, reach=reach, known_until=known_until)
        judges = newest(closed, TEST_SHARE) if closed else ()
        reason = _why_not(training, outcome, judges, horizon)
        if reason is None:
            outcomes[horizon], test[horizon] = outcome, judges
        else:
            not_estimable[horizon] = reason
    return LaterHorizons(outcomes=outcomes, test=test, not_estimable=not_estimable)


def with_later(
    calibration: CalibrationFit, spec: ModelSpec, training: TrainingSet,
    outcomes: Mapping[int, Vector], columns: list[int], parameters: Parameters, *,
    at: datetime, seed: int,
) -> tuple[CalibrationFit, dict[int, float]]:
    """The calibration with an intercept for each later horizon, and the rates they rest on.

    Args:
        calibration: of the shorter horizons; what it says of them stays.
        spec: what to fit.
        training: rows at the shorter horizons.
        outcomes: the later horizons to add, each with its outcomes.
        columns: what the spec reads.
        parameters: of the spec.
        at: windows that close after it are not known.
        seed: of everything random.
    """
    rng = np.random.default_rng(seed)
    rates = {}
    for horizon in sorted(outcomes):
        scores = np.full(len(training.outcome), np.nan)
        for fold in _folds(training, horizon, at):
            held_out = training.rows_at(fold.held_out)
            fitted = fit_rows(spec, training, training.rows_at(fold.train), columns, parameters,
                              seed=seed)
            scores[held_out] = fitted.score(training.matrix[held_out][:, columns]) - fitted.level
        rows = ~np.isnan(scores) & ~np.isnan(outcomes[horizon])
        outcome = outcomes[horizon][rows]
        calibration = with_horizon(calibration, scores[rows], outcome, training.account[rows],
                                   rng=rng)
        rates[horizon] = float((outcome.sum() + 0.5) / (len(outcome) + 1))
    return calibration, rates


def judge_later(
    spec: ModelSpec, training: TrainingSet, later: LaterHorizons, horizon: int,
    parameters: Parameters, draws: Matrix, *, seed: int,
) -> Mapping[str, Interval]:
    """How good a spec is at a later horizon, made from what was known when its test opens."""
    test = later.test[horizon]
    known = {h: later.outcomes[h] for h in later.horizons if h <= horizon}
    fit_reach = reach_of(training.horizons[-1], lead_days=training.label.lead_days)
    before = training.rows_at(closed_by(training.cutoffs, test[0], reach=fit_reach))
    columns = usable_columns(training, before, spec)
    shorter = out_of_time(spec, training, _folds(training, training.horizons[-1], test[0]),
                          columns, parameters, seed=seed)
    calibration, _ = with_later(shorter.calibration, spec, training, known, columns, parameters,
                                at=test[0], seed=seed)
    fitted = fit_rows(spec, training, before, columns, parameters, seed=seed)
    outcome = later.outcomes[horizon]
    rows = training.rows_at(test) & ~np.isnan(outcome)
    raw = fitted.score(training.matrix[rows][:, columns]) - fitted.level
    return evaluate(outcome[rows], calibration.probability(raw, -1), training.account[rows], draws)


def _folds(training: TrainingSet, horizon: int, at: datetime) -> tuple[Fold, ...]:
    """Folds that score the newest third of the cutoffs closed at a horizon, where they can."""
    lead = training.label.lead_days
    fit_reach = reach_of(training.horizons[-1], lead_days=lead)
    closed = closed_by(training.cutoffs, at, reach=reach_of(horizon, lead_days=lead))
    learned = closed_by(training.cutoffs, at, reach=fit_reach)
    held_out = newest(closed, CALIBRATION_SHARE) if closed else ()
    return tuple(
        fold for fold in rolling_folds(learned, held_out, reach=fit_reach)
        if _both_classes(training.outcome[training.rows_at(fold.train)]))


def _why_not(
    training: TrainingSet, outcome: Vector, test: tuple[datetime, ...], horizon: int
) -> str | None:
    """Why the data can not judge a horizon; None where they can."""
    folds = _folds(training, horizon, test[0]) if test else ()
    held_out = tuple(cutoff for fold in folds for cutoff in fold.held_out)
    if not held_out:
        return (
            f"{len(training.cutoffs)} cutoffs are too few to calibrate windows of {horizon} days "
            f"on one part and to judge them on a later one that none of them reaches into. Build "
            f"older snapshots (keepwell snapshot --from … --to … --every month), or wait for "
            f"labels to mature.")
    for part, cutoffs in (("calibrate", held_out), ("judge", test)):
        decided = outcome[training.rows_at(cutoffs)]
        decided = decided[~np.isnan(decided)]
        if not _both_classes(decided):
            return (f"{int(decided.sum())} of the {len(decided)} rows that would {part} it have "
                    f"the outcome; at least {LEAST_OUTCOMES} with and without it are needed.")
    return None


def _both_classes(outcome: Vector) -> bool:
    return bool(min(outcome.sum(), len(outcome) - outcome.sum()) >= LEAST_OUTCOMES)
