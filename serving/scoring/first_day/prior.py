"""A prior relation of health to leaving, at a base rate that the company states.

Until a model or a formula was fitted to the company's own outcomes, nobody knows how many of its
customers with a health of 40 leave. What is known beforehand is that more of them leave than of those
with 80, and how many leave in a year (``yearly_churn`` of ``workspace.toml``)::

    rate(h)        = 1 - (1 - yearly_churn) ^ (h / 365)        h: days of the horizon
    log-odds(h)    = log-odds of rate(h)  -  .04 · (health - usual health)

The usual health is the mean of the company's customers in the newest snapshot, so that about the
stated share of them leaves whatever the formula calls healthy. The slope is that of the playbook's
assumptions (25, 12, 6 and 3 % in 90 days below 40, 60, 80 and above: about 2.2 times the odds for 20
points less). It is a guess (grade E), so the interval is wide: the rate may be half or twice, the slope
half or twice as much. The prior is a bundle as a trained formula is, so chances, intervals, reasons and
money follow the same way, exactly.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from math import log
from pathlib import Path

import numpy as np
import polars as pl

from features.catalogue.catalogue import HEALTH_SCORE
from features.compute.snapshot_store import SnapshotStore
from features.reloaded_file import Stamp, stamp_of
from features.version import code_version
from features.workspace import Workspace
from registry.bundle.bundle import ModelBundle
from registry.bundle.calibration import Calibration
from registry.bundle.feature_contract import ContractFeature, FeatureContract
from registry.bundle.linear import LinearForm
from registry.bundle.metadata import BundleMetadata, GoldenRows, ReferenceDistribution
from registry.outcomes import CHURN
from serving.scoring.first_day.own_outcomes import NONE, OwnOutcomes, moved, outcomes_of
from serving.scoring.score import ServedModel

SLOPE = 0.04
"""Log-odds of leaving for each point of health less. Ours, grade E."""

USUAL_HEALTH = 70.0
"""Taken for the usual health where there is no snapshot that says it."""

GONE = ("ended", "none")
"""Contract statuses of accounts that are no customers now."""

SLOPE_SPREAD, RATE_SPREAD = 0.35, 0.35
"""Standard deviations: of the slope, relative, and of the rate in log-odds (95 %: half to twice)."""

DRAWS = 400

STATED = datetime(2026, 1, 1, tzinfo=UTC)
"""The prior was learned from nothing, so its moment is that of its declaration."""

VERSION = "first-day prior"

NOT_LEARNED = (
    "not yet learned from your data: the chance to leave starts from the {yearly:.3g} of 100 customers that "
    "you say leave in a year, higher where health is low and lower where it is high"
)
"""What stands beside every figure of it, before anybody left."""

LITTLE_LEARNED = (
    "mostly not yet learned from your data: the chance to leave starts from the {yearly:.3g} of 100 "
    "customers that you say leave in a year, higher where health is low, and was moved by what became of "
    "your own: {left:,} left of {of:,} that were looked at for four weeks or more"
)
"""The same once somebody left."""


def first_day_model(workspace: Workspace) -> ServedModel | None:
    """The prior of a company; None where it states no rate, or has no contracts that end."""
    settings = workspace.settings
    if settings.yearly_churn is None or settings.leaving.is_no_use:
        return None
    horizons = settings.horizons.get(CHURN.name, CHURN.horizons)
    return prior_model(
        settings.yearly_churn,
        usual_health=_usual_health(workspace),
        horizons=tuple(horizons),
        formula=settings.formula.version,
        outcomes=outcomes_of(workspace),
    )


def said_of_prior(workspace: Workspace) -> str:
    """What stands beside every figure of it: from what it starts, and how many outcomes moved it."""
    yearly = 100 * (workspace.settings.yearly_churn or 0)
    outcomes = outcomes_of(workspace)
    if not outcomes.n_left:
        return NOT_LEARNED.format(yearly=yearly)
    return LITTLE_LEARNED.format(yearly=yearly, left=outcomes.n_left, of=len(outcomes.left))


def _usual_health(workspace: Workspace) -> float:
    snapshots = SnapshotStore(workspace.snapshots_dir)
    moments = snapshots.moments()
    if not moments:
        return USUAL_HEALTH
    path = snapshots.path(moments[-1])
    return _mean_health(path, stamp_of(path))


@lru_cache(maxsize=64)
def _mean_health(path: Path, stamp: Stamp | None) -> float:
    """Of the customers in a snapshot; ``stamp`` says which file it was."""
    try:
        frame = pl.read_parquet(path, columns=[HEALTH_SCORE, "contract_status"])
    except (pl.exceptions.PolarsError, OSError):
        return USUAL_HEALTH  # it is damaged, and said so elsewhere
    known = frame.filter(~pl.col("contract_status").is_in(GONE).fill_null(value=False))
    mean = known[HEALTH_SCORE].fill_nan(None).mean()
    return round(mean, 1) if isinstance(mean, float) else USUAL_HEALTH


def rate_within(yearly: float, days: int) -> float:
    """The share that leaves within so many days, where ``yearly`` leave in a year.

    >>> round(rate_within(0.15, 90), 4), round(rate_within(0.15, 365), 4)
    (0.0393, 0.15)
    """
    return float(1 - (1 - yearly) ** (days / 365))


@lru_cache(maxsize=64)
def prior_model(
    yearly: float,
    *,
    usual_health: float,
    horizons: tuple[int, ...],
    formula: str,
    outcomes: OwnOutcomes = NONE,
) -> ServedModel:
    """The prior as it serves: chances by the health score of this formula, and exact reasons.

    ``outcomes`` of the company move its level and its slope.
    """
    one = np.ones(1)
    rate_at = np.array([rate_within(yearly, int(days)) for days in outcomes.days])
    now = moved(
        outcomes,
        log_odds=np.log(rate_at / (1 - rate_at)),
        usual_health=usual_health,
        slope=SLOPE,
        level_spread=RATE_SPREAD,
        slope_spread=SLOPE_SPREAD * SLOPE,
    )
    form = LinearForm.plain(
        intercept=0.0,
        fill=usual_health * one,
        center=usual_health * one,
        scale=10 * one,
        coefficient=-10 * now.slope * one,
    )
    rates = {days: rate_within(yearly, days) for days in horizons}
    intercepts = tuple(log(rate / (1 - rate)) + now.level for rate in rates.values())
    rng = np.random.default_rng(0)  # the same draws everywhere: they follow from the outcomes alone
    drawn = rng.multivariate_normal(np.zeros(2), now.covariance, DRAWS)
    draws = np.column_stack(
        [
            np.exp(drawn[:, 1] / now.slope),  # about the slope, and never below 0
            np.asarray(intercepts) + drawn[:, :1],
        ]
    )
    matrix = np.array([[0.0], [25.0], [50.0], [75.0], [100.0]])
    bundle = ModelBundle(
        label=str(CHURN.formula_model),
        contract=FeatureContract((ContractFeature(name=HEALTH_SCORE, digest=formula),)),
        form=form,
        calibration=Calibration(horizons=horizons, slope=1.0, intercepts=intercepts, draws=draws),
        base_rates=rates,
        metadata=BundleMetadata(
            as_of=STATED,
            data_fingerprint="none",
            code_version=code_version(),
            label_policy={"outcome": CHURN.name},
            notes={"prior": f"moved by {len(outcomes.left)} outcomes"},
        ),
        reference=ReferenceDistribution.of(matrix),
        golden=GoldenRows(matrix=matrix, raw=form.score(matrix)),
    )
    return ServedModel(model=bundle, version=VERSION, fingerprint=bundle.fingerprint, is_prior=True)
