"""Measure drift: how far features or scores are from those of the training.

A feature's distance is the Jensen-Shannon distance (0 alike, 1 apart) between its bins then and
now; unknown is a bin. A finite sample always differs from its population: snapshots of the same
size are drawn from the training rows, whole accounts on the side of training, and their distance
without any drift is subtracted. Features count by their share of the model's reasons; the
alarm is on the weighted sum. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Places = NDArray[np.int64]

BINS = 10
"""Equal parts of the training values; fewer where values repeat."""

MANY = 0.05
"""A value that at least this share of training rows has is common."""

FALSE_ALARMS = 0.01
"""How often a snapshot without drift raises the alarm; twice as often with 40 accounts."""

LEAST_DISTANCE = 0.10
"""A smaller drift is no alarm, however certain: a normal feature that moves by a quarter of its
standard deviation has this distance."""

LEAST_ACCOUNTS = 30
MOST_ACCOUNTS = 5_000
"""Drawn on either side; with more the distance without drift is already below 0.03."""

DRIFT_DRAWS = 400


@dataclass(frozen=True, kw_only=True)
class FeatureDrift:
    """One feature: its share of the model's reasons, and its distance beyond chance."""

    name: str
    share: float
    distance: float
    unknown_then: float  # share of rows
    unknown_now: float
    outside: float  # share of rows beyond all that training saw
    median_then: float | None
    median_now: float | None


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The distance of all features together, and the limit that chance seldom exceeds."""

    distance: float  # weighted by share
    limit: float
    outside: float  # share of what the model reads, by weight, beyond all that training saw
    n_then: int  # rows
    n_now: int
    features: tuple[FeatureDrift, ...]  # most weighted distance first

    @property
    def is_alarm(self) -> bool:
        """Whether it is beyond chance and large enough to matter."""
        return self.distance > self.limit


def drift(
    names: tuple[str, ...],
    shares: Vector,
    then: Matrix,
    account: Places,
    now: Matrix,
    *,
    rng: np.random.Generator,
    draws: int = DRIFT_DRAWS,
) -> Drift:
    """Compare the rows of now, one an account, with those of training.

    Args:
        names: of the columns.
        shares: weight of each column; they sum to 1, or all are 0.
        then: rows of training, NaN unknown.
        account: whose row each of those is.
        now: rows of the snapshot, NaN unknown.
        rng: for the draws.
        draws: how many snapshots without drift are compared.
    """
    bins = [_edges(then[:, j]) for j in range(len(names))]
    widest = max(len(edges) for edges in bins) + 2
    coded_then, coded_now = (_coded(rows, bins, widest) for rows in (then, now))
    rates_then, rates_now = (_rates(coded, len(names), widest) for coded in (coded_then, coded_now))
    chance = _without_drift(
        coded_then, account, min(len(now), MOST_ACCOUNTS), len(names), widest, rng, draws
    )
    usual = chance.mean(axis=0)

    def beyond(divergence: Matrix) -> Matrix:
        return np.asarray(np.sqrt(np.maximum(divergence - usual, 0.0)))

    distance = beyond(divergence(rates_then, rates_now))
    known_then, known_now = (~np.isnan(rows) for rows in (then, now))
    outside = _outside(then, now)
    found = [
        FeatureDrift(
            name=name,
            share=float(shares[j]),
            distance=float(distance[j]),
            unknown_then=float(1 - known_then[:, j].mean()),
            unknown_now=float(1 - known_now[:, j].mean()),
            outside=float(outside[:, j].mean()),
            median_then=_median(then[known_then[:, j], j]),
            median_now=_median(now[known_now[:, j], j]),
        )
        for j, name in enumerate(names)
    ]
    return Drift(
        distance=float(distance @ shares),
        limit=max(LEAST_DISTANCE, float(np.quantile(beyond(chance) @ shares, 1 - FALSE_ALARMS))),
        outside=float((outside @ shares).mean()),
        n_then=len(then),
        n_now=len(now),
        features=tuple(sorted(found, key=lambda f: (-f.share * f.distance, f.name))),
    )


def divergence(p: Matrix, q: Matrix) -> Vector:
    """Jensen-Shannon divergence in bits, over the last axis: 0 alike, 1 nothing in common.

    >>> import numpy as np
    >>> divergence(np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.0, 1.0])).item()
    1.0
    """
    middle = (p + q) / 2
    found: Vector = _entropy(middle) - (_entropy(p) + _entropy(q)) / 2
    return found


def _entropy(p: Matrix) -> Vector:
    found: Vector = -(p * np.log2(np.where(p > 0, p, 1.0))).sum(axis=-1)
    return found


def _edges(values: Vector) -> Vector:
    """Upper edges of all bins but the last.

    Where the smallest or largest value is held by many rows, what lies beyond it is a bin of its
    own; elsewhere the next account may well be the new extreme, which is no drift.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return np.empty(0)
    inner = np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1], method="inverted_cdf")
    low, high = known.min(), known.max()
    beyond = [
        edge
        for edge, extreme in ((np.nextafter(low, -np.inf), low), (high, high))
        if (known == extreme).mean() >= MANY
    ]
    return np.unique(np.r_[inner[inner < high], beyond])


def _coded(rows: Matrix, bins: list[Vector], widest: int) -> Places:
    """The bin of each value, numbered over all columns; unknown is the last bin of a column."""
    coded = np.empty(rows.shape, dtype=np.int64)
    for j, edges in enumerate(bins):
        found = np.searchsorted(edges, rows[:, j], side="left")
        coded[:, j] = j * widest + np.where(np.isnan(rows[:, j]), widest - 1, found)
    return coded


def _rates(coded: Places, columns: int, widest: int) -> Matrix:
    counts = np.bincount(coded.ravel(), minlength=columns * widest)
    return np.asarray(counts.reshape(columns, widest) / len(coded))


def _without_drift(
    coded: Places,
    account: Places,
    n_now: int,
    columns: int,
    widest: int,
    rng: np.random.Generator,
    draws: int,
) -> Matrix:
    """Divergences (draws × columns) between samples of the training rows themselves."""
    accounts, place = np.unique(account, return_inverse=True)
    kept = rng.permutation(len(accounts))[:MOST_ACCOUNTS]
    position = np.full(len(accounts), -1)
    position[kept] = np.arange(len(kept))
    rows = position[place] >= 0
    coded, whose = coded[rows], position[place[rows]]
    cells = columns * widest
    of_account = (
        np.bincount(
            (whose[:, None] * cells + coded).ravel(),
            minlength=len(kept) * cells,
        )
        .reshape(len(kept), cells)
        .astype(np.float64)
    )
    found = np.empty((draws, columns))
    for draw in range(draws):
        drawn = np.bincount(rng.integers(0, len(kept), len(kept)), minlength=len(kept))
        then = (drawn @ of_account).reshape(columns, widest)
        now = _rates(coded[rng.integers(0, len(coded), n_now)], columns, widest)
        found[draw] = divergence(then / then.sum(axis=1, keepdims=True), now)
    return found


def _outside(then: Matrix, now: Matrix) -> NDArray[np.bool_]:
    """Values below or above all of training, or unknown where training always knew, or known
    where it never did."""
    known = ~np.isnan(then)
    low = np.where(known, then, np.inf).min(axis=0)
    high = np.where(known, then, -np.inf).max(axis=0)
    always = known.all(axis=0)
    beyond = (now < low) | (now > high)  # never known: low is infinite, so any value is beyond
    return np.asarray(beyond | (np.isnan(now) & always))


def _median(values: Vector) -> float | None:
    return float(np.median(values)) if len(values) else None
