"""Usage: who worked in the product on which day, and what they did there.

People of one account are slots: the first is the champion, the second the sponsor, the rest admins
and operators. Slots fill as the team grows. Activity is drawn for the whole world at once, as if
nobody ever left; rows are cut where an account is away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from experiments.simulation.accounts import PLAN_FEATURES, USE_CASES, Accounts
from experiments.simulation.event_rows import event_rows, texts
from experiments.simulation.latent_health import GONE, SILENT, Paths, team_ceiling
from experiments.simulation.settings import Bools, Calendar, Codes, Floats, Ints, Matrix
from features.events.schema import properties_text

ROLES = ("champion", "sponsor", "admin", "operator")
CHAMPION_SLOT, SPONSOR_SLOT = 0, 1
WEEKDAY_SHARE = (1.0, 1.0, 1.0, 1.0, 0.9, 0.2, 0.12)
RAMP_DAYS = 45

FEATURES = (
    "inbox",
    "search",
    "template",
    "report",
    "dashboard",
    "export",
    "automation",
    "api_call",
    "integration_sync",
    "forecast",
    "team_share",
    "audit_log",
)
"""In the order in which the plans include them."""

POPULARITY = (0.97, 0.9, 0.8, 0.75, 0.65, 0.5, 0.6, 0.45, 0.45, 0.35, 0.4, 0.2)
USES_A_PERSON_DAY = (5.0, 2.0, 0.6, 0.4, 0.6, 0.2, 0.7, 5.0, 0.4, 0.15, 0.2, 0.08)
VALUED = {"automation": 2.5, "forecast": 40.0}
"""Features whose use has a value: minutes saved, or revenue forecast in thousands."""

UNIT = "conversation"
MORNING, EVENING = 7 * 3600, 20 * 3600


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Who was active when; users are sorted by account."""

    user_ids: list[str]
    account: Ints  # per user
    role: Ints  # per user
    active: Bools  # users x days
    daily: Ints  # accounts x days: active people


def draw_activity(
    accounts: Accounts, paths: Paths, calendar: Calendar, rng: np.random.Generator
) -> Activity:
    """Draw for every person and day whether they worked in the product."""
    ceiling = team_ceiling(accounts)
    account = np.repeat(np.arange(len(accounts)), ceiling)
    firsts = np.concatenate(([0], np.cumsum(ceiling)[:-1]))
    slot = np.arange(len(account)) - firsts[account]
    weight = rng.beta(2.2, 2.2, len(account)).astype(np.float32)
    weight[slot == CHAMPION_SLOT] = 0.75
    is_sponsor = (slot == SPONSOR_SLOT) & accounts.has_sponsor[account]
    weight[is_sponsor] = 0.2
    plain = np.where(rng.random(len(account)) < 0.15, ROLES.index("admin"), ROLES.index("operator"))
    role = np.where(is_sponsor, ROLES.index("sponsor"), plain)
    role[(slot == CHAMPION_SLOT) & accounts.has_champion[account]] = ROLES.index("champion")
    busy = np.array(WEEKDAY_SHARE, dtype=np.float32)[calendar.weekdays]
    age = np.arange(calendar.days)[None, :] - accounts.begins[:, None]
    ramp = np.clip(0.35 + 0.65 * age / RAMP_DAYS, 0, 1).astype(np.float32) * (age >= 0)
    drive = ramp * busy[None, :] / (1 + np.exp(-0.9 * paths.health + 0.3))
    drive = drive.astype(np.float32)
    active = np.empty((len(account), calendar.days), dtype=np.bool_)
    chunk = 30  # days: keeps the random numbers in cache
    for first in range(0, calendar.days, chunk):
        span = slice(first, first + chunk)
        rate = drive[account, span] * weight[:, None]
        rate *= (slot[:, None] < paths.team[account, span]) | (slot[:, None] <= SPONSOR_SLOT)
        active[:, span] = rng.random(rate.shape, dtype=np.float32) < rate
    for slot_of, states, has in (
        (SPONSOR_SLOT, paths.sponsor, accounts.has_sponsor),
        (CHAMPION_SLOT, paths.champion, accounts.has_champion),
    ):
        rows = firsts + slot_of
        away = (states == GONE) | (states == SILENT)
        active[rows[has]] &= ~away[has]
    daily = np.add.reduceat(active, firsts, axis=0, dtype=np.int64)
    return Activity(
        user_ids=[f"u_{token.hex()}" for token in _tokens(len(account), rng)],
        account=account,
        role=role,
        active=active,
        daily=daily,
    )


def session_rows(activity: Activity, here: Bools, rng: np.random.Generator) -> pl.DataFrame:
    """One session a person and day, while the account is here."""
    user, day = np.nonzero(activity.active & here[activity.account])
    count = len(user)
    role = activity.role[user]
    second = rng.integers(MORNING, EVENING, size=count)
    length = np.exp(rng.normal(7.2, 0.7, count) - 0.5 * (role == ROLES.index("sponsor")))
    return event_rows(
        "user.session",
        activity.account[user],
        day,
        second,
        user=user,
        quantity=length.clip(30, 14_000).round(),
        delay=rng.integers(1, 600, size=count),
        properties=texts(
            [properties_text({"role": name, "environment": "production"}) for name in ROLES], role
        ),
    )


