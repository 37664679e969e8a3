"""Probabilities beyond 90 days: P(by 180) = P(by 90) + (1 − P(by 90)) · q.

The score is fitted to the horizons up to 90 days. The time between two longer horizons has a
chance of its own, for accounts that are still there when it begins, so no probability falls as the
horizon grows::

    P(by 180) = P(by 90) + (1 - P(by 90)) · q,    q = sigmoid(a + b·g),    g = slope·f + form(x)

``f`` is the raw score and ``form`` a linear form of the features; with few accounts to learn from
there is no form. Holds the numbers; `training.models.long_horizons` fits them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from registry.bundle.calibration import Calibration, CalibrationError
from registry.bundle.linear import LinearForm, sum_by_theme

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LongHorizonChance:
    """The chance between the previous horizon and this one, for accounts that are still there."""

    slope: float  # of the raw score
    form: LinearForm | None  # in log-odds, beside the score
    calibration: Calibration  # of g, at this horizon alone

    def __post_init__(self) -> None:
        if len(self.calibration.horizons) != 1 or not np.isfinite(self.slope):
            raise CalibrationError(
                f"A chance after the near has one horizon and a finite slope; this one has "
                f"{self.calibration.horizons} and {self.slope}."
            )

    @property
    def horizon(self) -> int:
        """The end of its time, in days from the moment of the score."""
        return self.calibration.horizons[0]

    def score(self, raw: Floats, matrix: Floats) -> Floats:
        """``g`` of each row, before calibration."""
        own = 0.0 if self.form is None else self.form.score(matrix)
        return np.asarray(self.slope * raw + own)

    def log_odds(self, g: Floats | float) -> Floats:
        """The calibrated log-odds of each ``g``."""
        return np.asarray(self.calibration.intercepts[0] + self.calibration.slope * np.asarray(g))

    def drawn(self, g: Floats) -> Floats:
        """The calibrated log-odds in each bootstrap draw: rows × draws."""
        draws = self.calibration.draws
        return np.asarray(draws[:, 1] + g[:, None] * draws[:, 0])

    def contributions(
        self,
        matrix: Floats,
        near: Floats,
        base: float,
        themes: npt.NDArray[np.int64] | None = None,
    ) -> tuple[Floats, float]:
        """Each feature's part of ``g``, from its part of the raw score, and the base.

        With ``themes``, the theme of each feature, it is each theme's part.
        """
        if self.form is None:
            return self.slope * near, self.slope * base
        own = self.form.contributions(matrix)
        return (
            self.slope * near + (own if themes is None else sum_by_theme(own, themes)),
            self.slope * base + self.form.base,
        )


def combine_log_odds(before: Floats, after: Floats) -> Floats:
    """The log-odds of the outcome before or after, from those of each; never below ``before``.

    >>> odds = combine_log_odds(np.log([1.0]), np.log([1.0]))  # a half, and a half of what is left
    >>> round(float(odds[0]), 6) == round(float(np.log(3)), 6)
    True
    """
    return np.asarray(np.logaddexp(np.logaddexp(before, after), before + after))
