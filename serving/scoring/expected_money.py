"""Money that is expected a year: a probability times an amount, with its interval.

Revenue at risk is the probability to leave times a year of revenue, which is known. Expected
expansion is the probability to expand before any churn times the usual rise, which is estimated:
its interval holds the error of both, taken as independent. Unknown stays unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MONTHS_PER_YEAR = 12
NORMAL_95 = 1.96


class MoneyColumns(NamedTuple):
    """Expected amounts a year with their 95 % intervals; NaN is unknown."""

    expected: Floats
    low: Floats
    high: Floats


def yearly(
    probability: Floats,
    low: Floats,
    high: Floats,
    amount: Floats,
    *,
    relative_error: float = 0.0,
) -> MoneyColumns:
    """Probabilities times twelve monthly amounts. NaN is unknown, and makes unknown money.

    Args:
        probability: of the outcome.
        low: lower ends of its 95 % interval.
        high: upper ends of it.
        amount: a month, in the reporting currency.
        relative_error: standard error of the amount over the amount. It moves both ends away
            from the probability, in quadrature of logarithms.
    """
    ends = []
    for bound, side in ((low, -1), (high, 1)):
        moved = np.where(np.isnan(probability), np.nan, bound)
        if relative_error != 0:
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                apart = np.hypot(np.log(bound / probability), NORMAL_95 * relative_error)
                far = probability * np.exp(side * apart)
            moved = np.where((probability <= 0) | (bound <= 0), moved, far)
        ends.append(moved * amount * MONTHS_PER_YEAR)
    return MoneyColumns(probability * amount * MONTHS_PER_YEAR, *ends)


@dataclass(frozen=True, kw_only=True)
class Money:
    """An expected amount a year, with its 95 % interval; None is unknown."""

    expected: float | None = None
    low: float | None = None
    high: float | None = None


def yearly_of_one(
    probability: float | None,
    low: float | None,
    high: float | None,
    amount: float | None,
    *,
    relative_error: float = 0.0,
) -> Money:
    """``yearly`` of a single account.

    >>> yearly_of_one(0.5, 0.25, 0.75, 10.0)
    Money(expected=60.0, low=30.0, high=90.0)
    """
    columns = yearly(
        *(np.array([value], np.float64) for value in (probability, low, high, amount)),
        relative_error=relative_error,
    )
    expected, below, above = (
        None if column[0] != column[0] else float(column[0]) for column in columns
    )
    return Money(expected=expected, low=below, high=above)
