"""Sponsors and champions: when they are in touch, leave, and are replaced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from experiments.simulation.accounts import Accounts
from experiments.simulation.event_rows import event_rows, texts
from experiments.simulation.latent_health import ENGAGED, GONE, SILENT, Paths
from experiments.simulation.settings import Calendar, Ints
from features.events.schema import properties_text

ROLES = ("sponsor", "champion")
CHANNELS = ("call", "email", "meeting")
SPONSOR_TOUCHES = (1 / 40, 1 / 20, 1 / 14)  # a day, by segment, while engaged
CHAMPION_TOUCHES = (1 / 35, 1 / 18, 1 / 12)
SILENT_TOUCHES = 1 / 150
LONGEST_ENTRY_DAYS = 4  # a CSM enters a touch into the CRM some days after it


@dataclass(frozen=True, kw_only=True)
class Touches:
    """Touches of every account, as if nobody ever left; one entry each."""

    account: Ints
    day: Ints
    entered_day: Ints  # when the CRM learned of it
    role: Ints


def draw_touches(
    accounts: Accounts, paths: Paths, calendar: Calendar, rng: np.random.Generator
) -> Touches:
    """Draw touches: often while engaged, seldom while silent, never when gone."""
    here = np.arange(calendar.days)[None, :] >= accounts.begins[:, None]
    workday = (calendar.weekdays < 5)[None, :]
    found: list[tuple[Ints, Ints, Ints]] = []
    for role, (states, rates, has) in enumerate(
        (
            (paths.sponsor, SPONSOR_TOUCHES, accounts.has_sponsor),
            (paths.champion, CHAMPION_TOUCHES, accounts.has_champion),
        )
    ):
        rate = np.where(states == ENGAGED, np.array(rates)[accounts.segment][:, None] * 1.4, 0.0)
        rate = np.where(states == SILENT, SILENT_TOUCHES, rate) * here * workday * has[:, None]
        account, day = np.nonzero(rng.random(rate.shape, dtype=np.float32) < rate)
        found.append((account, day, np.full(len(account), role)))
    account, day, role_of = (np.concatenate(column) for column in zip(*found, strict=True))
    entry = rng.choice(LONGEST_ENTRY_DAYS + 1, size=len(day), p=(0.6, 0.2, 0.1, 0.06, 0.04))
    return Touches(account=account, day=day, entered_day=day + entry, role=role_of)


def days_of_silence(touches: Touches, begins: Ints, as_of: int) -> Ints:
    """Days since the newest sponsor touch that is known at the start of a day.

    Without one, days since the account began.
    """
    newest = begins.copy()
    known = (touches.role == 0) & (touches.entered_day < as_of)
    np.maximum.at(newest, touches.account[known], touches.day[known])
    return np.maximum(as_of - newest, 0)


def contact_rows(
    touches: Touches, accounts: Accounts, paths: Paths, rng: np.random.Generator
) -> pl.DataFrame:
    """Touches, and contacts who joined or left."""
    n = len(touches.account)
    delay = (touches.entered_day - touches.day) * 86_400 + 1800
    words = [
        properties_text({"role": role, "channel": channel})
        for role in ROLES
        for channel in CHANNELS
    ]
    second = rng.integers(28_000, 60_000, size=n)
    parts = [
        event_rows(
            "sponsor.contacted",
            touches.account,
            touches.day,
            second,
            delay=delay,
            properties=texts(words, touches.role * len(CHANNELS) + rng.integers(3, size=n)),
        )
    ]
    for role, states, has in (
        (ROLES[0], paths.sponsor, accounts.has_sponsor),
        (ROLES[1], paths.champion, accounts.has_champion),
    ):
        first = np.flatnonzero(has & (states[np.arange(len(accounts)), accounts.begins] != GONE))
        gone = states == GONE
        changed = has[:, None] & (gone[:, 1:] != gone[:, :-1])
        account, before = np.nonzero(changed)
        left = gone[account, before + 1]
        words = [properties_text({"role": role, "state": state}) for state in ("joined", "left")]
        parts.append(
            event_rows(
                "contact.changed",
                first,
                accounts.begins[first],
                np.full(len(first), 3600),
                delay=600,
                properties=words[0],
            )
        )
        after = before + 1 > accounts.begins[account]
        parts.append(
            event_rows(
                "contact.changed",
                account[after],
                before[after] + 1,
                np.full(int(after.sum()), 33_000),
                delay=86_400,
                properties=texts(words, left[after].astype(np.int64)),
            )
        )
    return pl.concat(parts)
