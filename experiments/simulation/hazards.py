"""The hazard of leaving: a probability at each end of a period.

A contract can only be left where a period ends. The monthly chance is logistic in the state; a
longer period gathers several months of it. Some accounts announce some days before that they
leave::

    h  = chance to leave at the end of the period
    i  = INTENT_SHARE * h / LEAVES_AFTER_INTENT          chance to announce it
    h  = i * LEAVES_AFTER_INTENT + (1 - i) * rest        those who do not announce it leave too
"""

from __future__ import annotations

import numpy as np

from experiments.simulation.accounts import Accounts
from experiments.simulation.latent_health import ENGAGED, PULL, SPREAD, Paths
from experiments.simulation.settings import Bools, Floats, Ints

BASE = (-4.2, -4.5, -4.8)  # by segment
OF_HEALTH = -1.3
OF_SPONSOR_SILENCE = 0.55
OF_PRESSURE = 0.35
OF_NEWNESS = 0.35  # in the first 90 days
OF_PRICE_RISE = 0.8
MONTHS_FELT = {1: 1.0, 3: 2.6, 12: 7.0}
"""Months of hazard that the end of a period of so many months carries."""

INTENT_SHARE = 0.35
LEAVES_AFTER_INTENT = 0.75
LEAVES_AFTER_PAUSE = 0.25
HIGHEST = 0.85  # of a period; more could not be split by intent: `rest` would pass 1
CERTAIN = 0.95  # and no action makes leaving surer than this


def monthly_logit(
    accounts: Accounts, paths: Paths, rows: Ints, day: Ints, health: Floats | None = None
) -> Floats:
    """Log-odds of leaving in a month, by the state as it was the evening before ``day``.

    ``health`` replaces the path's own, for counterfactuals.
    """
    seen = np.clip(day - 1, 0, paths.health.shape[1] - 1)
    own = paths.recent_health[rows, seen].astype(np.float64) if health is None else health
    silent = (paths.sponsor[rows, seen] != ENGAGED) & accounts.has_sponsor[rows]
    new = (day - accounts.contract_from[rows]) < 90
    logit: Floats = (
        np.array(BASE)[accounts.segment[rows]]
        + OF_HEALTH * own
        + OF_SPONSOR_SILENCE * silent
        + OF_NEWNESS * new
        + OF_PRESSURE * np.minimum(paths.pressure[rows, seen], 4.0)
    )
    return logit


def period_hazard(logit: Floats, billing_months: Ints) -> Floats:
    """Chance to leave at the end of a period.

    >>> period_hazard(np.array([-3.0, -3.0]), np.array([1, 12])).round(3).tolist()
    [0.047, 0.288]
    """
    felt = np.select(
        [billing_months == months for months in MONTHS_FELT],
        list(MONTHS_FELT.values()),
        default=1.0,
    )
    stays: Floats = (1 / (1 + np.exp(logit))) ** felt
    return np.minimum(1 - stays, HIGHEST)


def intent_chance(hazard: Floats) -> Floats:
    """Chance that leaving is announced before the end of the period."""
    return INTENT_SHARE * hazard / LEAVES_AFTER_INTENT


def hazard_given_intent(hazard: Floats, intended: Bools) -> Floats:
    """Chance to leave once it is known whether it was announced.

    >>> h = np.array([0.2]); i = intent_chance(h)
    >>> said, silent = (hazard_given_intent(h, np.array([x])) for x in (True, False))
    >>> bool(abs(i * said + (1 - i) * silent - h) < 1e-12)
    True
    """
    rest = (1 - INTENT_SHARE) * hazard / (1 - intent_chance(hazard))
    return np.where(intended, LEAVES_AFTER_INTENT, rest)


NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def foreseen_hazard(
    accounts: Accounts, paths: Paths, rows: Ints, as_of: int, day: Ints, billing_months: Ints
) -> Floats:
    """Chance to leave at ``day`` as the best forecaster could know it at ``as_of``.

    Knows the latent state of that moment but not its future: health returns to where it settles
    and spreads; a sponsor stays as he is; pressure fades. An approximation: the 28-day mean is
    treated like the momentary value, and later incidents and replacements are left out.
    """
    now = np.full(rows.shape[0], as_of)
    ahead = np.maximum(day - as_of - 14, 0)  # health counts as a mean that ends at `day`
    keep = np.exp(-PULL * ahead)
    settle = accounts.temper[rows]
    today = paths.health[rows, max(as_of - 1, 0)].astype(np.float64)
    centre = settle + keep * (today - settle)
    spread = SPREAD * np.sqrt(1 - keep**2)
    faded = np.minimum(paths.pressure[rows, max(as_of - 1, 0)], 4.0)
    fades = OF_PRESSURE * faded * (0.5 ** ((day - as_of) / 30) - 1)
    total = np.zeros(rows.shape[0])
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        logit = monthly_logit(accounts, paths, rows, now, centre + spread * node) + fades
        total += weight * period_hazard(logit, billing_months)
    return total
