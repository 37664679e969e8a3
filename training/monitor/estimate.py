"""Estimate the performance of a model before labels mature, and whether to trust the estimate.

Of accounts with a calibrated probability p a share p will have the outcome, so the expected log
loss and AUC follow from the probabilities (confidence-based estimation, as NannyML calls it). That
holds while such accounts behave as before. So the estimate is compared with matured labels, and
called unreliable if it was wrong there, if accounts lie outside the training data, if features have
drifted, or if there are few accounts. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.metrics import SMALLEST, Interval, account_draws, row_log_loss
from training.monitor.drift import Drift
from training.monitor.matured import LEAST_ACCOUNTS, LOOK_DRAWS, MaturedRows

Vector = NDArray[np.float64]

LEAST_ROWS = 100
"""The least number of accounts for an estimate."""

MOST_OUTSIDE = 0.05
"""Share of what the model reads, by weight, that may lie beyond all that training saw."""

MOST_ERROR = 0.10
"""The estimate may have been wrong by this share of the log loss on matured labels."""

Trust = Literal["reliable", "not reliable", "not checked"]


@dataclass(frozen=True, kw_only=True)
class PastError:
    """The estimate for rows whose labels have matured since, beside the realised value."""

    horizon: int
    n_rows: int
    estimated: float  # log loss
    realised: float
    gap: Interval  # realised minus estimated

    @property
    def is_wrong(self) -> bool:
        """Whether the error is beyond chance and large enough to matter."""
        clear = self.gap.low > 0 or self.gap.high < 0
        return clear and abs(self.gap.value) > MOST_ERROR * self.realised


@dataclass(frozen=True, kw_only=True)
class ExpectedPerformance:
    """The expected performance of the model on the newest snapshot, before its labels."""

    horizon: int
    n_rows: int
    outcomes: Interval  # expected number; the interval adds the accounts' own
    log_loss: float
    auc: float | None
    past: tuple[PastError, ...]
    trust: Trust
    doubts: tuple[str, ...]


def estimate(
    p: Vector,
    low: Vector,
    high: Vector,
    horizon: int,
    *,
    drift: Drift | None,
    past: tuple[MaturedRows, ...],
    rng: np.random.Generator,
) -> ExpectedPerformance:
    """The estimate for rows with these probabilities.

    Args:
        p: probability per account.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
        horizon: of the probabilities, in days.
        drift: of the features of these accounts; None where it could not be told.
        past: the matured rows of each horizon.
        rng: for the draws.
    """
    checked = tuple(past_error(rows, rng=rng) for rows in past if rows.can_compare)
    doubts = _doubts(len(p), drift, checked)
    trust: Trust = "not reliable" if doubts else "reliable" if checked else "not checked"
    if not checked:
        doubts = (
            *doubts,
            f"no horizon has matured labels of {LEAST_ACCOUNTS} accounts with the "
            f"outcome and {LEAST_ACCOUNTS} without since it was trained, so it "
            f"could not be held against any",
        )
    return ExpectedPerformance(
        horizon=horizon,
        n_rows=len(p),
        log_loss=float(expected_log_loss(p).mean()),
        outcomes=Interval(value=float(p.sum()), low=float(low.sum()), high=float(high.sum())),
        auc=expected_auc(p),
        past=checked,
        trust=trust,
        doubts=doubts,
    )


def past_error(rows: MaturedRows, *, rng: np.random.Generator) -> PastError:
    """The estimate beside the realised value, on rows that have matured."""
    expected = expected_log_loss(rows.probability)
    realised = row_log_loss(rows.outcome, rows.probability)
    account = np.unique(rows.account, return_inverse=True)[1]
    draws = account_draws(account, LOOK_DRAWS, rng)
    drawn = (draws @ np.bincount(account, realised - expected)) / (draws @ np.bincount(account))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return PastError(
        horizon=rows.horizon,
        n_rows=len(realised),
        estimated=float(expected.mean()),
        realised=float(realised.mean()),
        gap=Interval(value=float((realised - expected).mean()), low=float(low), high=float(high)),
    )


def expected_log_loss(p: Vector) -> Vector:
    """The log loss that each row is expected to have, if its probability is right."""
    p = np.clip(p, SMALLEST, 1 - SMALLEST)
    loss: Vector = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    return loss


def expected_auc(p: Vector) -> float | None:
    """How often an account with the outcome would be ranked above one without; None: all alike.

    >>> import numpy as np
    >>> expected_auc(np.array([0.0, 0.0, 1.0])), expected_auc(np.array([0.3, 0.3]))
    (1.0, 0.5)
    """
    ranked = np.sort(p)
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    has, has_not = np.add.reduceat(ranked, starts), np.add.reduceat(1 - ranked, starts)
    alone = np.add.reduceat(ranked * (1 - ranked), starts)  # no account is a pair with itself
    pairs = has.sum() * has_not.sum() - alone.sum()
    if pairs <= 0:
        return None
    below = np.cumsum(has_not) - has_not
    return float((has * below + (has * has_not - alone) / 2).sum() / pairs)


def _doubts(n_rows: int, drift: Drift | None, checked: tuple[PastError, ...]) -> tuple[str, ...]:
    doubts = []
    if n_rows < LEAST_ROWS:
        doubts.append(f"it is about {n_rows} accounts, fewer than {LEAST_ROWS}")
    if drift is None:
        doubts.append("the drift of its features is not known")
    else:
        if drift.outside > MOST_OUTSIDE:
            doubts.append(
                f"{drift.outside:.0%} of what the scores rest on lies beyond all that "
                f"the model has learned from"
            )
        if drift.is_alarm:
            doubts.append(
                f"the features have drifted by {drift.distance:.2f}, more than {drift.limit:.2f}"
            )
    doubts += [
        f"for {one.n_rows:,} outcomes within {one.horizon} days that have matured it would have "
        f"said {one.estimated:.3f}, and the log loss was {one.realised:.3f}"
        for one in checked
        if one.is_wrong
    ]
    return tuple(doubts)
