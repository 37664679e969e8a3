"""Simulate the months: decide, announce, grow, leave or stay, begin.

At the start of a month programmes decide by what was known the evening before; then the month's
contract events happen in order of their day.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from experiments.effects.belief import EFFECT_HORIZON_DAYS
from experiments.simulation.accounts import PLAN_UNITS, SEGMENTS, Accounts
from experiments.simulation.hazards import (
    CERTAIN,
    foreseen_hazard,
    hazard_given_intent,
    monthly_logit,
)
from experiments.simulation.interventions import (
    EFFECT_DAYS,
    REST_DAYS,
    ObservedAccounts,
    Programme,
    draw_half,
    is_in_group,
    is_in_lane,
    judgement_propensity,
    true_factor,
)
from experiments.simulation.latent_health import Paths
from experiments.simulation.processes.contacts import Touches, days_of_silence
from experiments.simulation.processes.contracts import ContractBook
from experiments.simulation.processes.support import Tickets, severe_counts
from experiments.simulation.processes.usage import Activity
from experiments.simulation.settings import Bools, Calendar, Floats, Ints

NEAR_LIMIT = 0.8  # of the plan's units in 28 days
FORESEEN_DAYS = (30, 60, 90)


@dataclass(frozen=True, kw_only=True)
class ObservableSigns:
    """The observable signs of the accounts, as if nobody ever left."""

    activity: Activity
    units: Floats
    tickets: Tickets
    touches: Touches


@dataclass(frozen=True, kw_only=True)
class ContractHistory:
    """The history of contracts, month by month, with its hidden causes."""

    log: pl.DataFrame  # contract events, also those after an end that never happened
    exits: pl.DataFrame  # account, day, chance
    decisions: pl.DataFrame
    chances: pl.DataFrame
    ends: Ints  # per account; NEVER while it stays
    pauses: list[tuple[Ints, Ints, Ints]]


def simulate_contracts(
    accounts: Accounts,
    paths: Paths,
    signs: ObservableSigns,
    calendar: Calendar,
    rng: np.random.Generator,
    programmes: tuple[Programme, ...],
) -> ContractHistory:
    """Run every contract and every programme from the first month to the last."""
    book = ContractBook(accounts, paths, calendar, rng)
    salt = f"{int(rng.integers(2**32)):08x}"
    rests_until = np.full(len(accounts), -1)
    decisions: list[pl.DataFrame] = []
    chances: list[pl.DataFrame] = []
    for month in range(calendar.months):
        first, last = (int(day) for day in calendar.month_starts[month : month + 2])
        observed = observe(accounts, book, signs, first)
        running = book.is_running(first) & (book.next_end() > first)
        chances.append(_chances(book, np.flatnonzero(running), first))
        for programme in programmes:
            rested = running & (rests_until < first) & ~book.intended
            rested &= book.paused_until < first - 56  # younger accounts have no usage to judge
            decided = _decide(
                programme, book, observed, rested, month, f"{programme.name}:{salt}", rng
            )
            decisions.extend(decided)
            for frame in decided:
                rests_until[frame["account"].to_numpy()] = first + REST_DAYS
        _pass_month(book, signs, month, first, last, rng)
    log = pl.concat(book.log)
    exits = pl.concat(
        [
            pl.DataFrame({"account": point.account, "day": point.day, "chance": point.chance})
            for point in book.exits
        ]
    )
    return ContractHistory(
        log=log,
        exits=exits,
        decisions=pl.concat(decisions),
        chances=pl.concat(chances),
        ends=book.ends,
        pauses=book.pauses,
    )


def observe(
    accounts: Accounts, book: ContractBook, signs: ObservableSigns, day: int
) -> ObservedAccounts:
    """The facts that a CSM knows of every account on the morning of ``day``."""

    def mean(first: int, last: int) -> Floats:
        span = signs.activity.daily[:, max(first, 0) : max(last, 0)]
        people: Floats = span.sum(axis=1) / 28
        return people

    now, before = mean(day - 28, day), mean(day - 56, day - 28)
    return ObservedAccounts(
        use=now / book.seats,
        trend=np.where(before > 0, now / np.maximum(before, 1e-9), 1.0),
        severe_tickets=severe_counts(signs.tickets, len(accounts), day - 28, day),
        silence_days=days_of_silence(signs.touches, accounts.begins, day),
        days_to_renewal=book.next_end() - day,
        age_days=day - accounts.contract_from,
    )


def _pass_month(
    book: ContractBook,
    signs: ObservableSigns,
    month: int,
    first: int,
    last: int,
    rng: np.random.Generator,
) -> None:
    n = len(book.accounts)
    end = book.next_end()
    buys_on = rng.integers(first, last, n)
    unpaused = book.started & (book.paused_until < first)
    used = signs.units[:, max(first - 28, 0) : first].sum(axis=1)
    near = used > NEAR_LIMIT * np.array(PLAN_UNITS)[book.plan] * book.seats
    book.resume(first, last)
    book.intend(last)
    grown = book.grow(buys_on, near, unpaused & (buys_on < end))
    book.end_periods(first, last)
    grown |= book.grow(buys_on, near, unpaused & ~grown & (buys_on > end) & (end >= first))
    may_pause = unpaused & ~grown & (end < last)
    book.begin(first, last)
    book.intend(last)
    book.pause(month, may_pause)


def _decide(
    programme: Programme,
    book: ContractBook,
    observed: ObservedAccounts,
    rested: Bools,
    month: int,
    design: str,
    rng: np.random.Generator,
) -> list[pl.DataFrame]:
    """One month of one programme: assign, carry out, and set the factors, if it decides at all."""
    accounts, calendar = book.accounts, book.calendar
    day = int(calendar.month_starts[month])
    mask = rested & is_in_group(programme.group, observed) & is_in_lane(programme, accounts)
    rows = np.flatnonzero(mask)
    if len(rows) < 2:
        return []
    if programme.assignment == "lottery":
        arm, share = draw_half(accounts.ids, rows, design, month)
        propensity = np.full(len(rows), share)
    else:
        propensity = judgement_propensity(observed)[rows]
        arm = rng.random(len(rows)) < propensity
    luck = rng.random(len(rows))
    executed = np.where(arm, luck < programme.carried_out, luck < programme.leaks)
    odds = monthly_logit(accounts, book.paths, rows, np.full(len(rows), day))
    chance = 1 / (1 + np.exp(-odds))
    factor = true_factor(programme, accounts, rows, chance)
    received = rows[executed]
    book.factor[received], book.factor_until[received] = factor[executed], day + EFFECT_DAYS
    return [
        pl.DataFrame(
            {
                "decision_id": [
                    f"d_{programme.name}_{month:02d}_{accounts.ids[row]}" for row in rows
                ],
                "intervention": programme.name,
                "action": programme.action,
                "assignment": programme.assignment,
                "account": rows,
                "day": day,
                "segment": pl.Series(SEGMENTS).gather(accounts.segment[rows]),
                "csm": pl.Series(accounts.csm_names).gather(accounts.csm[rows]),
                "arm": pl.Series(["control", "treated"]).gather(arm.astype(np.int64)),
                "propensity": propensity,
                "executed": executed,
                "factor": factor,
                "carried_out": programme.carried_out,
                "leaks": programme.leaks,
                "true_monthly_chance": chance,
                "use": observed.use[rows],
                "trend": observed.trend[rows],
                "severe_tickets": observed.severe_tickets[rows],
                "silence_days": observed.silence_days[rows],
                "days_to_renewal": observed.days_to_renewal[rows],
                "age_days": observed.age_days[rows],
                "looks_bad": observed.looks_bad()[rows],
                "mrr_at_decision": book.mrr(rows),
                "is_mature": pl.repeat(
                    day + EFFECT_HORIZON_DAYS <= calendar.days, len(rows), eager=True
                ),
            }
        )
    ]


def _chances(book: ContractBook, rows: Ints, day: int) -> pl.DataFrame:
    """The chance to leave within each horizon, as the best forecaster could know it."""
    stays = {days: np.ones(len(rows)) for days in FORESEEN_DAYS}
    month, billing = book.next_month[rows], book.billing[rows]
    for turn in range(4):  # at most four monthly periods end within 90 days
        end = book.calendar.day_of(
            np.minimum(month + turn * billing, len(book.calendar.month_starts) - 1),
            book.anchor[rows],
        )
        near = np.flatnonzero(end < day + max(FORESEEN_DAYS))
        if len(near) == 0:
            break
        chance = np.zeros(len(rows))
        foreseen = foreseen_hazard(
            book.accounts, book.paths, rows[near], day, end[near], billing[near]
        )
        announced = book.intended[rows[near]] & (turn == 0)
        drawn = book.intent_drawn[rows[near]] & (turn == 0)
        chance[near] = np.where(drawn, hazard_given_intent(foreseen, announced), foreseen)
        factor = np.where(end <= book.factor_until[rows], book.factor[rows], 1.0)
        for days, left in stays.items():
            left *= np.where(end < day + days, 1 - np.minimum(chance * factor, CERTAIN), 1.0)
    return pl.DataFrame(
        {
            "account": rows,
            "day": np.full(len(rows), day),
            "mrr": book.mrr(rows),
            **{f"churn_probability_{days}d": 1 - left for days, left in stays.items()},
        }
    )
