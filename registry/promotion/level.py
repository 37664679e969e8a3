"""Judge the level of probabilities and their spread, in proportion to the rate of the outcome.

The level is the number that came over the number promised; the slope is that of the outcome on the
promised log-odds (1: as promised, 0: they say nothing). Reads nothing, writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

MOST_OFF = 1.25
"""A level is off beyond this many times, or one over it, where its interval also excludes 1."""

LEAST_SLOPE = 0.5
"""A slope that is shown to lie below it promises more than twice the differences there are."""

NORMAL_95, NORMAL_80 = 1.959964, 0.841621


@dataclass(frozen=True, kw_only=True)
class IntervalEstimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    @property
    def is_level_off(self) -> bool:
        """Whether, as came over promised, it is too far from 1 and that is no chance.

        >>> IntervalEstimate(value=0.67, low=0.5, high=0.9).is_level_off
        True
        >>> IntervalEstimate(value=0.67, low=0.4, high=1.1).is_level_off  # chance
        False
        >>> IntervalEstimate(value=0.95, low=0.92, high=0.98).is_level_off  # not far
        False
        """
        far = not 1 / MOST_OFF <= self.value <= MOST_OFF
        return far and not self.low <= 1 <= self.high

    @property
    def is_slope_off(self) -> bool:
        """Whether, as a slope, it is not shown to be above 0, or is clearly too small.

        Above 0 with 80 % confidence, as a model has to be better than the base rate.

        >>> IntervalEstimate(value=0.1, low=-0.3, high=0.5).is_slope_off
        True
        >>> IntervalEstimate(value=0.9, low=0.6, high=1.2).is_slope_off
        False
        """
        error = (self.high - self.low) / (2 * NORMAL_95)
        return not (self.value - NORMAL_80 * error > 0 and self.high >= LEAST_SLOPE)


def levels_off(
    levels: Mapping[str, IntervalEstimate], of_base_rate: Mapping[str, IntervalEstimate]
) -> tuple[str, ...]:
    """The names of levels that are off, and by more than the base rate's on the same rows.

    Where the rate itself has moved since the rows that were learned from, the base rate of those
    rows is off as well; no model of them could have known.
    """
    return tuple(
        name
        for name, level in levels.items()
        if level.is_level_off and not (name in of_base_rate and _as_far(of_base_rate[name], level))
    )


def _as_far(base: IntervalEstimate, level: IntervalEstimate) -> bool:
    """Whether the base rate is off in the same direction, and at least as far."""
    if min(base.value, level.value) <= 0:
        return base.value <= level.value
    apart, mine = np.log(base.value), np.log(level.value)
    return bool(apart * mine > 0 and abs(apart) >= abs(mine) and base.is_level_off)
