"""This module is about what the effects of several actions are estimated from.

One row per trial: an account at a moment, the one action it received or none, and what was known
before. Arm 0 is no action. Values and their checks only; estimates nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.causal.sample import Bools, Floats, Ints, Sample, SampleError

Words = NDArray[np.str_]

NO_ACTION = "none"
"""The arm that every action is compared with."""


@dataclass(frozen=True, kw_only=True)
class ArmSample:
    """Trials as arrays, one entry each; unknown covariates are NaN.

    ``arm`` is the place of the received action in ``arms``. ``propensity`` holds the logged
    probabilities of all arms; a row of NaN is one that chance did not decide.
    """

    covariates: Floats
    covariate_names: tuple[str, ...]
    arm: Ints
    arms: tuple[str, ...]
    propensity: Floats  # rows x arms
    segment: Words
    cluster: Ints

    def __post_init__(self) -> None:
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
        for name in ("segment", "cluster"):
            if getattr(self, name).shape != (rows,):
                raise SampleError(
                    f"`{name}` has {getattr(self, name).shape[0]} entries for {rows} trials."
                )
        if not self.arms or self.arms[0] != NO_ACTION or len(set(self.arms)) != len(self.arms):
            raise SampleError(
                f"The arms are {', '.join(self.arms) or 'missing'}; name each once, "
                f"{NO_ACTION!r} first."
            )
        counts = np.bincount(self.arm, minlength=len(self.arms))
        if len(counts) > len(self.arms) or (counts == 0).any():
            empty = [name for name, count in zip(self.arms, counts, strict=False) if count == 0]
            raise SampleError(
                f"{rows} trials hold none of {', '.join(empty) or 'the named arms'}: leave an "
                f"action out that nobody received; without untouched trials there is nothing to "
                f"compare with."
            )
        logged = self.logged
        chances = self.propensity[logged]
        if logged.any() and (np.abs(chances.sum(axis=1) - 1).max() > 1e-6 or chances.min() < 0):
            raise SampleError(
                "Logged propensities of a trial have to be at least 0 and to sum "
                "to 1 over its arms, no action among them."
            )

    def __len__(self) -> int:
        return int(self.arm.shape[0])

    @property
    def logged(self) -> Bools:
        """Rows that chance decided, with the odds on record."""
        return np.asarray(np.isfinite(self.propensity).all(axis=1))

    def keep(self, rows: Bools) -> ArmSample:
        """The same sample with only these rows."""
        return ArmSample(
            covariates=self.covariates[rows],
            covariate_names=self.covariate_names,
            arm=self.arm[rows],
            arms=self.arms,
            propensity=self.propensity[rows],
            segment=self.segment[rows],
            cluster=self.cluster[rows],
        )

    def against_nothing(self, action: int) -> tuple[Sample, Bools]:
        """The trials of one action and of none as a sample of two arms, and which rows those are.

        The logged propensity is the one of the action given that it is one of the two.
        """
        rows = (self.arm == action) | (self.arm == 0)
        either = self.propensity[rows, action] + self.propensity[rows, 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            chance = self.propensity[rows, action] / either
        return Sample(
            covariates=self.covariates[rows],
            covariate_names=self.covariate_names,
            treated=self.arm[rows] == action,
            propensity=chance,
            stratum=np.zeros(int(rows.sum()), dtype=np.int64),
            cluster=self.cluster[rows],
        ), rows
