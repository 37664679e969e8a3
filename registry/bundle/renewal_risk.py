"""The chance to leave, decision by decision: a contract can end only when its term does.

A decision is the end of a term; the next one follows a term later. Between decisions a contract
seldom ends, at a small rate of its own. Every horizon is a product of the same factors::

    P(by h) = 1 - Π (1 - p_k) · (1 - q)^(h / 30),     decisions k at leads of less than h days
    p_k = sigmoid(level[lead] + term · log(months) + slope[lead] · f)     at a decision
    q   = sigmoid(early + early_slope · f)                                in 30 days, at any time

``f`` is the raw score, ``months`` the length of the term. So no probability falls as the horizon
grows, the chance to leave at the coming renewal is one of the factors, and an account without a
decision within the horizon has the early rate alone. It is the discrete-time hazard model of
survival analysis with decisions as the times at risk (Allison 1982). Holds the numbers;
`training.models.renewal_risk` fits them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from registry.bundle.calibration import LEAST_DRAWS, NEAR, CalibrationError, sigmoid

Floats = npt.NDArray[np.float64]

DAYS_A_MONTH = 365.25 / 12

EARLY_DAYS = 30
"""The early rate is that of so many days."""

GRACE_DAYS = 30
"""A term that ended within so many days is open: its decision is taken now."""

USUAL_MONTHS = 12.0
"""The term where its length is not known."""

NORMAL_95 = 1.959964


@dataclass(frozen=True, kw_only=True)
class ContractCalendar:
    """When the contracts of rows can end, read from two features."""

    renewal: int  # column of the features: days to the end of the term
    months: int | None  # column of the features: months of the term; None: never known

    @property
    def columns(self) -> set[int]:
        """The columns that it reads."""
        return {self.renewal} | (set() if self.months is None else {self.months})

    def has_date(self, matrix: Floats) -> npt.NDArray[np.bool_]:
        """Which rows have a known date at which their term ends."""
        return ~np.isnan(matrix[:, self.renewal])

    def first(self, matrix: Floats) -> tuple[Floats, Floats]:
        """Days to the first decision and months of the term, of each row.

        A date that passed within the grace is a decision that is open today; one that passed longer
        ago stands for the next end of a term of the same length.
        """
        months = np.full(len(matrix), np.nan) if self.months is None else matrix[:, self.months]
        months = np.maximum(np.where(np.isnan(months), USUAL_MONTHS, months), 1.0)
        days = matrix[:, self.renewal]
        is_open = (days < 0) & (days >= -GRACE_DAYS)
        rolled = np.where(days < 0, np.mod(days, months * DAYS_A_MONTH), days)
        return np.where(is_open, 0.0, rolled), months

    def decisions(self, matrix: Floats, horizon_days: int) -> list[tuple[Floats, Floats]]:
        """The leads of the first, second … decision of each row, and the months of its term."""
        days, months = self.first(matrix)
        found = []
        while (days < horizon_days).any():
            found.append((days, months))
            days = days + months * DAYS_A_MONTH
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class RenewalRisk:
    """The numbers of the formula above, and bootstrap draws of them.

    ``parameters`` are the levels and then the slopes of the bands of lead, the weight of the log of
    the term, and level and slope of the early rate. ``draws`` has a row of them for each bootstrap
    sample of accounts.
    """

    leads: tuple[int, ...]  # the end of each band in days, rising; no decision is told beyond them
    calendar: ContractCalendar
    parameters: Floats
    draws: Floats

    def __post_init__(self) -> None:
        width = 2 * len(self.leads) + 3
        if not self.leads or list(self.leads) != sorted({*self.leads}) or self.leads[0] <= 0:
            raise CalibrationError(
                f"The bands of lead {self.leads} must end at different days, in rising order."
            )
        if self.parameters.shape != (width,) or self.draws.shape != (len(self.draws), width):
            raise CalibrationError(
                f"{len(self.leads)} bands of lead need {width} numbers; there are "
                f"{self.parameters.shape} and draws of shape {self.draws.shape}."
            )
        if len(self.draws) < LEAST_DRAWS:
            raise CalibrationError(
                f"{len(self.draws)} draws are too few for an interval; give {LEAST_DRAWS}."
            )
        every = np.vstack((self.parameters, self.draws))
        if not np.isfinite(every).all():
            raise CalibrationError("A number of the renewal risk is not finite.")
        if (every[:, [*range(len(self.leads), 2 * len(self.leads)), -1]] <= 0).any():
            raise CalibrationError(
                "A slope of the renewal risk, or one of its draws, is not above zero, so a higher "
                "score would not be a higher probability. Do not serve it."
            )

    def reaches(self, horizon_days: int) -> bool:
        """Whether every decision within the horizon lies in a band."""
        return horizon_days <= self.leads[-1]

    def probability(self, raw: Floats, matrix: Floats, horizon_days: int) -> Floats:
        """The probability to leave within the horizon, of rows that have a date."""
        return -np.expm1(self._log_stay(raw, matrix, horizon_days, self.parameters))

    def at_renewal(self, raw: Floats, matrix: Floats) -> tuple[Floats, Floats, Floats]:
        """The probability to leave at the coming decision, if still there, and its 95 % interval.

        NaN where the decision lies beyond all bands, or no date is known.
        """
        days, months = self.calendar.first(matrix)
        n, band, rows = len(self.leads), self._band(days), np.arange(len(raw))
        odds = self._log_odds(raw, band, months, self.parameters)
        gradient = np.zeros((len(raw), 2 * n + 3))
        gradient[rows, band], gradient[rows, n + band] = 1.0, raw
        gradient[:, 2 * n] = np.log(months)
        spread = NORMAL_95 * self._spread(gradient)
        known = days < self.leads[-1]
        p, low, high = (sigmoid(odds + away) for away in (0.0, -spread, spread))
        return (
            np.where(known, p, np.nan),
            np.where(known, low, np.nan),
            np.where(known, high, np.nan),
        )

    def slope(self, raw: Floats, matrix: Floats, horizon_days: int) -> Floats:
        """The derivative of the probability in the raw score."""
        n = len(self.leads)
        fall = horizon_days / EARLY_DAYS * sigmoid(self.parameters[-2] + self.parameters[-1] * raw)
        fall = fall * self.parameters[-1]
        for days, months in self.calendar.decisions(matrix, horizon_days):
            band = self._band(days)
            p = sigmoid(self._log_odds(raw, band, months, self.parameters))
            fall = fall + np.where(days < horizon_days, p * self.parameters[n + band], 0.0)
        return np.asarray(fall * np.exp(self._log_stay(raw, matrix, horizon_days, self.parameters)))

    def points(
        self,
        matrix: Floats,
        contributions: Floats,
        base: float,
        probability: Floats,
        start: float,
        horizon_days: int,
        themes: npt.NDArray[np.int64] | None = None,
    ) -> Floats:
        """Contributions to the raw score as parts of the probability, of rows that have a date.

        What the calendar alone changes at the usual score is the date's part, and all other parts
        are taken along the row's own curve.

        Args:
            matrix: rows × features.
            contributions: rows × features, or rows × themes.
            base: the usual score; with the contributions it adds up to the row's.
            probability: of each row within the horizon.
            start: the probability from which the points are counted.
            horizon_days: the horizon.
            themes: the theme of each feature, where contributions are those of themes.
        """
        usual = np.full(len(matrix), base)
        at_usual = self.probability(usual, matrix, horizon_days)
        gap = contributions.sum(axis=1)
        near = np.abs(gap) < NEAR
        chord = (probability - at_usual) / np.where(near, 1.0, gap)
        tangent = self.slope(usual, matrix, horizon_days)
        along = contributions * np.where(near, tangent, chord)[:, None]
        of_date = self.calendar.renewal if themes is None else themes[self.calendar.renewal]
        along[:, of_date] += at_usual - start
        return np.asarray(along)

    def points_at_renewal(
        self, raw: Floats, matrix: Floats, contributions: Floats, base: float
    ) -> tuple[Floats, Floats]:
        """Contributions to the raw score as parts of the chance at the coming decision.

        Args:
            raw: of each row.
            matrix: rows × features.
            contributions: rows × features, or rows × themes.
            base: the usual score; with the contributions it adds up to the row's.

        Returns:
            The points, and the chance of an account with the usual score and this contract, from
            which they are counted; NaN where the decision lies beyond all bands.
        """
        p, *_ = self.at_renewal(raw, matrix)
        start, *_ = self.at_renewal(np.full(len(raw), base), matrix)
        days, _ = self.calendar.first(matrix)
        gap = contributions.sum(axis=1)
        near = np.abs(gap) < NEAR
        tangent = start * (1 - start) * self.parameters[len(self.leads) + self._band(days)]
        slope = np.where(near, tangent, (p - start) / np.where(near, 1.0, gap))
        return contributions * slope[:, None], start

    def probability_interval(
        self, raw: Floats, matrix: Floats, horizon_days: int
    ) -> tuple[Floats, Floats]:
        """Low and high of the probability, 95 %.

        By the delta method from the covariance of the draws, on the scale of log(-log(stay)), which
        keeps both ends between 0 and 1 (Kalbfleisch and Prentice 2002, section 1.4).
        """
        log_stay = self._log_stay(raw, matrix, horizon_days, self.parameters)
        gradient = self._gradient(raw, matrix, horizon_days)
        factor = np.exp(NORMAL_95 * self._spread(gradient) / np.maximum(-log_stay, 1e-12))
        return -np.expm1(log_stay / factor), -np.expm1(log_stay * factor)

    def drawn(self, raw: Floats, matrix: Floats, horizon_days: int) -> Floats:
        """The probability in each bootstrap draw: rows × draws."""
        return -np.expm1(
            np.stack(
                [self._log_stay(raw, matrix, horizon_days, draw) for draw in self.draws], axis=1
            )
        )

    def _band(self, days: Floats) -> npt.NDArray[np.intp]:
        """The band of each lead; one beyond all bands counts as the last."""
        return np.minimum(np.searchsorted(self.leads, days, side="right"), len(self.leads) - 1)

    def _log_odds(
        self, raw: Floats, band: npt.NDArray[np.intp], months: Floats, parameters: Floats
    ) -> Floats:
        n = len(self.leads)
        term = parameters[2 * n]
        return np.asarray(parameters[band] + term * np.log(months) + parameters[n + band] * raw)

    def _log_stay(
        self, raw: Floats, matrix: Floats, horizon_days: int, parameters: Floats
    ) -> Floats:
        early = parameters[-2] + parameters[-1] * raw
        log_stay = -horizon_days / EARLY_DAYS * np.logaddexp(0.0, early)
        for days, months in self.calendar.decisions(matrix, horizon_days):
            band = self._band(days)
            odds = self._log_odds(raw, band, months, parameters)
            log_stay = log_stay - np.where(days < horizon_days, np.logaddexp(0.0, odds), 0.0)
        return np.asarray(log_stay)

    def _gradient(self, raw: Floats, matrix: Floats, horizon_days: int) -> Floats:
        """Derivatives of the log of staying in the parameters: rows × parameters."""
        n = len(self.leads)
        gradient = np.zeros((len(raw), 2 * n + 3))
        q = horizon_days / EARLY_DAYS * sigmoid(self.parameters[-2] + self.parameters[-1] * raw)
        gradient[:, -2], gradient[:, -1] = -q, -q * raw
        rows = np.arange(len(raw))
        for days, months in self.calendar.decisions(matrix, horizon_days):
            band = self._band(days)
            p = sigmoid(self._log_odds(raw, band, months, self.parameters))
            p = np.where(days < horizon_days, p, 0.0)
            gradient[rows, band] -= p
            gradient[rows, n + band] -= p * raw
            gradient[:, 2 * n] -= p * np.log(months)
        return gradient

    def _spread(self, gradient: Floats) -> Floats:
        """The standard error of what has this gradient in the parameters."""
        return np.asarray(
            np.sqrt(np.maximum(((gradient @ self._covariance) * gradient).sum(axis=1), 0.0))
        )

    @cached_property
    def _covariance(self) -> Floats:
        return np.atleast_2d(np.cov(self.draws, rowvar=False))
