"""Test whether the arms have the sizes and facts that the recorded odds imply.

A draw gives every arm the number of trials that its odds imply, and arms that are alike in all
facts from before it. With odds ``e_a`` and a column ``x`` of such facts, the sum of ``([arm = a] -
e_a) x`` is random with mean 0, and its error needs no model::

    z = sum of ([arm = a] - e_a) x / error of that sum

With ``x`` = 1 it tests the number of trials. Facts are tested by their ranks, and by whether they
are known: this finds facts that were recorded after the draw, or only for treated accounts.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from experiments.causal.checks.sample_ratio import LEAST_P
from experiments.causal.estimates import clustered_error
from experiments.causal.sample import Floats, Sample


def find_draw_problem(sample: Sample, actions: tuple[str, ...]) -> str | None:
    """The evidence against a draw by these odds, in words; None if there is none.

    A true draw is rejected once in a thousand, over all arms and over all columns. ``actions`` are
    the names of the arms in the message.
    """
    surplus = np.eye(len(sample.arms))[sample.arm] - sample.propensity
    arm, z = _furthest(surplus, np.ones(len(sample)), sample)
    if z > _reach(surplus.shape[1]):
        return (
            f"{int((sample.arm == arm).sum()):,} of {len(sample):,} rows with a known outcome "
            f"have the action {actions[arm]!r}, and their propensities promise "
            f"{float(sample.propensity[:, arm].sum()):,.0f}. Chance does not do that. Look "
            f"whether these were the chances, and whether the outcome of one action is known "
            f"sooner than that of another."
        )
    columns = _columns(sample)
    found = sorted(
        ((*_furthest(surplus, _ranks(column), sample), name, column) for name, column in columns),
        key=lambda item: -item[1],
    )
    doubted = [item for item in found if item[1] > _reach(surplus.shape[1] * len(columns))]
    if not doubted:
        return None
    arm, _, name, column = doubted[0]
    known = ~np.isnan(column)
    own = known & (sample.arm == arm)
    mean = (
        f"{np.average(column[own], weights=1 / sample.propensity[own, arm]):.3g} on average"
        if own.any()
        else "not known"
    )
    others = ", ".join(repr(other) for _, _, other, _ in doubted[1:])
    also = f"The same goes for {others}. " if others else ""
    return (
        f"{name!r} is {mean} in rows with the action {actions[arm]!r} and "
        f"{column[known].mean():.3g} in all, more than chance gives: a draw makes them alike "
        f"in all that was known before it. {also}"
        f"What came to be known after the draw, leave out (--leave-out COLUMN), or name it as "
        f"a stage if no outcome comes without it (--stage COLUMN); else the rows were not "
        f"drawn by these propensities."
    )


def _reach(looks: int) -> float:
    return float(stats.norm.ppf(1 - LEAST_P / (2 * looks)))


def _furthest(surplus: Floats, column: Floats, sample: Sample) -> tuple[int, float]:
    """The arm that is furthest from its odds, in standard errors."""
    z = []
    for one, odds in zip(surplus.T, sample.propensity.T, strict=True):
        found, _ = clustered_error(one * column, sample.cluster)
        promised = float(np.sqrt(np.sum(odds * (1 - odds) * column**2)))
        error = max(found, promised)  # by chance the one that is found is small where z is large
        z.append(abs(float((one * column).sum())) / error if error > 0 else 0.0)
    return int(np.argmax(z)), max(z)


def _columns(sample: Sample) -> list[tuple[str, Floats]]:
    """The covariates, and whether each is known where that differs."""
    columns = list(zip(sample.covariate_names, sample.covariates.T, strict=True))
    unknown = [(f"{name}: not known", np.isnan(column).astype(float)) for name, column in columns]
    return columns + [(name, column) for name, column in unknown if 0 < column.mean() < 1]


def _ranks(column: Floats) -> Floats:
    """Standardised ranks, 0 where unknown, so that a few large numbers do not decide."""
    ranks = stats.rankdata(column, nan_policy="omit")
    spread = float(np.nanstd(ranks))
    scaled = (ranks - np.nanmean(ranks)) / (spread if spread > 0 else 1.0)
    return np.where(np.isnan(scaled), 0.0, scaled)
