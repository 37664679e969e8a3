"""This module is about what an estimator is given and what it gives back.

A ``Sample`` is one row per trial: an account that could have been acted on at a moment. A ``Fit``
keeps, for every row, the two numbers whose sums give the effect, so that the effect of any part of
the rows (a segment) is a second sum and not a second fit::

    effect = sum(numerator) / sum(denominator)

Values and their checks only; estimates nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

Estimand = Literal["ITT", "ATE", "ATT"]

ESTIMAND_WORDS: dict[Estimand, str] = {
    "ITT": "effect of being drawn for the action",
    "ATE": "average effect over all eligible accounts",
    "ATT": "average effect on the accounts that received the action",
}


class SampleError(ValueError):
    """A sample that no effect can be estimated from."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Trials as arrays, one entry each; unknown covariates are NaN.

    ``propensity`` is the logged probability of treatment, NaN where chance did not decide.
    ``stratum`` numbers the draws of a lottery. ``cluster`` numbers what errors are clustered by.
    """

    covariates: Floats
    covariate_names: tuple[str, ...]
    treated: Bools
    propensity: Floats
    stratum: Ints
    cluster: Ints

    def __post_init__(self) -> None:
        rows = self.treated.shape[0]
        if self.covariates.shape != (rows, len(self.covariate_names)):
            raise SampleError(
                f"The covariates have shape {self.covariates.shape}, but there are {rows} trials "
                f"and {len(self.covariate_names)} covariate names."
            )
        for name in ("propensity", "stratum", "cluster"):
            if getattr(self, name).shape != (rows,):
                raise SampleError(
                    f"`{name}` has {getattr(self, name).shape[0]} entries for {rows} trials."
                )
        for arm, count in (
            ("treated", int(self.treated.sum())),
            ("untreated", int((~self.treated).sum())),
        ):
            if count == 0:
                raise SampleError(
                    f"None of the {rows} trials is {arm}, so there is nothing to compare. Widen "
                    f"the design's window, or wait until the log holds both."
                )

    def __len__(self) -> int:
        return int(self.treated.shape[0])

    def keep(self, rows: Bools) -> Sample:
        """The same sample with only these rows."""
        return Sample(
            covariates=self.covariates[rows],
            covariate_names=self.covariate_names,
            treated=self.treated[rows],
            propensity=self.propensity[rows],
            stratum=self.stratum[rows],
            cluster=self.cluster[rows],
        )

    def columns(self, names: tuple[str, ...]) -> Sample:
        """The same sample with only these covariates."""
        index = [self.covariate_names.index(name) for name in names]
        return Sample(
            covariates=self.covariates[:, index],
            covariate_names=names,
            treated=self.treated,
            propensity=self.propensity,
            stratum=self.stratum,
            cluster=self.cluster,
        )


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What an estimator found for one outcome: per repeat and row, numerator and denominator.

    ``propensity`` and ``weight`` are of the first repeat: the probability of treatment that was
    used, and the weight with which a row enters the comparison (0 when trimmed).
    """

    estimand: Estimand
    numerator: Floats  # repeats x rows
    denominator: Floats  # repeats x rows
    cluster: Ints
    treated: Bools
    propensity: Floats
    weight: Floats
    kept: Bools

    @property
    def n_trimmed(self) -> int:
        """Rows without comparable rows in the other arm, left out."""
        return int((~self.kept).sum())
