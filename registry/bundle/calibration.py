"""Turn a raw score into a calibrated probability at each horizon.

``p_h = sigmoid(a_h + b · f)`` with one slope ``b > 0`` for all horizons and intercepts ``a_h`` that
never fall as the horizon grows. So every horizon ranks accounts alike, and the probability of an
account never falls with the horizon. Where a bundle has ``HorizonShare`` for the shorter horizons,
they rank accounts for themselves and only the longest is read here. Holds the numbers;
`training.models.calibration` fits them.

A few hundred accounts at the low end cannot show a chance of one in ten thousand, however low the
line goes. So the odds have a floor, the least that so many accounts can show (``Unseen``), which is
felt near it alone: ``odds = sqrt(exp(a_h + b · f)² + floor_h²)``. So has the upper end of the
interval: the most that they allow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from registry.bundle._line_quantiles import MOST_LINES, LineLevels

Floats = npt.NDArray[np.float64]

NEAR = 1e-6
"""Below this distance in log-odds a chord is a quotient of rounding errors, while the tangent is off
by less than distance² / 8 = 1e-13."""

LEAST_DRAWS = 20  # below this a 95 % interval is two arbitrary draws


class CalibrationError(Exception):
    """The calibration is not strictly increasing, or has no measure of its own uncertainty."""


class HorizonError(Exception):
    """The model has no probability at this horizon."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Unseen:
    """The chance of what none of so many accounts had, within the last horizon."""

    chance: float
    most: float  # the upper end of its 95 % interval
    draws: Floats  # one for each draw of the calibration

    def __post_init__(self) -> None:
        every = np.array([self.chance, self.most, *self.draws])
        if not ((every > 0) & (every < 1)).all() or self.most < self.chance:
            raise CalibrationError(
                f"The chance of what was not seen ({self.chance} to {self.most}) and its draws must "
                f"lie between 0 and 1, in this order."
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """Horizons in days (rising), the slope, an intercept per horizon, and bootstrap draws.

    A row of ``draws`` is a slope and then an intercept per horizon, from one bootstrap sample of
    accounts. Without ``unseen`` there is no floor.
    """

    horizons: tuple[int, ...]
    slope: float
    intercepts: tuple[float, ...]
    draws: Floats
    unseen: Unseen | None = None

    def __post_init__(self) -> None:
        width = 1 + len(self.horizons)
        if not self.horizons or list(self.horizons) != sorted({*self.horizons}):
            raise CalibrationError(
                f"The horizons {self.horizons} must be different days, in rising order."
            )
        if self.horizons[0] <= 0:
            raise CalibrationError(f"The horizon {self.horizons[0]} must be at least one day.")
        if len(self.intercepts) != len(self.horizons):
            raise CalibrationError(
                f"There are {len(self.intercepts)} intercepts for {len(self.horizons)} horizons."
            )
        if self.draws.shape != (len(self.draws), width) or len(self.draws) < LEAST_DRAWS:
            raise CalibrationError(
                f"The draws have shape {self.draws.shape}; at least {LEAST_DRAWS} rows of a slope "
                f"and {len(self.horizons)} intercept(s) are needed for an interval."
            )
        if self.unseen is not None and len(self.unseen.draws) != len(self.draws):
            raise CalibrationError(
                f"{len(self.unseen.draws)} draws of what was not seen are not {len(self.draws)}."
            )
        every = np.vstack([[self.slope, *self.intercepts], self.draws])
        if not np.isfinite(every).all():
            raise CalibrationError("A slope or an intercept is not a finite number.")
        if (every[:, 0] <= 0).any():
            raise CalibrationError(
                "The slope, or one of its draws, is not above zero, so a higher score would not "
                "be a higher probability. A model like that has learned nothing; do not serve it."
            )
        if (np.diff(every[:, 1:], axis=1) < 0).any():
            raise CalibrationError(
                "An intercept, or one of its draws, falls as the horizon grows, so a probability "
                "would. Fit the horizons jointly."
            )

    def intercept(self, horizon_days: int) -> float:
        """The intercept of a horizon."""
        return self.intercepts[self._index(horizon_days)]

    def probability(self, raw: Floats, horizon_days: int) -> Floats:
        """The probability of each raw score."""
        return sigmoid(self.log_odds(raw, horizon_days))

    def log_odds(self, raw: Floats | float, horizon_days: int) -> Floats:
        """The log-odds of each raw score, not below the floor."""
        line = np.asarray(self.intercept(horizon_days) + self.slope * np.asarray(raw))
        return raised(line, self._floor(horizon_days))

    def tangent(self, raw: float, horizon_days: int) -> float:
        """The derivative of the probability in the raw score."""
        line = self.intercept(horizon_days) + self.slope * raw
        odds = float(self.log_odds(raw, horizon_days))
        p = float(sigmoid(odds))
        return self.slope * p * (1 - p) * float(np.exp(2 * (line - odds)))

    def drawn(self, raw: Floats) -> Floats:
        """The log-odds at the last horizon in each bootstrap draw: rows × draws."""
        odds = self.draws[:, -1] + raw[:, None] * self.draws[:, 0]
        return odds if self.unseen is None else raised(odds, _log_odds(self.unseen.draws))

    def probability_interval(
        self, raw: Floats, horizon_days: int, *, level: float = 0.95
    ) -> tuple[Floats, Floats]:
        """Low and high of the probability itself (the mean outcome of accounts scored alike).

        Percentiles of the bootstrap draws, widened to the shown probability where it lies outside.
        """
        column = 1 + self._index(horizon_days)
        shown = self.probability(raw, horizon_days)
        tail = 100 * (1 - level) / 2
        if len(raw) >= _MANY and len(self.draws) <= MOST_LINES:
            least, most = self._percentiles(column, tail, raw)
            most = self._at_most(most, horizon_days)
            return np.minimum(sigmoid(least), shown), np.maximum(sigmoid(most), shown)
        low, high = np.empty_like(shown), np.empty_like(shown)
        for start in range(0, len(raw), _BLOCK):  # memory does not grow with the accounts
            block = slice(start, start + _BLOCK)
            f = raw[block][:, None]
            drawn = self.draws[:, column] + f * self.draws[:, 0]
            # The sigmoid rises, so percentiles may be taken before it.
            least, most = np.percentile(drawn, [tail, 100 - tail], axis=1)
            low[block] = sigmoid(least)
            high[block] = sigmoid(self._at_most(most, horizon_days))
        return np.minimum(low, shown), np.maximum(high, shown)

    def _floor(self, horizon_days: int) -> float:
        """The floor of the log-odds; a shorter horizon has its share of the days."""
        if self.unseen is None:
            return -np.inf
        return float(_log_odds(self.unseen.chance * self._share(horizon_days)))

    def _at_most(self, log_odds: Floats, horizon_days: int) -> Floats:
        """Upper ends, not below the most that the accounts with the lowest scores allow."""
        if self.unseen is None:
            return log_odds
        return raised(log_odds, float(_log_odds(self.unseen.most * self._share(horizon_days))))

    def _share(self, horizon_days: int) -> float:
        return horizon_days / self.horizons[-1]

    def _percentiles(self, column: int, tail: float, raw: Floats) -> tuple[Floats, Floats]:
        """Both percentiles of the draws at each score, as NumPy interpolates them."""
        places = [(len(self.draws) - 1) * share / 100 for share in (tail, 100 - tail)]
        ranks = [
            rank
            for place in places
            for rank in (int(place), min(int(place) + 1, len(self.draws) - 1))
        ]
        levels = self._levels.get((column, tail))
        if levels is None:
            levels = LineLevels.of(self.draws[:, column], self.draws[:, 0], ranks)
            self._levels[column, tail] = levels
        a, b, c, d = levels.at(raw)
        low, high = (place - int(place) for place in places)
        return a + (b - a) * low, c + (d - c) * high

    @cached_property
    def _levels(self) -> dict[tuple[int, float], LineLevels]:
        return {}

    def _index(self, horizon_days: int) -> int:
        if horizon_days not in self.horizons:
            raise HorizonError(
                f"The model has no probability at {horizon_days} days; it has "
                f"{', '.join(str(h) for h in self.horizons)}. Ask for one of these, or train "
                "with that horizon."
            )
        return self.horizons.index(horizon_days)


def raised(log_odds: Floats, floor: Floats | float) -> Floats:
    """Log-odds that are felt to have a floor: ``log sqrt(exp(log_odds)² + exp(floor)²)``.

    >>> raised(np.array([-9.0, -4.0, 0.0]), -6.0).round(2).tolist()
    [-6.0, -3.99, 0.0]
    """
    return np.asarray(np.logaddexp(2 * log_odds, 2 * np.asarray(floor)) / 2)


def _log_odds(probability: Floats | float) -> Floats:
    return np.asarray(np.log(probability) - np.log1p(-np.asarray(probability)))


_BLOCK = 4096
_MANY = 5_000
"""From this many scores on, a table of percentiles is faster than percentiles of each score."""


def sigmoid(log_odds: npt.NDArray[Any] | float) -> Floats:
    """The probability of log-odds, without overflow at either end.

    >>> [float(sigmoid(x)) for x in (-1000.0, 0.0, 1000.0)]
    [0.0, 0.5, 1.0]
    """
    x = np.asarray(log_odds, np.float64)
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, small) / (1.0 + small))
