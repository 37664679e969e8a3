"""The latent health of accounts, day by day, which nobody observes.

Health is a number around 0 (an Ornstein-Uhlenbeck process: it drifts, and is pulled back to where
the account settles). Incidents, a champion who leaves and a clumsy onboarding pull it down. Nothing
here depends on contracts or on interventions, so the same paths serve every arm of an experiment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.simulation.accounts import USE_CASES, Accounts
from experiments.simulation.settings import Bools, Calendar, Codes, Floats, Ints, Matrix

PULL = 1 / 60  # a day: half of a disturbance is gone after about 40 days
SPREAD = 0.9  # standard deviation of health around where the account settles
PRESSURE_DECAY = 0.5 ** (1 / 30)  # incidents are half forgotten after 30 days
CHAMPION_LOSS = 0.5
INCIDENT_SHOCK = 0.35

ENGAGED, SILENT, GONE = 0, 1, 2
"""The states of a sponsor or champion."""

SPONSOR_FALLS_SILENT = 1 / 170  # a day
SPONSOR_SPEAKS_AGAIN = 1 / 110
CONTACT_LEAVES = 1 / 600
CONTACT_REPLACED = 1 / 60


@dataclass(frozen=True, kw_only=True)
class Incidents:
    """Failures for groups of accounts; one entry per incident."""

    day: Ints
    second: Ints
    severity: Ints  # 1 is worst, 3 mildest
    hours: Floats
    felt: Bools  # incidents x accounts


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Latent states, accounts x days."""

    health: Matrix
    recent_health: Matrix  # mean of the 28 days up to and including the day
    pressure: Matrix  # what incidents left behind
    disturbed: Bools  # an incident is felt on the day
    sponsor: Codes  # ENGAGED, SILENT or GONE
    champion: Codes
    team: Matrix  # people who would use the product


def draw_incidents(accounts: Accounts, calendar: Calendar, rng: np.random.Generator) -> Incidents:
    """Draw incidents: each hits one region and some use cases, of old and new accounts alike."""
    count = max(2, int(rng.poisson(1.3 * calendar.months)))
    severity = rng.choice((1, 2, 3), size=count, p=(0.2, 0.35, 0.45))
    region = rng.choice(4, size=count, p=(0.4, 0.35, 0.17, 0.08))
    cases = rng.random((count, len(USE_CASES))) < 0.6
    felt = (accounts.region[None, :] == region[:, None]) & cases[:, accounts.use_case]
    day = np.sort(rng.integers(5, calendar.days - 1, size=count))
    return Incidents(
        day=day,
        second=rng.integers(0, 80_000, size=count),
        severity=severity,
        hours=np.clip(np.exp(rng.normal(1.0, 0.8, count)), 0.3, 40).round(1),
        felt=felt & (accounts.begins[None, :] < day[:, None]),
    )


def draw_paths(
    accounts: Accounts, incidents: Incidents, calendar: Calendar, rng: np.random.Generator
) -> Paths:
    """Draw every latent path, from the first day of the world to the last."""
    n, days = len(accounts), calendar.days
    shock = np.zeros((days, n), dtype=np.float32)
    for index, day in enumerate(incidents.day):
        shock[day] += incidents.felt[index] * (4 - incidents.severity[index]) / 3
    sponsor = _contact_states(accounts.has_sponsor, SPONSOR_FALLS_SILENT, days, rng)
    champion = _contact_states(accounts.has_champion, 0.0, days, rng)
    settle = accounts.temper.astype(np.float32)
    noise = rng.standard_normal((days, n), dtype=np.float32) * np.float32(
        SPREAD * np.sqrt(2 * PULL)
    )
    growth = rng.standard_normal((days, n), dtype=np.float32) * np.float32(0.012)
    health = np.empty((days, n), dtype=np.float32)
    pressure = np.empty((days, n), dtype=np.float32)
    team = np.empty((days, n), dtype=np.float32)
    z = settle + rng.normal(0.2, 0.6, n).astype(np.float32)
    load = np.zeros(n, dtype=np.float32)
    size = np.log(accounts.seats * accounts.fullness).astype(np.float32)
    ceiling = np.log(team_ceiling(accounts)).astype(np.float32)
    for day in range(days):
        lost = np.where(champion[day] == GONE, np.float32(CHAMPION_LOSS), np.float32(0))
        lost = np.where(accounts.has_champion, lost, np.float32(0))
        z = z + np.float32(PULL) * (settle - lost - z) + noise[day]
        z = z - np.float32(INCIDENT_SHOCK) * shock[day]
        load = load * np.float32(PRESSURE_DECAY) + shock[day]
        started = accounts.begins <= day
        size = np.minimum(
            size + started * (np.float32(0.0012) * np.tanh(z + np.float32(0.5)) + growth[day]),
            ceiling,
        )
        health[day], pressure[day], team[day] = z, load, np.exp(size)
    return Paths(
        health=np.ascontiguousarray(health.T),
        recent_health=_trailing_mean(health, 28),
        pressure=np.ascontiguousarray(pressure.T),
        disturbed=np.ascontiguousarray(shock.T > 0),
        sponsor=np.ascontiguousarray(sponsor.T),
        champion=np.ascontiguousarray(champion.T),
        team=np.ascontiguousarray(team.T),
    )


def team_ceiling(accounts: Accounts) -> Ints:
    """The most people of an account who would ever use the product."""
    ceiling: Ints = np.ceil(accounts.seats * 1.6).astype(np.int64) + 1
    return ceiling


def _contact_states(has: Bools, falls_silent: float, days: int, rng: np.random.Generator) -> Codes:
    """Days x accounts: what the contact is doing; GONE throughout where there is none."""
    n = has.shape[0]
    state = np.where(has, ENGAGED, GONE).astype(np.int8)
    states = np.empty((days, n), dtype=np.int8)
    leave, other = CONTACT_LEAVES, SPONSOR_SPEAKS_AGAIN
    for day in range(days):
        draw = rng.random(n, dtype=np.float32)
        after = state.copy()
        after[(state == ENGAGED) & (draw < falls_silent)] = SILENT
        after[(state == SILENT) & (draw < other)] = ENGAGED
        after[(state != GONE) & (draw > 1 - leave)] = GONE
        after[(state == GONE) & has & (draw < CONTACT_REPLACED)] = ENGAGED
        states[day] = state = after
    return states


def _trailing_mean(health: Matrix, width: int) -> Matrix:
    """Accounts x days: mean over the ``width`` days up to and including each day."""
    total = np.cumsum(health, axis=0, dtype=np.float64)
    total[width:] -= total[:-width].copy()
    counts = np.minimum(np.arange(1, health.shape[0] + 1), width)[:, None]
    return np.ascontiguousarray((total / counts).T.astype(np.float32))
