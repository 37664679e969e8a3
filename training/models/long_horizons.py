"""Fit probabilities beyond the horizon of the models: half a year, a year.

Few cutoffs are old enough for a window that long, and a score fitted to them alone would not know
the newest months. So the shorter horizons keep their score, and the time after them has a chance of
its own, for accounts that are still there when it begins::

    cutoffs   ── closed at 180 days, still there at 90 ──┤ ········ embargo ········ ├── test ──┤
    score f   of every row, by a fit without its account
    long g    slope · f + a step where the renewal lies after the horizon
              + a strongly penalised regression on every feature
              calibrated by the same fifths on the newest third of those cutoffs

So no probability falls as the horizon grows, and a long horizon changes no probability by 90 days.
Accounts are held out here instead of months: a year before the test no older months are left.
With few accounts that had the outcome in that time there is the slope alone, and the training
says so. Each long horizon is judged on cutoffs after every window that it has learned
from; where there are none, or where it is no better than the base rate, it is not estimable.

A model that knows when contracts can end needs no such window: it counts the decisions up to any
horizon, each as likely as those that it has seen (``LongHorizonLabels.with_dates``). Accounts without
a known date then go on at the rate of the shorter horizons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from registry.bundle.calibration import sigmoid
from registry.bundle.linear import LinearForm
from registry.bundle.long_horizons import LongHorizonChance, combine_log_odds
from training.dataset.cutoffs import mature, reach_of
from training.dataset.labels import ROW, Label, label_rows
from training.dataset.splits import (
    LEAST_BEFORE_TEST,
    TEST_SHARE,
    closed_by,
    newest,
)
from training.dataset.training_set import FIFTHS, TrainingSet
from training.models.calibration import CalibrationFit, fit_calibration
from training.models.fit import fitting_of
from training.models.fitting.fit_rows import fit_rows, usable_columns
from training.models.fitting.held_out import score_held_out
from training.models.formula_prior import penalised_weights
from training.models.linear_design import LinearDesign
from training.models.specs import FEW_ACCOUNTS, RENEWAL, ModelSpec, Parameters

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEAST_OUTCOMES = 10
"""Each part needs this many accounts with the outcome, and as many without."""

LEAST_CUTOFFS = 6
"""At least half a year of cutoffs: with fewer the rate would be that of a season."""

USUAL_SLOPE, SLOPE_SPREAD = 0.5, 0.5
"""Prior of the slope: a score of 90 days predicts less of the time after them."""

RENEWAL_SPREAD = 1.0
"""Prior standard deviation of the step where a contract outlasts the horizon."""

LEAST_BEYOND = 0.01
"""The least share of rows that outlast the horizon, and that do not, for a step."""

STRENGTH = 1e-4
"""Of the features beside the score; inverse penalty per row-sum of the loss."""


@dataclass(frozen=True, kw_only=True)
class LongHorizonLabels:
    """Outcomes within the longer horizons that the data can judge, and why it cannot others."""

    outcomes: Mapping[int, Vector]  # horizon -> one per row of the training set, NaN undecided
    test: Mapping[int, tuple[datetime, ...]]  # horizon -> cutoffs that judge it
    not_estimable: Mapping[int, str]
    known: Mapping[int, Vector] = field(default_factory=dict)  # of all, also those not judged
    by_date: tuple[int, ...] = ()  # that only a model which knows dates can be judged at

    def without(self, reasons: Mapping[int, str]) -> LongHorizonLabels:
        """The labels without the refused horizons."""
        return replace(
            self,
            outcomes={h: o for h, o in self.outcomes.items() if h not in reasons},
            test={h: t for h, t in self.test.items() if h not in reasons},
            not_estimable={**self.not_estimable, **reasons},
        )

    def with_dates(self) -> LongHorizonLabels:
        """The labels for a model that counts decisions, which needs no window of that length."""
        return replace(
            self,
            outcomes={**self.outcomes, **{h: self.known[h] for h in self.by_date}},
            not_estimable={h: r for h, r in self.not_estimable.items() if h not in self.by_date},
            by_date=(),
        )

    @property
    def horizons(self) -> tuple[int, ...]:
        """Those that can be judged, in rising order."""
        return tuple(sorted(self.outcomes))


def label_long_horizons(
    label: Label,
    training: TrainingSet,
    events: pl.DataFrame,
    rows: pl.DataFrame,
    *,
    known_until: datetime,
) -> LongHorizonLabels:
    """Label the rows of a training set at the label's long horizons, and say which can be judged.

    Args:
        label: with its long horizons.
        training: the rows, labelled at the shorter horizons.
        events: what decides the label.
        rows: cohort rows; those of the training set are among them.
        known_until: nothing later is read.
    """
    wanted = tuple(h for h in label.long_horizons if h > training.horizons[-1])
    if not wanted:
        return LongHorizonLabels(outcomes={}, test={}, not_estimable={})
    labelled = label_rows(
        replace(label, horizons=wanted, long_horizons=()), events, rows, known_until=known_until
    )
    keys = pl.DataFrame(
        {
            "account_id": [training.accounts[i] for i in training.account],
            "as_of": pl.Series(
                [training.cutoffs[i] for i in training.cutoff], dtype=labelled.frame.schema["as_of"]
            ),
        }
    )
    frame = keys.join(labelled.frame, on=ROW, how="left", maintain_order="left")
    outcomes: dict[int, Vector] = {}
    known: dict[int, Vector] = {}
    test: dict[int, tuple[datetime, ...]] = {}
    not_estimable: dict[int, str] = {}
    by_date: list[int] = []
    for horizon in wanted:
        outcome = frame[labelled.label.column(horizon)].cast(pl.Float64).to_numpy().copy()
        known[horizon] = outcome
        reach = reach_of(horizon, lead_days=label.lead_days)
        closed = mature(training.cutoffs, reach=reach, known_until=known_until)
        judges = newest(closed, TEST_SHARE) if closed else ()
        before = outcomes[max(outcomes)] if outcomes else training.outcome
        reason = _why_not(training, outcome, before, judges, horizon)
        if reason is None:
            outcomes[horizon], test[horizon] = outcome, judges
        else:
            not_estimable[horizon] = reason
            shorter = all(h in by_date for h in not_estimable if h < horizon)
            if shorter and _dates_suffice(training, outcome, judges):
                by_date.append(horizon)
                test[horizon] = judges
    return LongHorizonLabels(
        outcomes=outcomes,
        test=test,
        not_estimable=not_estimable,
        known=known,
        by_date=tuple(by_date),
    )


@dataclass(frozen=True, kw_only=True)
class LongHorizonFit:
    """A fitted chance between two horizons, for accounts that are still there at the first."""

    horizon: int
    slope: float  # of the score
    form: LinearForm | None
    has_own_fit: bool  # on every feature, beside the slope and the renewal
    calibration: CalibrationFit
    rate: float  # of the outcome by the horizon, among rows decided there
    n_accounts: int  # distinct accounts that had the outcome between the two
    goes_on: bool = False  # not fitted: the rate of the shorter horizons goes on

    def log_odds(self, f: Vector, matrix: Matrix) -> Vector:
        """The calibrated log-odds of rows with these scores."""
        g = _score(self.slope, self.form, f, matrix)
        return np.asarray(self.calibration.intercepts[0] + self.calibration.slope * g)

    def for_serving(self) -> LongHorizonChance:
        """The value that a bundle holds."""
        return LongHorizonChance(
            slope=self.slope,
            form=self.form,
            calibration=self.calibration.for_serving((self.horizon,)),
        )

    @property
    def sentence(self) -> str:
        """How it was fitted, and why so."""
        if self.goes_on:
            return (
                f"{self.horizon} days: at the rate of the shorter horizons, since too few windows of "
                f"that length have closed."
            )
        if self.has_own_fit:
            return (
                f"{self.horizon} days: a fit of its own, from {self.n_accounts} distinct accounts."
            )
        return (
            f"{self.horizon} days: only a slope of its own on the score of the shorter horizons; "
            f"{self.n_accounts} distinct accounts had the outcome in the time after it, fewer "
            f"than {FEW_ACCOUNTS}."
        )


def fit_long_horizons(
    spec: ModelSpec,
    training: TrainingSet,
    outcomes: Mapping[int, Vector],
    columns: list[int],
    near: Vector,
    *,
    at: datetime,
    seed: int,
    draws: int = 0,
    calibration: CalibrationFit | None = None,
) -> tuple[LongHorizonFit, ...]:
    """Fit the chances after the last short horizon, in rising order of their horizons.

    Where too few windows had closed to fit one, which happens to a model that knows dates alone, the
    calibration of the shorter horizons goes on.

    Args:
        spec: whose score they start from.
        training: rows at the shorter horizons.
        outcomes: the long horizons to add, each with its outcomes.
        columns: what the spec reads.
        near: the score of every row, by a fit without its account.
        at: windows that close after it are not known.
        seed: of everything random.
        draws: bootstrap draws of accounts to keep for intervals.
        calibration: of that score; None where every horizon is known to have closed windows enough.
    """
    if not outcomes:
        return ()
    matrix = training.matrix[:, columns]
    chances = []
    before = training.outcome
    read = [training.names[column] for column in columns]
    renewal = read.index(RENEWAL) if RENEWAL in read else None
    last = training.horizons[-1]
    for horizon in sorted(outcomes):
        decided = _closed(training, outcomes[horizon], horizon, at)
        there = decided & (before == 0)
        lacking = why_not(training, outcomes[horizon], before, horizon, at)
        chances.append(
            _goes_on(training, calibration, last, horizon, at)
            if calibration is not None and lacking is not None
            else _fit_chance(
                horizon,
                near[there],
                matrix[there],
                outcomes[horizon][there],
                training.account[there],
                _newest_third(training, there),
                spec,
                renewal=renewal,
                ends=reach_of(horizon, lead_days=training.label.lead_days).days,
                draws=draws,
                seed=seed,
                rate=_rate(
                    outcomes[horizon][decided & _newest_third(training, decided, whole=True)]
                ),
            )
        )
        before, last = outcomes[horizon], horizon
    return tuple(chances)


def probability_by(
    near: Vector, chances: tuple[LongHorizonFit, ...], f: Vector, matrix: Matrix
) -> Vector:
    """The probability by the last of the chances, from the log-odds by the last short horizon."""
    odds = near
    for chance in chances:
        odds = combine_log_odds(odds, chance.log_odds(f, matrix))
    return sigmoid(odds)


def long_horizon_probability(
    spec: ModelSpec,
    training: TrainingSet,
    outcomes: Mapping[int, Vector],
    rows: Bools,
    parameters: Parameters,
    *,
    at: datetime,
    seed: int,
) -> dict[int, Vector]:
    """A spec's probabilities of rows at long horizons, made from what was known at a moment."""
    reach = reach_of(training.horizons[-1], lead_days=training.label.lead_days)
    before = training.rows_at(closed_by(training.cutoffs, at, reach=reach))
    columns = usable_columns(training, before, spec)
    shorter = score_held_out(spec, training, before, columns, parameters, at=at, seed=seed)
    chances = fit_long_horizons(
        spec,
        training,
        outcomes,
        columns,
        shorter.scores,
        at=at,
        seed=seed,
        calibration=shorter.calibration,
    )
    fitted = fit_rows(spec, training, before, columns, parameters, seed=seed)
    matrix = training.part(rows, columns)
    f = fitted.score(matrix)
    near = shorter.near_odds(f, matrix)
    return {
        chance.horizon: shorter.by_date(
            f, matrix, chance.horizon, probability_by(near, chances[:place], f, matrix)
        )
        for place, chance in enumerate(chances, start=1)
    }


