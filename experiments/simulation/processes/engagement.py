"""Engagement beyond usage: onboarding, goals, reviews, surveys, requests.

Everything here follows the latent paths and is drawn as if nobody ever left.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from experiments.simulation.accounts import Accounts
from experiments.simulation.event_rows import event_rows, flat_json, texts
from experiments.simulation.latent_health import Incidents, Paths
from experiments.simulation.settings import Bools, Calendar, Floats, Ints
from features.events.schema import properties_text

STEPS = (
    "profile",
    "sso",
    "first_integration",
    "first_data_set",
    "first_recipe",
    "invite_team",
    "first_report",
)
STEP_DAYS = 4.0  # from one step to the next, for the middling account
RECIPES = ("import_contacts", "build_report", "automate_reply", "share_dashboard")
INTEGRATIONS = ("slack", "salesforce", "zendesk", "warehouse")
KPIS = ("hours_saved", "reply_time", "revenue_influenced")
NUDGES = ("try_automation", "invite_colleague", "build_dashboard")
REQUESTS = ("sandbox", "custom_roles", "audit_export", "mobile_app", "single_sign_on")
REVIEW_EVERY_DAYS = (120, 60, 30)  # by segment
REVIEWED_SHARE = (0.25, 0.8, 0.95)
MILESTONES = ("quick_win", "growth", "strategic")
MILESTONE_DAYS = (45, 120, 270)


def onboarding_rows(
    accounts: Accounts, paths: Paths, calendar: Calendar, rng: np.random.Generator
) -> pl.DataFrame:
    """Steps with what they bring: integrations, recipes, trainings."""
    n, days = len(accounts), calendar.days
    pace = STEP_DAYS * np.exp(-0.6 * accounts.temper)
    gaps = rng.exponential(pace[:, None], (n, len(STEPS)))
    at = accounts.begins[:, None].astype(np.float64) + np.cumsum(gaps, axis=1)
    goes_on = 0.965 + 0.02 * np.tanh(accounts.temper)[:, None]
    reached = np.cumprod(rng.random((n, len(STEPS))) < goes_on, axis=1) > 0
    account, step = np.nonzero(reached & (at < days))
    day, second = _split(at[account, step])
    parts = [
        event_rows(
            "onboarding.step_completed",
            account,
            day,
            second,
            delay=60,
            properties=texts([properties_text({"step": name}) for name in STEPS], step),
        )
    ]
    connected = step == STEPS.index("first_integration")
    which = rng.integers(len(INTEGRATIONS), size=int(connected.sum()))
    parts.append(
        event_rows(
            "integration.state",
            account[connected],
            day[connected],
            second[connected],
            delay=60,
            properties=texts(
                [properties_text({"name": name, "state": "connected"}) for name in INTEGRATIONS],
                which,
            ),
        )
    )
    parts.append(
        _sometimes(
            "integration.state",
            paths,
            accounts,
            1 / 700,
            -0.3,
            rng,
            delay=120,
            words=[
                properties_text({"name": name, "state": state})
                for name in INTEGRATIONS
                for state in ("connected", "error", "disconnected")
            ],
        )
    )
    parts.append(
        _sometimes(
            "recipe.completed",
            paths,
            accounts,
            1 / 45,
            0.5,
            rng,
            words=[properties_text({"name": name}) for name in RECIPES],
        )
    )
    parts.append(
        _sometimes(
            "training.completed",
            paths,
            accounts,
            1 / 120,
            0.3,
            rng,
            delay=86_400,
            words=[
                properties_text({"name": name, "role": role})
                for name in ("basics", "advanced")
                for role in ("admin", "operator", "champion")
            ],
        )
    )
    return pl.concat(parts)


def sign_rows(accounts: Accounts, paths: Paths, rng: np.random.Generator) -> pl.DataFrame:
    """Nudges, requests, posts, configuration, deployments and consent."""
    parts = [
        _sometimes(
            "feature.requested",
            paths,
            accounts,
            1 / 220,
            0.1,
            rng,
            words=[
                properties_text({"name": name, "price_plan": plan, "state": state})
                for name in REQUESTS
                for plan in ("professional", "business")
                for state in ("open", "open", "answered")
            ],
        ),
        _sometimes(
            "community.posted",
            paths,
            accounts,
            1 / 160,
            0.6,
            rng,
            words=[properties_text({"topic": name}) for name in ("question", "answer", "showcase")],
        ),
        _sometimes(
            "config.changed",
            paths,
            accounts,
            1 / 18,
            0.4,
            rng,
            words=[
                properties_text({"name": name, "feature_flag": flag})
                for name in ("workflow", "permissions", "branding")
                for flag in ("none", "new_editor")
            ],
        ),
        _sometimes(
            "deployment.published",
            paths,
            accounts,
            1 / 40,
            0.4,
            rng,
            words=[properties_text({"environment": name}) for name in ("production", "sandbox")],
        ),
        _sometimes(
            "consent.updated",
            paths,
            accounts,
            1 / 900,
            -0.4,
            rng,
            words=[
                properties_text({"channel": name, "state": "withdrawn"})
                for name in ("email", "sms")
            ],
        ),
        _nudge_rows(accounts, paths, rng),
    ]
    every = np.arange(len(accounts))
    for channel, share in (("email", 0.9), ("sms", 0.3)):
        given = every[rng.random(len(accounts)) < share]
        parts.append(
            event_rows(
                "consent.updated",
                given,
                accounts.begins[given],
                np.full(len(given), 1200),
                delay=5,
                properties=properties_text({"channel": channel, "state": "given"}),
            )
        )
    return pl.concat(parts)


def _nudge_rows(accounts: Accounts, paths: Paths, rng: np.random.Generator) -> pl.DataFrame:
    words = [properties_text({"name": name}) for name in NUDGES]
    account, day, second = _moments(paths, accounts, 1 / 25, 0.0, rng)
    which = rng.integers(len(NUDGES), size=len(account))
    acts = rng.random(len(account)) < 0.3 / (1 + np.exp(-paths.health[account, day]))
    return pl.concat(
        [
            event_rows("nudge.sent", account, day, second, delay=5, properties=texts(words, which)),
            event_rows(
                "nudge.acted",
                account[acts],
                day[acts],
                second[acts] + 3600,
                delay=5,
                properties=texts(words, which[acts]),
            ),
        ]
    )


def success_rows(
    accounts: Accounts, paths: Paths, calendar: Calendar, rng: np.random.Generator
) -> pl.DataFrame:
    """Goals, milestones, reviews and advocacy, where there is a success plan; NPS everywhere."""
    planned = accounts.segment > 0
    account, day = _every(
        accounts.begins + rng.integers(60, 90, len(accounts)),
        91,
        planned & (rng.random(len(accounts)) < 0.7),
        calendar,
    )
    kpi = (accounts.icp + accounts.use_case)[account] % len(KPIS)
    target = 100 + 50 * kpi
    current = (
        (
            target
            * (
                0.45
                + 0.0009 * (day - accounts.begins[account])
                + 0.25 / (1 + np.exp(-paths.recent_health[account, day]))
            )
            + rng.normal(0, 12, len(account))
        )
        .clip(1)
        .round(1)
    )
    reached = texts(["no", "yes"], (current >= target * 0.85).astype(np.int64))
    parts = [
        event_rows(
            "goal.measured",
            account,
            day,
            np.full(len(account), 40_000),
            quantity=current,
            delay=3600,
            properties=flat_json(
                kpi=texts(list(KPIS), kpi),
                target=pl.Series(target),
                baseline=pl.Series(np.full(len(account), 40)),
                reached=reached,
            ),
        )
    ]
    parts.append(_milestone_rows(accounts, paths, np.flatnonzero(planned), calendar, rng))
    parts.append(_review_rows(accounts, paths, calendar, rng))
    account, day = _every(
        accounts.begins + rng.integers(40, 130, len(accounts)),
        91,
        np.ones(len(accounts), dtype=np.bool_),
        calendar,
    )
    answers = rng.random(len(account)) < 0.4
    account, day = account[answers], day[answers]
    score = np.clip(
        np.round(
            7.0
            + 1.5 * paths.recent_health[account, day]
            - 0.5 * paths.pressure[account, day]
            + rng.normal(0, 1.3, len(account))
        ),
        0,
        10,
    )
    parts.append(
        event_rows(
            "survey.answered",
            account,
            day,
            np.full(len(account), 50_000),
            quantity=score,
            delay=60,
            properties='{"scale":10,"survey":"nps"}',
        )
    )
    happy = score >= 9
    asked = np.flatnonzero(happy & (rng.random(len(score)) < 0.15))
    parts.append(
        event_rows(
            "advocacy.updated",
            account[asked],
            day[asked],
            np.full(len(asked), 60_000),
            delay=60,
            properties=texts(
                [
                    properties_text({"type": name, "status": status})
                    for name in ("testimonial", "reference_call", "case_study")
                    for status in ("requested", "completed", "declined")
                ],
                rng.integers(9, size=len(asked)),
            ),
        )
    )
    return pl.concat(parts)


def incident_rows(incidents: Incidents) -> pl.DataFrame:
    """What each account that felt an incident could know of it."""
    index, account = np.nonzero(incidents.felt)
    ids = pl.Series([f"i_{number:04d}" for number in range(len(incidents.day))]).gather(index)
    day, second = incidents.day[index], incidents.second[index]
    lasts = (incidents.hours[index] * 3600).astype(np.int64)
    told = second + np.minimum(1200 + 600 * (incidents.severity[index] - 1), lasts)
    properties = flat_json(incident_id=ids)
    return pl.concat(
        [
            event_rows(
                "incident.opened",
                account,
                day,
                second,
                delay=300,
                properties=properties,
                quantity=incidents.severity[index],
            ),
            event_rows(
                "incident.communicated", account, day, told, delay=10, properties=properties
            ),
            event_rows(
                "incident.resolved",
                account,
                day,
                second + lasts,
                delay=300,
                properties=properties,
                quantity=incidents.hours[index],
            ),
        ]
    )


def _milestone_rows(
    accounts: Accounts, paths: Paths, planned: Ints, calendar: Calendar, rng: np.random.Generator
) -> pl.DataFrame:
    dates = pl.Series(calendar.date_texts())
    parts = []
    for name, length in zip(MILESTONES, MILESTONE_DAYS, strict=True):
        due = accounts.begins[planned] + length
        near = due < calendar.days + 300  # the calendar's dates end a year after the world
        account, due_day = planned[near], due[near]
        slips = length * 0.35 * rng.normal(-0.3 - 0.5 * accounts.temper[account], 1.0)
        done = due_day + slips.astype(np.int64)
        due_on = dates.gather(due_day)
        set_on = accounts.begins[account] + 5
        overdue = done > due_day
        for status, at, kept in (
            ("pending", set_on, np.ones_like(overdue)),
            ("overdue", due_day + 1, overdue),
            ("completed", np.maximum(done, set_on + 5), done < due_day + 90),
        ):
            parts.append(
                event_rows(
                    "milestone.updated",
                    account[kept],
                    at[kept],
                    np.full(int(kept.sum()), 36_000),
                    delay=7200,
                    properties=flat_json(
                        due_on=due_on.filter(pl.Series(kept)), name=name, status=status
                    ),
                )
            )
    return pl.concat(parts)


def _review_rows(
    accounts: Accounts, paths: Paths, calendar: Calendar, rng: np.random.Generator
) -> pl.DataFrame:
    parts = []
    for segment, every_days in enumerate(REVIEW_EVERY_DAYS):
        wanted = (accounts.segment == segment) & (
            rng.random(len(accounts)) < REVIEWED_SHARE[segment]
        )
        account, day = _every(
            accounts.begins + rng.integers(25, 45, len(accounts)), every_days, wanted, calendar
        )
        health = paths.recent_health[account, day]
        rating = np.clip(np.round(7.2 + 1.2 * health + rng.normal(0, 1, len(account))), 0, 10)
        mood = health + rng.normal(0, 0.6, len(account))
        renews = np.searchsorted(np.array((-1.0, 0.0)), mood)
        kind = ("quarterly", "quarterly", "monthly")[segment]
        parts.append(
            event_rows(
                "review.held",
                account,
                day,
                np.full(len(account), 52_000),
                quantity=rating,
                delay=rng.integers(0, 3, size=len(account)) * 86_400 + 3600,
                properties=texts(
                    [
                        properties_text({"type": kind, "renewal_intent": word})
                        for word in ("no", "maybe", "yes")
                    ],
                    renews,
                ),
            )
        )
    return pl.concat(parts)


def _every(first: Ints, step: int, wanted: Bools, calendar: Calendar) -> tuple[Ints, Ints]:
    """Account and day of something that repeats every ``step`` days."""
    turns = np.arange(calendar.days // step + 1)
    day = first[:, None] + step * turns[None, :]
    account, turn = np.nonzero((day < calendar.days) & wanted[:, None])
    return account, day[account, turn]


def _moments(
    paths: Paths, accounts: Accounts, rate: float, lean: float, rng: np.random.Generator
) -> tuple[Ints, Ints, Ints]:
    """Moments at a daily rate that grows by ``exp(lean)`` with each unit of health."""
    days = paths.health.shape[1]
    total = rng.poisson(rate * days * 1.6 * len(accounts))
    account = rng.integers(len(accounts), size=total)
    day = rng.integers(days, size=total)
    weight = np.exp(np.clip(lean * paths.health[account, day], -2, np.log(1.6)))
    kept = (rng.random(total) * 1.6 < weight) & (day >= accounts.begins[account])
    account, day = account[kept], day[kept]
    return account, day, rng.integers(28_000, 64_000, size=len(account))


def _sometimes(
    kind: str,
    paths: Paths,
    accounts: Accounts,
    rate: float,
    lean: float,
    rng: np.random.Generator,
    *,
    words: Sequence[str],
    delay: int = 30,
) -> pl.DataFrame:
    account, day, second = _moments(paths, accounts, rate, lean, rng)
    which = rng.integers(len(words), size=len(account))
    return event_rows(kind, account, day, second, delay=delay, properties=texts(list(words), which))


def _split(moment: Floats) -> tuple[Ints, Ints]:
    day = moment.astype(np.int64)
    return day, ((moment - day) * 86_400).astype(np.int64)
