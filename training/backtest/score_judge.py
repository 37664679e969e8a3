"""Judge probabilities against outcomes: order, level, shape, groups, and beside another model.

Every interval draws whole accounts, with the same draws for both models, so that a difference is
paired. A group with fewer than ``LEAST_ACCOUNTS`` accounts that had the outcome, or that had not,
gets no number. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.backtest.groups import LEAST_ACCOUNTS, auc_at_a_cutoff, mean_over_accounts
from training.backtest.score_tables import PairedRows
from training.metrics import (
    BOOTSTRAP_DRAWS,
    Interval,
    account_draws,
    auc,
    brier,
    calibration_slope,
    came_over_promised,
    evaluate,
    row_log_loss,
)

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Rows = NDArray[np.bool_]

CURVE = 10
"""Groups of equal size by probability, in which promised is compared with what came."""


@dataclass(frozen=True, kw_only=True)
class JudgedPart:
    """Some rows: what was promised and what came; no numbers where too few had the outcome."""

    name: str
    n_rows: int
    n_accounts: int
    n_outcomes: int
    promised: float  # mean probability
    came: float  # share with the outcome
    level: Interval | None  # came over promised
    auc: Interval | None
    log_loss: Interval | None


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Differences to another model on the rows that both scored: this one minus the other."""

    n_rows: int
    log_loss: Interval
    brier: Interval
    auc: Interval
    other_level: Interval


@dataclass(frozen=True, kw_only=True)
class JudgedHorizon:
    """The judgement at one horizon."""

    horizon: int
    whole: JudgedPart
    n_not_scored: int
    n_not_decided: int
    metrics: Mapping[
        str, Interval
    ]  # of `training.metrics.metrics_by_draw`; empty: too few to judge
    ranking: Interval | None  # AUC among the accounts of one moment
    over_base_rate: Interval | None  # log loss minus that of the share that came
    slope: Interval | None  # 1 as promised, below 1 too extreme, 0 it says nothing
    cutoffs: tuple[JudgedPart, ...]
    curve: tuple[JudgedPart, ...]  # by rising probability
    groups: Mapping[str, tuple[JudgedPart, ...]]
    beside: Beside | None


def judge_scores(
    rows: PairedRows, *, n_draws: int = BOOTSTRAP_DRAWS, seed: int = 1
) -> tuple[JudgedHorizon, ...]:
    """Judge paired rows at every horizon, in rising order.

    Args:
        rows: from ``pair_tables``.
        n_draws: bootstrap draws of accounts behind every interval.
        seed: of the draws.
    """
    draws = account_draws(rows.account, n_draws, np.random.default_rng(seed))
    return tuple(_judge_horizon(rows, horizon, draws) for horizon in sorted(rows.probabilities))


def _judge_horizon(rows: PairedRows, horizon: int, draws: Matrix) -> JudgedHorizon:
    p, y = rows.probabilities[horizon], rows.outcomes[horizon]
    inside = ~np.isnan(p) & ~np.isnan(y)
    y, p, account = y[inside], p[inside], rows.account[inside]
    moment = rows.moment[inside]
    enough = _enough(y, account)

    def part(name: str, where: Rows) -> JudgedPart:
        return _judge_part(name, y[where], p[where], account[where], draws)

    tenth = np.empty(len(y), dtype=np.int64)
    tenth[np.argsort(p, kind="stable")] = np.arange(len(y)) * CURVE // max(len(y), 1)
    return JudgedHorizon(
        horizon=horizon,
        whole=part("all", np.ones(len(y), dtype=np.bool_)),
        n_not_scored=int((np.isnan(rows.probabilities[horizon])).sum()),
        n_not_decided=int(
            (np.isnan(rows.outcomes[horizon]) & ~np.isnan(rows.probabilities[horizon])).sum()
        ),
        metrics=evaluate(y, p, account, draws) if enough else {},
        ranking=(
            auc_at_a_cutoff(y, p, np.unique(moment, return_inverse=True)[1], account, draws)
            if enough
            else None
        ),
        over_base_rate=(
            mean_over_accounts(
                row_log_loss(y, p) - row_log_loss(y, np.full(len(y), y.mean())), account, draws
            )
            if enough
            else None
        ),
        slope=calibration_slope(y, p, account) if enough else None,
        cutoffs=tuple(part(str(at), moment == at) for at in np.unique(moment)),
        curve=tuple(part(f"tenth {n + 1}", tenth == n) for n in np.unique(tenth)),
        groups={
            column: tuple(part(str(name), names[inside] == name) for name in np.unique(names))
            for column, names in rows.groups.items()
        },
        beside=_beside(rows, horizon, inside, draws),
    )


def _judge_part(
    name: str, y: Vector, p: Vector, account: NDArray[np.int64], draws: Matrix
) -> JudgedPart:
    level = ranked = loss = None
    if _enough(y, account):
        level = came_over_promised(y, p, account, draws) if p.sum() > 0 else None
        ranked = auc_at_a_cutoff(y, p, np.zeros(len(y), dtype=np.int64), account, draws)
        loss = mean_over_accounts(row_log_loss(y, p), account, draws)
    return JudgedPart(
        name=name,
        n_rows=len(y),
        n_accounts=len(np.unique(account)),
        n_outcomes=int(y.sum()),
        promised=float(p.mean()) if len(p) else float("nan"),
        came=float(y.mean()) if len(y) else float("nan"),
        level=level,
        auc=ranked,
        log_loss=loss,
    )


def _beside(rows: PairedRows, horizon: int, inside: Rows, draws: Matrix) -> Beside | None:
    if horizon not in rows.against:
        return None
    both = inside & ~np.isnan(rows.against[horizon])
    y, p, q = (
        values[horizon][both] for values in (rows.outcomes, rows.probabilities, rows.against)
    )
    account = rows.account[both]
    if not _enough(y, account) or not q.sum() > 0:
        return None
    weights = np.concatenate((np.ones((1, draws.shape[1])), draws))[:, account]
    apart = auc(y, p, weights) - auc(y, q, weights)
    squared = brier(y, p, weights) - brier(y, q, weights)
    return Beside(
        n_rows=len(y),
        log_loss=mean_over_accounts(row_log_loss(y, p) - row_log_loss(y, q), account, draws),
        brier=_first_of_drawn(squared),
        auc=_first_of_drawn(apart),
        other_level=came_over_promised(y, q, account, draws),
    )


def _first_of_drawn(values: Vector) -> Interval:
    """The first is of all rows, the others of the draws."""
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return Interval(value=float(values[0]), low=float(low), high=float(high))


def _enough(y: Vector, account: NDArray[np.int64]) -> bool:
    return min(len(np.unique(account[y == value])) for value in (0, 1)) >= LEAST_ACCOUNTS