def _near_can_learn(training: TrainingSet, at: datetime) -> bool:
    """Whether the shorter horizons can be learned from what was known at a moment."""
    reach = reach_of(training.horizons[-1], lead_days=training.label.lead_days)
    closed = closed_by(training.cutoffs, at, reach=reach)
    return bool(closed) and _both_classes(training.outcome[training.rows_at(closed)])


def why_not(
    training: TrainingSet, outcome: Vector, before: Vector, horizon: int, at: datetime
) -> str | None:
    """Why a horizon cannot be learned from what was known at a moment; None where it can."""
    closed = closed_by(
        training.cutoffs, at, reach=reach_of(horizon, lead_days=training.label.lead_days)
    )
    if len(closed) < LEAST_CUTOFFS or not _near_can_learn(training, at):
        return (
            f"{len(training.cutoffs)} cutoffs are too few to learn windows of {horizon} days from "
            f"{LEAST_CUTOFFS} cutoffs and to judge them on later ones that none of them reaches "
            f"into. Build older snapshots (keepwell snapshot --from … --to … --every month), or "
            f"wait for labels to mature."
        )
    there = _closed(training, outcome, horizon, at) & (before == 0)
    return _too_few("learn", training, outcome, there)


def _why_not(
    training: TrainingSet,
    outcome: Vector,
    before: Vector,
    test: tuple[datetime, ...],
    horizon: int,
) -> str | None:
    """Why the data cannot judge a horizon; None where they can."""
    at = test[0] if test else training.cutoffs[0]
    return why_not(training, outcome, before, horizon, at) or _too_few(
        "judge", training, outcome, training.rows_at(test) & ~np.isnan(outcome)
    )


