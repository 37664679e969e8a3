"""Back-test horizons beyond 90 days at every origin that has the data.

::

    origin   ── windows of 365 days that had closed ──┤ learns ├ judged, where 365 days have passed

An origin learns a long horizon from the windows of that length that had closed by then, with the
outcomes known then, as a training that day would have; it judges the rows whose windows have closed
since. Early origins know too few outcomes, late ones have no closed window to judge: each gives its
reason and counts, and a horizon that no origin can both learn and judge is not estimable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from training.backtest.run import BacktestRows, BacktestRun, Origin, align_columns
from training.dataset.cutoffs import reach_of
from training.dataset.labels import cohort_rows, label_rows
from training.dataset.splits import closed_by
from training.dataset.training_set import TrainingSet
from training.models.long_horizons import LEAST_CUTOFFS, long_horizon_probability, why_not
from training.models.specs import RENEWAL, RENEWAL_RISK, ModelSpec
from training.progress import Progress

Vector = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class LongHorizonOrigin:
    """The data that an origin had on a long horizon and the rows it judges, or why it does not."""

    moment: datetime
    n_cutoffs: int  # whose windows of that length had closed
    n_accounts: int  # that had the outcome in the time after the horizon before, as known then
    n_rows: int  # judged
    n_outcomes: int
    could_learn: bool
    why_not: str | None
    by_date: bool = False  # told by decisions alone, as no windows of that length suffice


@dataclass(frozen=True, kw_only=True)
class LongHorizonRows:
    """A long horizon over all origins: each origin's counts, and the rows that are judged."""

    horizon: int
    origins: tuple[LongHorizonOrigin, ...]
    rows: BacktestRows | None  # None: not estimable

    @property
    def reason(self) -> str | None:
        """Why the horizon is not estimable; None where some origin judges it."""
        if self.rows is not None:
            return None
        said = []
        ignorant = [origin for origin in self.origins if not origin.could_learn]
        if ignorant:
            said.append(
                f"{len(ignorant)} of {len(self.origins)} origins know too little to learn "
                f"it (the newest of them, {ignorant[-1].moment:%Y-%m-%d}: "
                f"{ignorant[-1].why_not})"
            )
        late = len(self.origins) - len(ignorant)
        if late:
            said.append(
                f"{late} of {len(self.origins)} could have learned it, but none of the "
                f"{self.horizon} days that they would judge has passed"
            )
        return "; ".join(said) + "."