def feature_rows(
    accounts: Accounts,
    paths: Paths,
    activity: Activity,
    plan: Codes,
    here: Bools,
    late: Bools,
    rng: np.random.Generator,
) -> tuple[pl.DataFrame, Ints]:
    """Uses of features summed by account, day and feature; and all uses, accounts x days.

    ``plan`` is the plan per account and day; ``late`` the days whose rows arrived two days late.
    """
    account, day = np.nonzero((activity.daily > 0) & here)
    people = activity.daily[account, day]
    depth = np.exp(0.35 * paths.health[account, day])
    adopts = _adoption_days(accounts, rng)
    included = np.array(PLAN_FEATURES)[plan[account, day]]
    total = np.zeros(activity.daily.shape, dtype=np.int64)
    vocabulary = [
        properties_text({"name": name, "role": role, "use_case": case})
        for name in FEATURES
        for role in ROLES
        for case in USE_CASES
    ]
    case_of = accounts.use_case[account]
    parts: list[pl.DataFrame] = []
    for index, name in enumerate(FEATURES):
        ready = (index < included) & (day >= adopts[account, index])
        uses = rng.poisson(np.where(ready, people * depth * USES_A_PERSON_DAY[index], 0.0))
        kept = np.flatnonzero(uses)
        n = len(kept)
        total[account[kept], day[kept]] += uses[kept]
        role = rng.choice(len(ROLES), size=n, p=(0.2, 0.02, 0.18, 0.6))
        case = np.where(rng.random(n) < 0.9, case_of[kept], rng.integers(4, size=n))
        value: Floats | None = None
        if name in VALUED:
            worth: Floats = VALUED[name] * np.exp(rng.normal(0, 0.3, n))
            value = (uses[kept] * worth).round(2)
        parts.append(
            event_rows(
                "feature.used",
                account[kept],
                day[kept],
                np.full(n, 86_000 + index),
                event_count=uses[kept],
                user_count=np.minimum(people[kept], uses[kept]),
                quantity=value,
                delay=np.where(late[day[kept]], 2 * 86_400, 60),
                properties=texts(vocabulary, (index * len(ROLES) + role) * len(USE_CASES) + case),
            )
        )
    return pl.concat(parts), total


def failure_rows(paths: Paths, uses: Ints, rng: np.random.Generator) -> pl.DataFrame:
    """Errors and retried jobs, summed by account and day."""
    account, day = np.nonzero(uses)
    disturbed = paths.disturbed[account, day]
    rate = 0.008 * np.exp(-0.35 * paths.health[account, day]) * np.where(disturbed, 8.0, 1.0)
    parts = []
    for kind, share, properties in (
        (
            "error.raised",
            1.0,
            [
                properties_text({"name": name, "severity": severity})
                for name in ("timeout", "sync_failed", "render_failed")
                for severity in ("low", "high")
            ],
        ),
        ("job.retry", 0.4, [properties_text({"name": name}) for name in ("import", "export")]),
    ):
        failed = rng.poisson(uses[account, day] * rate * share)
        kept = np.flatnonzero(failed)
        parts.append(
            event_rows(
                kind,
                account[kept],
                day[kept],
                rng.integers(MORNING, EVENING, size=len(kept)),
                event_count=failed[kept],
                delay=90,
                properties=texts(properties, rng.integers(len(properties), size=len(kept))),
            )
        )
    return pl.concat(parts)


def draw_units(accounts: Accounts, activity: Activity, rng: np.random.Generator) -> Floats:
    """Metered units per account and day, as if nobody ever left."""
    appetite = np.array((16.0, 40.0, 110.0))[accounts.plan] * np.exp(
        rng.normal(0, 0.5, len(accounts))
    )
    units: Floats = rng.poisson(activity.daily * appetite[:, None]).astype(np.float64)
    return units


def metered_rows(units: Floats, limit: Matrix, here: Bools, calendar: Calendar) -> pl.DataFrame:
    """Units by week, and the day in a month on which the plan's limit was reached."""
    used = units * here
    ends = np.flatnonzero(calendar.weekdays == 6)
    weekly = np.add.reduceat(used, np.concatenate(([0], ends[:-1] + 1)), axis=1)[:, : len(ends)]
    account, week = np.nonzero(weekly)
    text = properties_text({"unit": UNIT})
    parts = [
        event_rows(
            "usage.metered",
            account,
            ends[week],
            np.full(len(account), 86_100),
            delay=60,
            quantity=weekly[account, week],
            properties=text,
        )
    ]
    for month in range(calendar.months):
        span = slice(*calendar.month_starts[month : month + 2])
        over = np.cumsum(used[:, span], axis=1) >= limit[:, span]
        reached = np.flatnonzero(over.any(axis=1))
        day = over[reached].argmax(axis=1) + int(calendar.month_starts[month])
        seen = here[reached, day]
        parts.append(
            event_rows(
                "usage.limit_reached",
                reached[seen],
                day[seen],
                np.full(int(seen.sum()), 86_200),
                delay=30,
                properties=text,
            )
        )
    return pl.concat(parts)


def _adoption_days(accounts: Accounts, rng: np.random.Generator) -> Ints:
    """Accounts x features: the day from which the feature is used, beyond any world if never."""
    n = len(accounts)
    inclined = 1 / (1 + np.exp(-0.8 * accounts.temper))  # 0.5 for the middling account
    chance = np.array(POPULARITY) * (0.55 + 0.6 * inclined[:, None])
    adopts = rng.random((n, len(FEATURES))) < chance
    lag = rng.exponential(30 * (1 - np.array(POPULARITY) * 0.9), (n, len(FEATURES)))
    day = accounts.begins[:, None] + lag.astype(np.int64)
    return np.where(adopts, day, np.iinfo(np.int64).max)


def _tokens(count: int, rng: np.random.Generator) -> list[bytes]:
    raw = rng.bytes(6 * count)
    return [raw[6 * index : 6 * index + 6] for index in range(count)]
