"""The design matrix of a linear model, on one scale, so that penalties are equal.

Signed logarithms, bounded, standardised over the rows of the fit, unknown values imputed; where a
feature is unknown often enough to tell, being unknown is a column of its own. The
fitted weights become a ``LinearForm`` on the features' own values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry.bundle.linear import LinearForm

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

RARE = 0.01
"""A missing indicator needs this share of known and of unknown rows to be fitted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearDesign:
    """The transformation that brings features onto one scale."""

    fill: Vector
    center: Vector
    scale: Vector
    varies: NDArray[np.bool_]
    missing_rate: Vector
    tells: NDArray[np.bool_]  # whether being unknown has a column
    lower: Vector
    upper: Vector

    @classmethod
    def of(
        cls, matrix: Matrix, *, lower: Vector | None = None, upper: Vector | None = None
    ) -> LinearDesign:
        """The scale of these rows; bounds are of the logged value, else those of the rows."""
        unknown = np.isnan(matrix)
        fill = _medians(matrix)
        logged = _logged(np.where(unknown, fill, matrix))
        low = logged.min(axis=0) if lower is None else np.maximum(lower, logged.min(axis=0))
        high = logged.max(axis=0) if upper is None else np.minimum(upper, logged.max(axis=0))
        low, high = np.minimum(low, high), np.maximum(low, high)
        bounded = np.clip(logged, low, high)
        spread = bounded.std(axis=0)
        missing_rate = unknown.mean(axis=0)
        return cls(
            fill=fill,
            center=bounded.mean(axis=0),
            scale=np.where(spread > 1e-12, spread, 1.0),
            varies=spread > 1e-12,
            missing_rate=missing_rate,
            tells=(missing_rate >= RARE) & (missing_rate <= 1 - RARE),
            lower=low,
            upper=high,
        )

    @classmethod
    def with_step(cls, matrix: Matrix, renewal: int | None, ends: int | None) -> LinearDesign:
        """The scale of these rows, the days to the renewal being a step where a window ends.

        A contract that runs beyond the window does not end within it; sooner or later within it
        makes no difference. ``renewal`` is the column of the days; None: no step.
        """
        if renewal is None or ends is None:
            return cls.of(matrix)
        unbounded = np.full(matrix.shape[1], np.inf)
        lower, upper = -unbounded, unbounded.copy()
        lower[renewal], upper[renewal] = np.log1p(ends - 1), np.log1p(ends)
        return cls.of(matrix, lower=lower, upper=upper)

    def columns(self, matrix: Matrix) -> Matrix:
        """One column per feature, then one per feature whose absence tells."""
        unknown = np.isnan(matrix)
        logged = np.clip(_logged(np.where(unknown, self.fill, matrix)), self.lower, self.upper)
        standard = (logged - self.center) / self.scale
        indicators = (unknown[:, self.tells] - self.missing_rate[self.tells]) / self._missing_spread
        return np.column_stack((standard, indicators))

    def form(self, intercept: float, weights: Vector) -> LinearForm:
        """The served form of weights on the columns."""
        n = len(self.fill)
        missing = np.zeros(n)
        missing[self.tells] = weights[n:] / self._missing_spread
        return LinearForm(
            # the form centres indicators itself, and its base adds their mean
            intercept=float(intercept - missing @ self.missing_rate),
            fill=self.fill,
            center=self.center,
            scale=self.scale,
            coefficient=np.where(self.varies, weights[:n], 0.0),
            missing_coefficient=missing,
            missing_rate=self.missing_rate,
            lower=self.lower,
            upper=self.upper,
            signed_log=np.ones(n),
        )

    @property
    def _missing_spread(self) -> Vector:
        rate = self.missing_rate[self.tells]
        return np.asarray(np.sqrt(rate * (1 - rate)))


def _logged(values: Matrix) -> Matrix:
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))


def _medians(matrix: Matrix) -> Vector:
    """Median of the known values of each column, 0 where none is; unknown values sort last."""
    ordered = np.sort(matrix, axis=0)
    n_known = (~np.isnan(matrix)).sum(axis=0)
    columns = np.arange(matrix.shape[1])
    last = np.maximum(n_known - 1, 0)
    middle = (ordered[last // 2, columns] + ordered[(last + 1) // 2, columns]) / 2
    return np.where(n_known > 0, middle, 0.0)
