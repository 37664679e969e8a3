"""This module is about money that is expected: a chance times an amount, a year, with an interval.

Revenue at risk is the chance to leave times a year of revenue, which is known. Expected expansion
is the chance to expand before any churn times the usual rise, which is estimated: its interval
holds the error of both, taken as independent. Unknown stays None.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MONTHS_PER_YEAR = 12
NORMAL_95 = 1.96


@dataclass(frozen=True, kw_only=True)
class Money:
    """An expected amount a year, with its 95 % interval where that is known."""

    expected: float | None = None
    low: float | None = None
    high: float | None = None


def yearly(
    probability: float | None,
    low: float | None,
    high: float | None,
    amount: float | None,
    *,
    relative_error: float = 0.0,
) -> Money:
    """A chance times twelve monthly amounts.

    Args:
        probability: of the outcome; None is unknown money.
        low: lower end of its 95 % interval.
        high: upper end of it.
        amount: a month, in the reporting currency; None is unknown money.
        relative_error: standard error of the amount over the amount.

    >>> yearly(0.5, 0.25, 0.75, 10.0)
    Money(expected=60.0, low=30.0, high=90.0)
    """
    if probability is None or amount is None:
        return Money()
    below = _widened(probability, low, relative_error, side=-1)
    above = _widened(probability, high, relative_error, side=1)
    return Money(
        expected=probability * amount * MONTHS_PER_YEAR,
        low=None if below is None else below * amount * MONTHS_PER_YEAR,
        high=None if above is None else above * amount * MONTHS_PER_YEAR,
    )


def yearly_of_many(
    probability: Floats,
    low: Floats,
    high: Floats,
    amount: Floats,
    *,
    relative_error: float = 0.0,
) -> tuple[Floats, Floats, Floats]:
    """``yearly`` of columns, in which NaN is unknown: the expected amounts, their low and high."""
    ends = []
    for bound, side in ((low, -1), (high, 1)):
        moved = bound
        if relative_error != 0:
            with np.errstate(divide="ignore", invalid="ignore"):
                apart = np.hypot(np.log(bound / probability), NORMAL_95 * relative_error)
            far = probability * np.exp(side * apart)
            moved = np.where((probability <= 0) | (bound <= 0), bound, far)
        ends.append(moved * amount * MONTHS_PER_YEAR)
    return probability * amount * MONTHS_PER_YEAR, ends[0], ends[1]


def _widened(p: float, bound: float | None, relative_error: float, *, side: int) -> float | None:
    """The bound moved away from ``p`` by the amount's error, in quadrature of logarithms."""
    if bound is None or relative_error == 0 or p <= 0 or bound <= 0:
        return bound
    apart = math.hypot(math.log(bound / p), NORMAL_95 * relative_error)
    return p * math.exp(side * apart)
