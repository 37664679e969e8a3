"""What a bundle holds beside the model: its origin, reference distribution and golden rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

AMOUNT_ERROR = "amount_ratio_error"
"""Among a bundle's metrics: the standard error of its ``amount_ratio``."""


EXTENDED_FROM = "extended_from_days"
"""Among a bundle's notes: the longest horizon that was learned; longer ones take its rate to go on."""


class BundleError(Exception):
    """The model cannot be used; the message names the reason."""


@dataclass(frozen=True, kw_only=True)
class BundleMetadata:
    """Where the model comes from."""

    as_of: datetime
    data_fingerprint: str
    code_version: str
    label_policy: Mapping[str, str | int | float | bool]
    seeds: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.as_of.tzinfo is None:
            raise BundleError("The bundle's as_of needs a time zone; give it in UTC.")


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceDistribution:
    """The distribution of each feature in training, for comparisons and for drift.

    ``values[j, q]`` is feature j's quantile at ``levels[q]``, NaN where it was never known.
    """

    levels: Floats
    values: Floats
    missing_rate: Floats

    @classmethod
    def of(cls, matrix: Floats, levels: Floats | None = None) -> ReferenceDistribution:
        """The distribution of a training matrix."""
        levels = np.linspace(0, 1, 21) if levels is None else levels
        values = np.full((matrix.shape[1], len(levels)), np.nan)
        for j in range(matrix.shape[1]):
            known = matrix[~np.isnan(matrix[:, j]), j]
            if len(known):
                values[j] = np.quantile(known, levels)
        return cls(levels=levels, values=values, missing_rate=np.isnan(matrix).mean(axis=0))


@dataclass(frozen=True, kw_only=True, eq=False)
class GoldenRows:
    """Some rows and the raw score that the trainer's own library gave them."""

    matrix: Floats
    raw: Floats
