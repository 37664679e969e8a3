"""Compare matured labels with the model's predictions and with those of the fallback.

Only rows count whose cutoff lies at or after all that the model has learned from, and whose label
window has closed; what is immature is counted and left out. Intervals draw whole accounts, and are
never narrower than the exact Poisson interval of the number of accounts with the outcome (Garwood),
so that no outcome at all is no proof. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry.bundle.segment_gate import EVERYONE, SegmentVerdict
from registry.promotion.level import LEAST_SLOPE, IntervalEstimate
from training.metrics import (
    Interval,
    account_draws,
    auc,
    calibration_slope,
    came_over_promised,
    row_log_loss,
)

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Places = NDArray[np.int64]

LOOK_DRAWS = 2000

WRONG = 0.05
"""The chance that a look finds the model worse in any segment although it is as good."""

BETTER_IN = 0.80
"""Share of the draws in which a withheld model has to be better, as for a promotion."""

CLEARLY_OFF = 1.25
"""A segment's predictions are off if the interval of observed over expected lies beyond it, or its
inverse: withholding a model takes more than the alarm for all accounts (`IntervalEstimate.is_level_off`)."""

LEAST_LOSS = 0.01
"""A model is not withheld for less than this share of the other's log loss, however sure."""

LEAST_ACCOUNTS = 10
"""Accounts with the outcome, and without, needed to judge which of two is better."""

RECENT_CUTOFFS = 6
"""Only the newest cutoffs judge a segment, so that a model can become better again."""


@dataclass(frozen=True, kw_only=True)
class MaturedRows:
    """Decided rows at one horizon, with the probabilities of the model and of the fallback."""

    horizon: int
    outcome: Vector
    probability: Vector
    instead: Vector | None
    account: Places
    cutoff: Places  # in order of time
    segment: NDArray[np.str_]  # as `segment_key` names it

    def where(self, rows: NDArray[np.bool_]) -> MaturedRows:
        """Only these rows."""
        return MaturedRows(
            horizon=self.horizon,
            outcome=self.outcome[rows],
            probability=self.probability[rows],
            instead=None if self.instead is None else self.instead[rows],
            account=self.account[rows],
            cutoff=self.cutoff[rows],
            segment=self.segment[rows],
        )

    @property
    def recent(self) -> MaturedRows:
        """The rows of the newest cutoffs."""
        return self.where(np.isin(self.cutoff, np.unique(self.cutoff)[-RECENT_CUTOFFS:]))

    @property
    def can_compare(self) -> bool:
        """Whether enough accounts had the outcome, and enough had not."""
        return (
            min(len(np.unique(self.account[self.outcome == y])) for y in (0, 1)) >= LEAST_ACCOUNTS
        )


@dataclass(frozen=True, kw_only=True)
class MaturedOutcomes:
    """The predictions of a horizon beside the outcomes, over all matured rows."""

    horizon: int
    n_rows: int
    n_accounts: int
    observed: int
    expected: float
    ratio: Interval | None  # observed over expected; None without rows
    slope: Interval | None  # 1 as promised, 0 says nothing; None: too few to judge
    is_off: bool  # the level
    says_little: bool  # the slope is clearly too small
    log_loss: float | None
    auc: float | None
    left_out: Mapping[str, int]  # rows by reason, immature among them


@dataclass(frozen=True, kw_only=True)
class SegmentFinding:
    """The verdict of the recent matured rows on the model in one segment."""

    key: str
    horizon: int
    finding: SegmentVerdict
    because: str
    n_rows: int
    n_accounts_with_outcome: int
    ratio: Interval
    ratio_instead: Interval | None
    loss_gap: Interval | None  # log loss of the model minus that of the fallback


def judge_matured(
    rows: MaturedRows, left_out: Mapping[str, int], *, level: float, rng: np.random.Generator
) -> MaturedOutcomes:
    """Compare predictions and outcomes of one horizon; ``level`` decides whether they are off."""
    if not len(rows.outcome):
        return MaturedOutcomes(
            horizon=rows.horizon,
            n_rows=0,
            n_accounts=0,
            observed=0,
            expected=0.0,
            ratio=None,
            slope=None,
            is_off=False,
            says_little=False,
            log_loss=None,
            auc=None,
            left_out=left_out,
        )
    rows = _numbered(rows)
    draws = account_draws(rows.account, LOOK_DRAWS, rng)
    y, p = rows.outcome, rows.probability
    ordered = auc(y, p, np.ones((1, len(y))))[0]
    slope = calibration_slope(y, p, rows.account) if rows.can_compare else None
    judged = came_over_promised(y, p, rows.account, draws, level=level)
    return MaturedOutcomes(
        horizon=rows.horizon,
        n_rows=len(y),
        n_accounts=len(np.unique(rows.account)),
        observed=int(y.sum()),
        expected=float(p.sum()),
        ratio=came_over_promised(y, p, rows.account, draws, level=0.95),
        slope=slope,
        is_off=IntervalEstimate(value=judged.value, low=judged.low, high=judged.high).is_level_off,
        says_little=slope is not None and slope.high < LEAST_SLOPE,
        log_loss=float(row_log_loss(y, p).mean()),
        auc=None if np.isnan(ordered) else float(ordered),
        left_out=left_out,
    )


