"""Judge a proposed health formula beside the written one on rows that neither was fitted to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.health.formula import HealthFormula
from features.health.score import health_column
from training.metrics import BOOTSTRAP_DRAWS, EvaluationError, Interval, account_draws, auc

Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class BandRecord:
    """How many of the rows in a band churned."""

    name: str
    rows: int
    share: float | None


@dataclass(frozen=True, kw_only=True)
class FormulaRecord:
    """How one formula did: the AUC of a low score for churn, and its bands from the best on."""

    auc: Interval
    bands: tuple[BandRecord, ...]


@dataclass(frozen=True, kw_only=True)
class HealthBacktest:
    """Both formulas on the same later rows; ``gain`` is the proposed AUC less the written one."""

    first: datetime
    last: datetime
    rows: int
    accounts: int
    left: int
    written: FormulaRecord
    proposed: FormulaRecord
    gain: Interval

    @property
    def is_better(self) -> bool:
        """Whether the whole interval of the gain says so."""
        return self.gain.low > 0

    def lines(self) -> Iterator[str]:
        """The result in sentences."""
        yield (
            f"Judged on {self.rows:,} rows of {self.accounts:,} accounts from {self.first:%Y-%m-%d} to "
            f"{self.last:%Y-%m-%d}, of which {self.left:,} churned within 90 days; fitted to earlier "
            f"rows whose 90 days were over by then."
        )
        for name, record in (("written", self.written), ("proposed", self.proposed)):
            bands = ", ".join(
                f"{band.name} {band.rows:,}"
                + ("" if band.share is None else f" ({band.share:.1%} left)")
                for band in record.bands
            )
            yield f"The {name} formula: AUC {record.auc}; {bands}."
        verdict = (
            "The proposed formula ranks better."
            if self.is_better
            else "The written formula ranks better: keep it."
            if self.gain.high < 0
            else "Which one ranks better cannot be told."
        )
        yield (
            f"AUC higher by {self.gain.value:.3f} (95 % interval {self.gain.low:.3f} to "
            f"{self.gain.high:.3f}). {verdict}"
        )


def compare_formulas(
    frame: pl.DataFrame,
    churned: Vector,
    *,
    written: HealthFormula,
    proposed: HealthFormula,
    rng: np.random.Generator,
) -> HealthBacktest:
    """Both formulas on the rows for which both give a score.

    Args:
        frame: ``account_id``, ``as_of`` and the features of each row.
        churned: 1 or 0 for each row.
        written: the formula in use.
        proposed: one that was fitted to earlier rows.
        rng: draws accounts for the intervals.

    Raises:
        EvaluationError: no row has both scores, or only one class is among those that have.
    """
    scores = [health_column(frame, formula).to_numpy() for formula in (written, proposed)]
    known = ~np.isnan(scores[0]) & ~np.isnan(scores[1])
    y, risks = churned[known], [100 - score[known] for score in scores]
    if not 0 < y.sum() < len(y):
        raise EvaluationError(
            f"Of {len(churned):,} later rows {len(y):,} have a score by both formulas, and "
            f"{int(y.sum()):,} of those churned: nothing can be compared."
        )
    accounts = frame["account_id"].to_numpy()[known]
    names, place = np.unique(accounts, return_inverse=True)
    draws = account_draws(place.astype(np.int64), BOOTSTRAP_DRAWS, rng)[:, place]
    ones = np.ones((1, len(y)))
    values = [float(auc(y, risk, ones)[0]) for risk in risks]
    spread = [auc(y, risk, draws) for risk in risks]
    moments = frame["as_of"].filter(pl.Series(known))
    first, last = moments.min(), moments.max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    return HealthBacktest(
        first=first,
        last=last,
        rows=len(y),
        accounts=len(names),
        left=int(y.sum()),
        written=FormulaRecord(
            auc=_interval(values[0], spread[0]), bands=_bands(written, 100 - risks[0], y)
        ),
        proposed=FormulaRecord(
            auc=_interval(values[1], spread[1]), bands=_bands(proposed, 100 - risks[1], y)
        ),
        gain=_interval(values[1] - values[0], spread[1] - spread[0]),
    )


def _bands(formula: HealthFormula, score: Vector, churned: Vector) -> tuple[BandRecord, ...]:
    names = np.array([formula.band(one).name for one in score.tolist()])
    return tuple(
        BandRecord(
            name=band.name,
            rows=int((names == band.name).sum()),
            share=float(churned[names == band.name].mean()) if (names == band.name).any() else None,
        )
        for band in formula.bands
    )


def _interval(value: float, spread: Vector) -> Interval:
    low, high = np.nanquantile(spread, [0.025, 0.975])
    return Interval(value=value, low=float(low), high=float(high))