def backtest_long_horizons(
    played: BacktestRun,
    events: pl.DataFrame,
    specs: Sequence[ModelSpec],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[LongHorizonRows, ...]:
    """Run these specs at every origin, at each long horizon of the label.

    Args:
        played: the back-test at the shorter horizons; its origins and its rows are used.
        events: the events of that back-test.
        specs: the contenders, each with its declared parameters.
        seed: of everything random.
        progress: called with the step, how far it is and how far it goes.
    """
    training = played.prepared.training
    wanted = tuple(h for h in training.label.long_horizons if h > training.horizons[-1])
    if not wanted:
        return ()
    place = np.concatenate(
        [np.flatnonzero(training.rows_at(origin.judged)) for origin in played.origins]
    )
    by_date = RENEWAL_RISK in specs and RENEWAL in training.names
    cohort = cohort_rows(training.label, events, training.cutoffs)
    whole = _outcomes(training, events, cohort, wanted, played.prepared.known_until)
    said = {
        (h, spec.name): np.full(len(training.account), np.nan) for h in wanted for spec in specs
    }
    told: dict[int, list[LongHorizonOrigin]] = {h: [] for h in wanted}
    with threadpool_limits(limits=1, user_api="blas"):  # as at the shorter horizons
        for number, origin in enumerate(played.origins):
            if progress is not None:
                progress(
                    f"long horizons, origin {origin.moment:%Y-%m-%d}", number, len(played.origins)
                )
            known = _outcomes(origin.known, events, cohort, wanted, origin.moment)
            learned: dict[int, Vector] = {}
            for horizon in wanted:
                before = learned[max(learned)] if learned else origin.known.outcome
                judged = training.rows_at(origin.judged) & ~np.isnan(whole[horizon])
                seen = _seen(
                    origin, known[horizon], before, horizon, whole[horizon][judged], by_date=by_date
                )
                told[horizon].append(seen)
                if not seen.could_learn:
                    continue
                # without windows of that length the rate of the shorter horizons goes on
                none = np.full(len(known[horizon]), np.nan)
                learned[horizon] = none if seen.by_date else known[horizon]
                for spec in specs if seen.why_not is None else ():
                    said[horizon, spec.name][judged] = long_horizon_probability(
                        spec,
                        origin.known,
                        learned,
                        judged,
                        spec.parameters,
                        at=origin.moment,
                        seed=seed,
                    )[horizon]
    return tuple(
        LongHorizonRows(
            horizon=h,
            origins=tuple(told[h]),
            rows=_rows(
                played, h, whole[h][place], {spec.name: said[h, spec.name][place] for spec in specs}
            ),
        )
        for h in wanted
    )


def _seen(
    origin: Origin,
    known: Vector,
    before: Vector,
    horizon: int,
    judged: Vector,
    *,
    by_date: bool = False,
) -> LongHorizonOrigin:
    """Count the data of the origin at the horizon, and check whether they suffice.

    ``by_date``: a model that counts decisions takes part, which needs no window of that length.
    """
    training = origin.known
    closed = closed_by(
        training.cutoffs, origin.moment, reach=reach_of(horizon, lead_days=training.label.lead_days)
    )
    rows = training.rows_at(closed)
    reason = (
        f"{len(closed)} cutoffs had windows of {horizon} days that had closed, and "
        f"{LEAST_CUTOFFS} are needed"
        if len(closed) < LEAST_CUTOFFS
        else why_not(training, known, before, horizon, origin.moment)
    )
    lacks_windows = reason is not None
    if by_date:
        reason = None
    could_learn = reason is None
    if could_learn and not len(judged):
        reason = f"none of the {horizon} days that it would judge has passed"
    return LongHorizonOrigin(
        moment=origin.moment,
        n_cutoffs=len(closed),
        could_learn=could_learn,
        n_accounts=len(np.unique(training.account[rows & (known == 1) & (before == 0)])),
        n_rows=len(judged) if reason is None else 0,
        n_outcomes=int(judged.sum()) if reason is None else 0,
        why_not=reason if reason is None else reason.rstrip("."),
        by_date=by_date and lacks_windows,
    )


def _outcomes(
    training: TrainingSet,
    events: pl.DataFrame,
    cohort: pl.DataFrame,
    horizons: tuple[int, ...],
    known_until: datetime,
) -> dict[int, Vector]:
    """The outcomes of the rows of a set at other horizons, NaN where they were open then."""
    label = replace(training.label, horizons=horizons, long_horizons=())
    rows = cohort.filter(pl.col("as_of") < known_until)
    labelled = label_rows(label, events, rows, known_until=known_until)
    found = align_columns(training, labelled, [label.column(h) for h in horizons])
    return {h: found[:, column] for column, h in enumerate(horizons)}


def _rows(
    played: BacktestRun, horizon: int, outcome: Vector, said: dict[str, Vector]
) -> BacktestRows | None:
    """The rows that some origin judges at the horizon, with every contender's probability."""
    near = played.rows
    judged: Bools = ~np.isnan(next(iter(said.values())))
    if not judged.any():
        return None
    keep = np.flatnonzero(judged)
    return BacktestRows(
        label=near.label,
        horizons=(horizon,),
        cutoff=near.cutoff[keep],
        origin=near.origin[keep],
        account=near.account[keep],
        outcomes=outcome[keep][:, None],
        mrr=near.mrr[keep],
        value=near.value[keep],
        traits={name: tuple(values[row] for row in keep) for name, values in near.traits.items()},
        probabilities={name: p[keep][:, None] for name, p in said.items()},
    )