def segment_findings(
    rows: MaturedRows, *, instead: str, rng: np.random.Generator
) -> tuple[SegmentFinding, ...]:
    """Every segment, and everyone together, that the recent rows can judge.

    The chance to find a good model worse is shared among the segments.

    Args:
        rows: of one horizon.
        instead: the fallback, in words.
        rng: for the draws.
    """
    recent = rows.recent
    groups = {
        EVERYONE: recent,
        **{str(key): recent.where(recent.segment == key) for key in np.unique(recent.segment)},
    }
    judged = {key: _numbered(group) for key, group in groups.items() if group.can_compare}
    return tuple(
        _finding(key, group, instead, WRONG / len(judged), rng) for key, group in judged.items()
    )


def _finding(
    key: str, rows: MaturedRows, instead: str, wrong: float, rng: np.random.Generator
) -> SegmentFinding:
    """The verdict on one segment, wrong with this chance at most."""
    y, account = rows.outcome, rows.account
    draws = account_draws(account, LOOK_DRAWS, rng)
    ratio = came_over_promised(y, rows.probability, account, draws, level=1 - wrong)
    n_happened = len(np.unique(account[y == 1]))
    told = (
        f"of {len(y):,} outcomes within {rows.horizon} days that have matured since it was "
        f"trained ({int(y.sum()):,} happened)"
    )
    finding: SegmentVerdict = "unclear"
    because = f"{told}, {ratio.value:.2f} times as many as promised happened"
    ratio_instead = gap = None
    if rows.instead is not None:
        ratio_instead = came_over_promised(y, rows.instead, account, draws, level=1 - wrong)
        gap, drawn = _loss_gap(y, rows.probability, rows.instead, account, draws)
        off = _is_off(ratio) and not _is_off(ratio_instead)
        matters = gap.value > LEAST_LOSS * row_log_loss(y, rows.instead).mean()
        if matters and np.quantile(drawn, wrong / 2) > 0:
            finding = "worse"
            because = (
                f"{told}, its log loss is {gap.value:.4f} above that of {instead} "
                f"({gap.low:+.4f} to {gap.high:+.4f})"
            )
        elif off:
            finding = "worse"
            because += (
                f" ({ratio.low:.2f} to {ratio.high:.2f}), and "
                f"{ratio_instead.value:.2f} times by {instead}"
            )
        elif (drawn < 0).mean() >= BETTER_IN:
            finding = "better"
            because = (
                f"{told}, its log loss is {-gap.value:.4f} below that of {instead} "
                f"({gap.low:+.4f} to {gap.high:+.4f})"
            )
    return SegmentFinding(
        key=key,
        horizon=rows.horizon,
        finding=finding,
        because=because,
        n_rows=len(y),
        n_accounts_with_outcome=n_happened,
        ratio=ratio,
        ratio_instead=ratio_instead,
        loss_gap=gap,
    )


def _loss_gap(
    y: Vector, p: Vector, other: Vector, account: Places, draws: Matrix
) -> tuple[Interval, Vector]:
    """Mean difference in log loss, its 95 % interval, and what each draw of accounts says."""
    apart = row_log_loss(y, p) - row_log_loss(y, other)
    width = draws.shape[1]
    drawn = (draws @ np.bincount(account, apart, width)) / (
        draws @ np.bincount(account, minlength=width)
    )
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value=float(apart.mean()), low=float(low), high=float(high)), drawn


def _is_off(ratio: Interval) -> bool:
    return ratio.low > CLEARLY_OFF or ratio.high < 1 / CLEARLY_OFF


def _numbered(rows: MaturedRows) -> MaturedRows:
    """Accounts as numbers from 0 without gaps."""
    return MaturedRows(
        horizon=rows.horizon,
        outcome=rows.outcome,
        probability=rows.probability,
        instead=rows.instead,
        cutoff=rows.cutoff,
        segment=rows.segment,
        account=np.unique(rows.account, return_inverse=True)[1],
    )
