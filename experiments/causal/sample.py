"""Trials as arrays: the input of every estimator, check and policy of this package.

One row per trial: an account at a moment, the one action it received or none, and covariates from
before. Arm 0 is no action; a comparison of one action with none has two arms, a trial of several
actions has more. Values and their checks only; estimates nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Words = NDArray[np.str_]

Estimand = Literal["ITT", "ATE", "ATT"]

ESTIMAND_WORDS: dict[Estimand, str] = {
    "ITT": "effect of being drawn for the action",
    "ATE": "average effect over all eligible accounts",
    "ATT": "average effect on the accounts that received the action",
}

NO_ACTION = "none"
"""The arm that every action is compared with."""

ROUNDING = 1e-6
"""The tolerance of the sum of a trial's logged propensities."""


class SampleError(ValueError):
    """A sample that no effect can be estimated from."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Trials as arrays, one entry each; unknown covariates are NaN.

    ``arm`` is the place of the received action in ``arms``. ``propensity`` holds the logged
    probabilities of all arms; a row of NaN is one that chance did not decide. ``stratum`` numbers
    the draws of a lottery, None where all trials are of one. ``cluster`` numbers the clusters
    of the errors.
    """

    covariates: Floats
    covariate_names: tuple[str, ...]
    arm: Ints
    arms: tuple[str, ...]
    propensity: Floats  # rows x arms
    segment: Words
    cluster: Ints
    stratum: Ints | None = None

    def __post_init__(self) -> None:
        self._check_shapes()
        self._check_arms()
        chances = self.propensity[self.logged]
        if len(chances) and (np.abs(chances.sum(axis=1) - 1).max() > ROUNDING or chances.min() < 0):
            raise SampleError(
                "Logged propensities of a trial have to be at least 0 and to sum "
                "to 1 over its arms, no action among them."
            )

    def _check_shapes(self) -> None:
        rows = self.arm.shape[0]
        if self.covariates.shape != (rows, len(self.covariate_names)):
            raise SampleError(
                f"The covariates have shape {self.covariates.shape}, but there are {rows} trials "
                f"and {len(self.covariate_names)} covariate names."
            )
        if self.propensity.shape != (rows, len(self.arms)):
            raise SampleError(
                f"The propensities have shape {self.propensity.shape}, but there are {rows} "
                f"trials of {len(self.arms)} arms."
            )
        for name in ("segment", "cluster", "stratum"):
            values = getattr(self, name)
            if values is not None and values.shape != (rows,):
                raise SampleError(f"`{name}` has {values.shape[0]} entries for {rows} trials.")

    def _check_arms(self) -> None:
        if len(self.arms) < 2 or self.arms[0] != NO_ACTION or len(set(self.arms)) != len(self.arms):
            raise SampleError(
                f"The arms are {', '.join(self.arms) or 'missing'}; name each once, "
                f"{NO_ACTION!r} first, and at least one action."
            )
        counts = np.bincount(self.arm, minlength=len(self.arms))
        if len(counts) > len(self.arms) or (counts == 0).any():
            empty = [name for name, count in zip(self.arms, counts, strict=False) if count == 0]
            raise SampleError(
                f"{len(self)} trials hold none of {', '.join(empty) or 'the named arms'}, so "
                f"there is nothing to compare: leave an action out that nobody received, widen "
                f"the window, or wait until the log holds untreated trials too."
            )

    @classmethod
    def of_two_arms(
        cls,
        *,
        covariates: Floats,
        covariate_names: tuple[str, ...],
        treated: Bools,
        propensity: Floats,
        cluster: Ints,
        action: str = "action",
        segment: Words | None = None,
        stratum: Ints | None = None,
    ) -> Sample:
        """Trials of one action and of none; ``propensity`` is the probability of the action."""
        return cls(
            covariates=covariates,
            covariate_names=covariate_names,
            arm=treated.astype(np.int64),
            arms=(NO_ACTION, action),
            propensity=np.column_stack([1 - propensity, propensity]),
            segment=np.full(len(treated), "all") if segment is None else segment,
            cluster=cluster,
            stratum=stratum,
        )

    def __len__(self) -> int:
        return int(self.arm.shape[0])

    @property
    def treated(self) -> Bools:
        """Rows that received an action."""
        return np.asarray(self.arm > 0)

    @property
    def logged(self) -> Bools:
        """Rows that chance decided, with logged odds."""
        return np.asarray(np.isfinite(self.propensity).all(axis=1))

    def is_lottery(self, action: int) -> bool:
        """Whether chance could have given every trial this action or none, by the logged odds."""
        chances = self.propensity[:, [0, action]]
        return bool(((chances > 0) & (chances < 1)).all())  # NaN where nothing was logged

    def keep(self, rows: Bools) -> Sample:
        """The same sample with only these rows."""
        return replace(
            self,
            covariates=self.covariates[rows],
            arm=self.arm[rows],
            propensity=self.propensity[rows],
            segment=self.segment[rows],
            cluster=self.cluster[rows],
            stratum=None if self.stratum is None else self.stratum[rows],
        )

    def columns(self, names: tuple[str, ...]) -> Sample:
        """The same sample with only these covariates."""
        index = [self.covariate_names.index(name) for name in names]
        return replace(self, covariates=self.covariates[:, index], covariate_names=names)