def _too_few(part: str, training: TrainingSet, outcome: Vector, rows: Bools) -> str | None:
    having, lacking = (len(np.unique(training.account[rows & (outcome == y)])) for y in (1, 0))
    if min(having, lacking) >= LEAST_OUTCOMES:
        return None
    return (
        f"{having} of the accounts whose rows would {part} it have the outcome and {lacking} "
        f"have not; at least {LEAST_OUTCOMES} of either are needed."
    )


def _dates_suffice(training: TrainingSet, outcome: Vector, test: tuple[datetime, ...]) -> bool:
    """Whether a model that knows dates can be judged at a horizon of which no window was learned."""
    if not test or RENEWAL not in training.names:
        return False
    reach = reach_of(training.horizons[-1], lead_days=training.label.lead_days)
    if len(closed_by(training.cutoffs, test[0], reach=reach)) < LEAST_BEFORE_TEST:
        return False
    judged = training.rows_at(test) & ~np.isnan(outcome)
    return (
        _near_can_learn(training, test[0]) and _too_few("judge", training, outcome, judged) is None
    )


def _goes_on(
    training: TrainingSet, near: CalibrationFit, last: int, horizon: int, at: datetime
) -> LongHorizonFit:
    """The chance between two horizons at the rate of the shorter ones, twice as long: twice the odds."""
    usual = training.horizons[-1]
    longer = float(np.log((horizon - last) / usual))
    closed = _closed(training, training.outcome, usual, at)
    rate = _rate(training.outcome[closed & _newest_third(training, closed, whole=True)])
    return LongHorizonFit(
        horizon=horizon,
        slope=1.0,
        form=None,
        has_own_fit=False,
        calibration=CalibrationFit(
            intercepts=near.intercepts[-1:] + longer,
            slope=near.slope,
            draws=np.column_stack((near.draws[:, 0], near.draws[:, -1] + longer)),
        ),
        rate=1 - (1 - rate) ** (horizon / usual),
        n_accounts=0,
        goes_on=True,
    )


