"""Move the prior by the company's own outcomes: the more of them, the less it counts.

Two snapshots some weeks apart say of every account that was a customer at the first whether it is one at the
second, and what its health was. With a level ``l`` and a slope ``s`` of the prior::

    log-odds of leaving within d days  =  log-odds of rate(d)  +  l  -  s · (health - usual health)

``l`` is normal about 0 and ``s`` about .04, as wide as the prior says (``prior.py``). The outcomes are
those of windows that follow one another, so each is counted once; level and slope are those of the highest
posterior, and their draws are of the normal distribution about it (Laplace's approximation). Nothing else is
learned: a model that may be promoted knows more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from features.catalogue.catalogue import HEALTH_SCORE
from features.catalogue.definitions.attributes import CONTRACT_STATUS
from features.compute.snapshot_store import DamagedSnapshotError, SnapshotStore
from features.reloaded_file import Stamp, stamp_of
from features.workspace import Workspace

Floats = npt.NDArray[np.float64]

SHORTEST_WINDOW = timedelta(days=28)
LONGEST_LOOK = timedelta(days=730)
GONE = ("ended", "none")
"""Contract statuses of accounts that are no customers."""

STEPS, CLOSE = 50, 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnOutcomes:
    """What became of customers, a row each: health at the begin, days until the end, and whether it left."""

    health: Floats
    days: Floats
    left: Floats

    @property
    def n_left(self) -> int:
        """How many left."""
        return int(self.left.sum())


NONE = OwnOutcomes(health=np.empty(0), days=np.empty(0), left=np.empty(0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Moved:
    """Level and slope after the outcomes, and how sure: the covariance of the two."""

    level: float
    slope: float
    covariance: Floats


def outcomes_of(workspace: Workspace) -> OwnOutcomes:
    """The outcomes that the snapshots of a workspace tell."""
    store = SnapshotStore(workspace.snapshots_dir)
    moments = store.moments()
    if len(moments) < 2:
        return NONE
    stamps = tuple(stamp_of(store.path(moment)) for moment in moments)
    return _outcomes(workspace.snapshots_dir, moments, stamps)


@lru_cache(maxsize=16)
def _outcomes(
    folder: Path, moments: tuple[datetime, ...], stamps: tuple[Stamp | None, ...]
) -> OwnOutcomes:
    """As ``outcomes_of``; the stamps say which files they were."""
    store, later = SnapshotStore(folder), moments[-1]
    newest, found = moments[-1], []
    after = _customers(store, later)
    for moment in reversed(moments[:-1]):
        if newest - moment > LONGEST_LOOK:
            break
        if later - moment < SHORTEST_WINDOW or after is None:
            continue
        before = _customers(store, moment)
        if before is None:
            continue
        asked = before.filter(pl.col("here"), pl.col(HEALTH_SCORE).is_not_null())
        there = asked.join(after.select("account_id", still="here"), on="account_id", how="left")
        days = float((later - moment).days)
        found.append(
            there.select(
                pl.col(HEALTH_SCORE).alias("health"),
                days=pl.lit(days),
                left=(~pl.col("still").fill_null(value=False)).cast(pl.Float64),
            )
        )
        later, after = moment, before
    if not found:
        return NONE
    rows = pl.concat(found)
    return OwnOutcomes(**{name: rows[name].to_numpy() for name in ("health", "days", "left")})


def _customers(store: SnapshotStore, moment: datetime) -> pl.DataFrame | None:
    """The accounts of a snapshot, with their health and whether they are customers; None: it is damaged."""
    try:
        frame = store.read(moment)
    except DamagedSnapshotError:
        return None
    if HEALTH_SCORE not in frame.columns or CONTRACT_STATUS not in frame.columns:
        return None
    is_gone = pl.col(CONTRACT_STATUS).is_in(GONE).fill_null(value=True)
    return frame.select("account_id", pl.col(HEALTH_SCORE).fill_nan(None), here=~is_gone)


def moved(
    outcomes: OwnOutcomes,
    *,
    log_odds: Floats,
    usual_health: float,
    slope: float,
    level_spread: float,
    slope_spread: float,
) -> Moved:
    """Level and slope by the prior and the outcomes.

    Args:
        outcomes: of the company.
        log_odds: of the stated rate within the days of each outcome.
        usual_health: at which the stated rate holds.
        slope: of the prior, in log-odds for a point of health less.
        level_spread: standard deviation of the prior's level.
        slope_spread: of its slope.
    """
    below = usual_health - outcomes.health
    design = np.column_stack([np.ones_like(below), below])
    centre, precision = np.array([0.0, slope]), np.diag([level_spread**-2, slope_spread**-2])
    theta = centre.copy()
    hessian = precision
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-(log_odds + design @ theta)))
        gradient = design.T @ (outcomes.left - chance) - precision @ (theta - centre)
        hessian = design.T @ (design * (chance * (1 - chance))[:, None]) + precision
        step = np.linalg.solve(hessian, gradient)
        theta = theta + step
        if np.abs(step).max() < CLOSE:
            break
    return Moved(
        level=float(theta[0]),
        slope=max(float(theta[1]), slope / 10),  # healthier is never likelier to leave
        covariance=np.linalg.inv(hessian),
    )
