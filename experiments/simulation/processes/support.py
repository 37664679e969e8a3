"""Tickets: opened, answered, judged, reopened, closed, rated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from experiments.simulation.accounts import REPLY_HOURS, Accounts, service_tier
from experiments.simulation.event_rows import event_rows, flat_json, texts
from experiments.simulation.latent_health import Paths
from experiments.simulation.processes.usage import EVENING, MORNING, Activity
from experiments.simulation.settings import Calendar, Floats, Ints

TOPICS = ("billing", "bug", "how_to", "integration", "performance")
SEVERE = 2
"""Severity 1 and 2 are severe."""


@dataclass(frozen=True, kw_only=True)
class Tickets:
    """Tickets of every account, as if nobody ever left; one entry each, by account and day."""

    account: Ints
    day: Ints
    second: Ints
    severity: Ints
    health: Floats  # of the account on that day


def draw_tickets(paths: Paths, activity: Activity, rng: np.random.Generator) -> Tickets:
    """Draw tickets: more where more people work, where health is low, where incidents are felt."""
    rate = 0.0025 * np.sqrt(activity.daily) * np.exp(-0.45 * paths.health)
    rate = np.where(activity.daily > 0, rate * np.where(paths.disturbed, 12.0, 1.0), 0.0)
    rate = 3.0 * np.minimum(rate, 0.5)
    account, day = np.nonzero(rng.random(rate.shape) < rate)
    health = paths.health[account, day].astype(np.float64)
    worse = rng.normal(0, 1, len(account)) - 0.5 * health + paths.disturbed[account, day]
    severity = 4 - np.searchsorted(np.array((-0.3, 1.0, 2.2)), worse)
    return Tickets(
        account=account,
        day=day,
        health=health,
        severity=severity,
        second=rng.integers(MORNING, EVENING, size=len(account)),
    )


def severe_counts(tickets: Tickets, accounts: int, first: int, last: int) -> Ints:
    """Severe tickets per account in the days [first, last)."""
    seen = (tickets.severity <= SEVERE) & (tickets.day >= first) & (tickets.day < last)
    return np.bincount(tickets.account[seen], minlength=accounts)


def ticket_rows(
    tickets: Tickets,
    accounts: Accounts,
    annual_revenue: Floats,
    calendar: Calendar,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """Everything that happens to the tickets, and what people answer about them."""
    n = len(tickets.account)
    ids = pl.Series([f"t_{index:06d}" for index in range(n)], dtype=pl.String)
    account, day, second = tickets.account, tickets.day, tickets.second
    promise = np.array(REPLY_HOURS)[service_tier(annual_revenue)][account]
    load = 1 + 0.3 * np.sin(day / 40)  # the support team has better and worse months
    reply = (promise * 0.45 * load * np.exp(rng.normal(0, 0.7, n))).clip(0.1, 120).round(2)
    close = (
        (
            reply
            + np.array((6, 14, 26, 40))[tickets.severity - 1] * load * np.exp(rng.normal(0, 0.7, n))
        )
        .clip(0.5, 700)
        .round(2)
    )
    mood = np.tanh(
        0.25
        + 0.45 * tickets.health
        - 0.25 * (reply > promise)
        - 0.3 * (tickets.severity <= SEVERE)
        + rng.normal(0, 0.35, n)
    ).round(3)
    repeats = np.where(rng.random(n) < 0.12, 1, 0)
    parts = [
        event_rows(
            "ticket.created",
            account,
            day,
            second,
            quantity=tickets.severity,
            delay=20,
            properties=flat_json(
                ticket_id=ids,
                topic=texts(list(TOPICS), rng.integers(5, size=n)),
                repeat=texts(["no", "yes"], repeats),
            ),
        )
    ]

    def later(hours: Floats) -> Ints:
        return second + (hours * 3600).astype(np.int64)

    def part(
        kind: str, kept: Ints, at: Ints, quantity: Floats | Ints | None, properties: pl.Series
    ) -> None:
        parts.append(
            event_rows(
                kind,
                account[kept],
                day[kept],
                at[kept],
                delay=30,
                properties=properties,
                quantity=quantity[kept] if quantity is not None else None,
            )
        )

    every = np.arange(n)
    some = np.flatnonzero(rng.random(n) < 0.7)
    part(
        "ticket.updated", every, later(reply), reply, flat_json(ticket_id=ids, change="first_reply")
    )
    part(
        "ticket.updated",
        some,
        later(np.maximum(reply, 1.0)),
        mood,
        flat_json(ticket_id=ids.gather(some), change="sentiment"),
    )
    met = texts(["no", "yes"], (reply <= promise).astype(np.int64))
    part(
        "ticket.resolved",
        every,
        later(close),
        close,
        flat_json(ticket_id=ids, severity=pl.Series(tickets.severity), sla_met=met),
    )
    again = np.flatnonzero(rng.random(n) < 0.05)
    part(
        "ticket.updated",
        again,
        later(close + 20),
        None,
        flat_json(ticket_id=ids.gather(again), change="reopened"),
    )
    part(
        "ticket.resolved",
        again,
        later(close + 60),
        close + 60,
        flat_json(
            ticket_id=ids.gather(again),
            severity=pl.Series(tickets.severity[again]),
            sla_met=met.gather(again),
        ),
    )
    rated = np.flatnonzero(rng.random(n) < 0.35)
    stars = np.clip(np.round(3.9 + 1.1 * mood + rng.normal(0, 0.5, n)), 1, 5)
    part(
        "survey.answered",
        rated,
        later(close + 3),
        stars,
        texts(['{"scale":5,"survey":"csat"}'], np.zeros(len(rated), dtype=np.int64)),
    )
    effort = np.flatnonzero(rng.random(n) < 0.12)
    ease = np.clip(np.round(4.6 + 1.2 * mood + rng.normal(0, 0.7, n)), 1, 7)
    part(
        "survey.answered",
        effort,
        later(close + 4),
        ease,
        texts(['{"scale":7,"survey":"ces"}'], np.zeros(len(effort), dtype=np.int64)),
    )
    return pl.concat(parts)