def _fit_chance(
    horizon: int,
    f: Vector,
    matrix: Matrix,
    outcome: Vector,
    accounts: NDArray[np.int64],
    newer: Bools,
    spec: ModelSpec,
    *,
    renewal: int | None,
    ends: int,
    draws: int,
    seed: int,
    rate: float,
) -> LongHorizonFit:
    n_accounts = len(np.unique(accounts[outcome == 1]))
    own = fitting_of(spec).reads_features and spec.reads is None and n_accounts >= FEW_ACCOUNTS
    held = np.empty(len(f))
    for fifth in range(FIFTHS):
        out = accounts % FIFTHS == fifth
        slope, form = _fit_own_form(
            f[~out],
            matrix[~out],
            outcome[~out],
            accounts[~out],
            own=own,
            renewal=renewal,
            ends=ends,
        )
        held[out] = _score(slope, form, f[out], matrix[out])
    slope, form = _fit_own_form(f, matrix, outcome, accounts, own=own, renewal=renewal, ends=ends)
    judged = newer if 0 < outcome[newer].sum() < newer.sum() else np.ones(len(f), dtype=np.bool_)
    calibration = fit_calibration(
        held[judged],
        outcome[judged][:, None],
        accounts[judged],
        n_draws=draws,
        rng=np.random.default_rng((seed, horizon)),
    )
    return LongHorizonFit(
        horizon=horizon,
        slope=slope,
        form=form,
        has_own_fit=own,
        calibration=calibration,
        rate=rate,
        n_accounts=n_accounts,
    )


