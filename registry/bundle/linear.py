"""The linear form: a logistic model whose contributions are exact by construction.

Per feature, a value ``x`` contributes ``coef · (s(x) - 0)`` where ``s`` is the imputed, clipped and
scaled value with mean zero over the training rows, plus the coefficient of its missing indicator.
The indicator is part of its feature's contribution::

    t(x)   = clip(log1p if `signed_log` (|x|, sign kept) else x, lower, upper);  t(fill) if unknown
    φ_j    = coefficient_j · (t_j - center_j) / scale_j
             + missing_coefficient_j · (1[unknown] - missing_rate_j)
    f      = base + Σ φ_j,   base = intercept + Σ missing_coefficient_j · missing_rate_j
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class LinearFormError(Exception):
    """The numbers of a linear form are not usable."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearForm:
    """One number per feature and quantity, and the intercept.

    ``center`` is the mean of the transformed, imputed training values; ``fill`` is in the
    feature's own unit. ``lower`` and ``upper`` bound the transformed value (infinite: no bound);
    ``signed_log`` is 1 where the logarithm is taken first.
    """

    kind: ClassVar[str] = "linear"

    intercept: float
    fill: Floats
    center: Floats
    scale: Floats
    coefficient: Floats
    missing_coefficient: Floats
    missing_rate: Floats
    lower: Floats
    upper: Floats
    signed_log: Floats

    def __post_init__(self) -> None:
        arrays = self.arrays()
        n = len(self.coefficient)
        for name, array in arrays.items():
            if array.dtype != np.float64 or array.shape != ((1,) if name == "intercept" else (n,)):
                raise LinearFormError(
                    f"{name!r} is an array of {array.dtype} with shape {array.shape}; "
                    f"{n} float64 numbers are needed."
                )
            bound = name in ("lower", "upper")
            if np.isnan(array).any() or (np.isinf(array).any() and not bound):
                raise LinearFormError(f"{name!r} holds a number that is not finite.")
        if (self.scale <= 0).any():
            raise LinearFormError("A scale is not above zero; leave constant features out.")
        if (self.lower > self.upper).any():
            raise LinearFormError("A lower bound lies above its upper bound.")
        if ((self.missing_rate < 0) | (self.missing_rate > 1)).any():
            raise LinearFormError("A missing rate lies outside 0 to 1.")

    @classmethod
    def plain(
        cls, *, intercept: float, fill: Floats, center: Floats, scale: Floats, coefficient: Floats,
        missing_coefficient: Floats | None = None, missing_rate: Floats | None = None,
        lower: Floats | None = None, upper: Floats | None = None,
        signed_log: Floats | None = None,
    ) -> LinearForm:  # fmt: skip
        """A form without the quantities that are not given."""
        none = np.zeros(len(coefficient))
        return cls(
            intercept=intercept, fill=fill, center=center, scale=scale, coefficient=coefficient,
            missing_coefficient=none if missing_coefficient is None else missing_coefficient,
            missing_rate=none if missing_rate is None else missing_rate,
            lower=none - np.inf if lower is None else lower,
            upper=none + np.inf if upper is None else upper,
            signed_log=none if signed_log is None else signed_log,
        )  # fmt: skip

    @property
    def n_features_read(self) -> int:
        """The width of the matrix."""
        return len(self.coefficient)

    @property
    def base(self) -> float:
        """The mean raw score over the training rows."""
        return float(self.intercept + self.missing_coefficient @ self.missing_rate)

    def fits(self, n_features: int) -> bool:
        """Whether it has a coefficient for every feature."""
        return self.n_features_read == n_features

    def contributions(self, matrix: Floats) -> Floats:
        """One value per row and column; a row's values and ``base`` sum to its raw score."""
        if matrix.ndim != 2 or matrix.shape[1] != self.n_features_read:
            raise LinearFormError(
                f"The form reads {self.n_features_read} features and the matrix has shape "
                f"{matrix.shape}. Make it with the model's feature contract."
            )
        unknown = np.isnan(matrix)
        x = np.where(unknown, self.fill, matrix)
        logged = np.sign(x) * np.log1p(np.abs(x))
        clipped = np.clip(np.where(self.signed_log > 0, logged, x), self.lower, self.upper)
        values = self.coefficient * (clipped - self.center) / self.scale
        return np.asarray(values + self.missing_coefficient * (unknown - self.missing_rate))

    def score(self, matrix: Floats) -> Floats:
        """The raw score (log-odds) of each row."""
        return np.asarray(self.base + self.contributions(matrix).sum(axis=1))

    def score_many(self, matrix: Floats) -> Floats:
        """The raw score of each row; there is no faster way."""
        return self.score(matrix)

    def contributions_of_many(self, matrix: Floats, raw: Floats) -> Floats:
        """One value per row and column; there is no faster way."""
        return self.contributions(matrix)

    def theme_contributions(
        self, matrix: Floats, raw: Floats, themes: npt.NDArray[np.int64]
    ) -> Floats:
        """One value per row and theme: a sum has no interactions, so features are added up."""
        return sum_by_theme(self.contributions(matrix), themes)

    def contributions_within(
        self, matrix: Floats, raw: Floats, themes: npt.NDArray[np.int64]
    ) -> Floats:
        """One value per row and column: what features of a theme share is nothing."""
        return self.contributions(matrix)

    def zero_at(self, column: int) -> float | None:
        """The known value at which a column contributes nothing; None where no value matters."""
        weight = self.coefficient[column] / self.scale[column]
        if not weight:
            return None
        known = self.missing_coefficient[column] * self.missing_rate[column]
        at = float(self.center[column] + known / weight)
        return float(np.sign(at) * np.expm1(abs(at))) if self.signed_log[column] > 0 else at

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The numbers by name, as they are stored."""
        return {field.name: np.atleast_1d(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> LinearForm:
        """A checked form from stored arrays."""
        lacking = [field.name for field in fields(cls) if field.name not in arrays]
        if lacking:
            raise LinearFormError(f"The array {lacking[0]!r} is missing.")
        given = {field.name: arrays[field.name] for field in fields(cls)}
        if given["intercept"].shape != (1,):
            raise LinearFormError("'intercept' is not one number.")
        return cls(**{**given, "intercept": float(given["intercept"][0])})  # type: ignore[arg-type]


def sum_by_theme(values: Floats, themes: npt.NDArray[np.int64]) -> Floats:
    """The sums of the columns of each theme.

    >>> sum_by_theme(np.array([[1.0, 2.0, 4.0]]), np.array([1, 0, 1])).tolist()
    [[2.0, 5.0]]
    """
    of_theme = themes[:, None] == np.arange(int(themes.max(initial=-1)) + 1)
    return np.asarray(values @ of_theme.astype(float))
