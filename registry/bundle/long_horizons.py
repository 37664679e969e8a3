"""Probabilities beyond 90 days, P(by 180) = P(by 90) + (1 − P(by 90)) · q, and shares before them.

The score is fitted to the horizons up to 90 days. The time between two longer horizons has a
chance of its own, for accounts that are still there when it begins, so no probability falls as the
horizon grows::

    P(by 180) = P(by 90) + (1 - P(by 90)) · q,    q = sigmoid(a + b·g),    g = slope·f + form(x)

``f`` is the raw score and ``form`` a linear form of the features; with few accounts to learn from
there is no form. The score ranks accounts by the longest of the usual horizons. Of those that have
the outcome by then a share has it sooner already, and which accounts that are is another question
than who has it at all (mostly: whose contract ends sooner)::

    P(by 60) = P(by 90) · s60,    P(by 30) = P(by 60) · s30,    s = sigmoid(a + b·form(x))

A share lies between 0 and 1, so no probability falls as the horizon grows. Holds the numbers;
`training.models.long_horizons` and `training.models.fitting.shares` fit them.
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


@dataclass(frozen=True, kw_only=True, eq=False)
class HorizonShare:
    """Of the accounts with the outcome by the next longer horizon, those that have it by this."""

    form: LinearForm  # in log-odds
    calibration: Calibration  # of the form's score, at this horizon alone

    def __post_init__(self) -> None:
        if len(self.calibration.horizons) != 1:
            raise CalibrationError(
                f"A share has one horizon; this one has {self.calibration.horizons}."
            )

    @property
    def horizon(self) -> int:
        """The horizon in days."""
        return self.calibration.horizons[0]

    def log_odds(self, matrix: Floats) -> Floats:
        """The log-odds of each row's share."""
        score = self.form.score(matrix)
        return np.asarray(self.calibration.intercepts[0] + self.calibration.slope * score)

    def drawn(self, matrix: Floats) -> Floats:
        """The log-odds of the share in each bootstrap draw: rows × draws."""
        draws = self.calibration.draws
        return np.asarray(draws[:, 1] + self.form.score(matrix)[:, None] * draws[:, 0])


def share_log_odds(whole: Floats, share: Floats) -> Floats:
    """The log-odds of a share of a probability, from the log-odds of both; never above ``whole``.

    >>> odds = share_log_odds(np.log([1.0]), np.log([1.0]))  # the half of a half
    >>> round(float(odds[0]), 6) == round(float(np.log(1 / 3)), 6)
    True
    """
    return -combine_log_odds(-whole, -share)  # what is not in it is one or the other