def _fit_own_form(
    f: Vector,
    matrix: Matrix,
    outcome: Vector,
    accounts: NDArray[np.int64],
    *,
    own: bool,
    renewal: int | None,
    ends: int,
) -> tuple[float, LinearForm | None]:
    """Fit the slope of the score, and the renewal and every feature beside it."""
    design, steps = _design(matrix, renewal, ends)
    columns = design.columns(matrix) if own or steps else np.empty((len(f), 0))
    used = np.full(columns.shape[1], own)
    # rows of one account overlap, so what is known beforehand weighs as if accounts were the rows
    share = len(np.unique(accounts)) / len(f)
    strength = np.full(columns.shape[1], STRENGTH)
    if renewal is not None and steps:
        used[renewal], strength[renewal] = True, share * RENEWAL_SPREAD**2
    weights = penalised_weights(
        np.column_stack((f, columns[:, used])),
        outcome,
        USUAL_SLOPE * f,
        strength=np.append(share * SLOPE_SPREAD**2, strength[used]),
    )
    slope = USUAL_SLOPE + float(weights[1])
    if not used.any():
        return slope, None
    every = np.zeros(columns.shape[1])
    every[used] = weights[2:]
    return slope, design.form(float(weights[0]), every)


def _design(matrix: Matrix, renewal: int | None, ends: int) -> tuple[LinearDesign, bool]:
    """The scale of every feature, and whether the renewal is a step where the horizon ends.

    A contract that runs beyond the horizon cannot end within it; for other contracts the date makes
    no difference. If all contracts run that long, or none, the date is a feature like others.
    """
    if renewal is None:
        return LinearDesign.of(matrix), False
    beyond = float((matrix[:, renewal] >= ends).mean())  # unknown is not beyond
    if not LEAST_BEYOND <= beyond <= 1 - LEAST_BEYOND:
        return LinearDesign.of(matrix), False
    unbounded = np.full(matrix.shape[1], np.inf)
    lower, upper = -unbounded, unbounded.copy()
    lower[renewal], upper[renewal] = np.log1p(ends - 1), np.log1p(ends)
    return LinearDesign.of(matrix, lower=lower, upper=upper), True


def _score(slope: float, form: LinearForm | None, f: Vector, matrix: Matrix) -> Vector:
    return np.asarray(slope * f + (0.0 if form is None else form.score(matrix)))


def _closed(training: TrainingSet, outcome: Vector, horizon: int, at: datetime) -> Bools:
    """Rows whose window of this horizon had closed at a moment, and which are decided."""
    reach = reach_of(horizon, lead_days=training.label.lead_days)
    return training.rows_at(closed_by(training.cutoffs, at, reach=reach)) & ~np.isnan(outcome)


def _newest_third(training: TrainingSet, rows: Bools, *, whole: bool = False) -> Bools:
    """Which of these rows stand at the newest third of their cutoffs."""
    places = np.unique(training.cutoff[rows])
    first = places[-max(1, -(-len(places) // 3))]
    return np.asarray((training.cutoff if whole else training.cutoff[rows]) >= first)


def _rate(outcome: Vector) -> float:
    """Share with the outcome; half a row keeps an empty one off zero."""
    return float((outcome.sum() + 0.5) / (len(outcome) + 1))


def _both_classes(outcome: Vector) -> bool:
    return bool(min(outcome.sum(), len(outcome) - outcome.sum()) >= LEAST_OUTCOMES)
