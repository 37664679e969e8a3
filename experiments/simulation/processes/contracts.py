"""Contracts as they run: terms, periods, pauses, growth, and the end.

A contract that ended is simulated further as if it had not, so that the counterfactual is known;
only its events in the timeline stop. The book is changed month by month, by
``world``; nothing else holds it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from experiments.simulation.accounts import (
    PLAN_FEATURES,
    PLAN_PRICE,
    PLAN_UNITS,
    PLANS,
    Accounts,
)
from experiments.simulation.event_rows import event_rows, flat_json, texts
from experiments.simulation.hazards import (
    CERTAIN,
    LEAVES_AFTER_PAUSE,
    OF_PRICE_RISE,
    hazard_given_intent,
    intent_chance,
    monthly_logit,
    period_hazard,
)
from experiments.simulation.latent_health import Paths
from experiments.simulation.settings import Bools, Calendar, Floats, Ints

NEVER = 10**6
"""A day that no world reaches."""

INTENT_LEAD_DAYS = (5, 25)
NOTICE_DAYS = {1: 14, 3: 30, 12: 60}
"""Days of notice before the renewal, by months between two invoices."""

ANNUAL_DISCOUNT = 0.10
REASONS = (
    "found alternative",
    "no need",
    "too expensive",
    "missing features",
    "poor experience",
    "other",
)
WOULD_RETURN = ("yes", "maybe", "unlikely", "no")

LOG_SCHEMA = {
    "kind": pl.String,
    "account": pl.Int64,
    "day": pl.Int64,
    "second": pl.Int64,
    "mrr": pl.Float64,
    "plan": pl.Int64,
    "seats": pl.Int64,
    "billing": pl.Int64,
    "discount": pl.Float64,
    "renewal_day": pl.Int64,
    "reason": pl.String,
}


@dataclass(frozen=True, kw_only=True)
class ExitPoint:
    """Moments at which accounts could leave, with the chance to do so if nothing was tried."""

    account: Ints
    day: Ints
    chance: Floats


class ContractBook:
    """The terms and states of all contracts at a moment, and the log of all contract events."""

    def __init__(
        self, accounts: Accounts, paths: Paths, calendar: Calendar, rng: np.random.Generator
    ) -> None:
        n = len(accounts)
        self.accounts, self.paths, self.calendar, self.rng = accounts, paths, calendar, rng
        self.plan, self.seats = accounts.plan.copy(), accounts.seats.copy()
        self.billing, self.discount = accounts.billing_months.copy(), accounts.discount.copy()
        contract_date = calendar.month_of(accounts.contract_from)
        self.anchor = accounts.contract_from - calendar.month_starts[contract_date] + 1
        self.next_month = contract_date + accounts.first_term_months
        self.started = np.zeros(n, dtype=np.bool_)
        self.paused_until = np.full(n, -1)
        self.ends = np.where(accounts.converts, NEVER, accounts.contract_from)
        self.intent_lead = rng.integers(*INTENT_LEAD_DAYS, size=n, endpoint=True)
        self.intent_drawn = np.zeros(n, dtype=np.bool_)
        self.intended = np.zeros(n, dtype=np.bool_)
        self.price_rises = np.zeros(n, dtype=np.bool_)
        self.factor, self.factor_until = np.ones(n), np.full(n, -1)
        self.pauses: list[tuple[Ints, Ints, Ints]] = []  # account, from day, to day
        self.log: list[pl.DataFrame] = []
        self.exits: list[ExitPoint] = []

    def mrr(self, rows: Ints) -> Floats:
        """Monthly recurring revenue after discount."""
        price = np.array(PLAN_PRICE)[self.plan[rows]]
        mrr: Floats = (self.seats[rows] * price * (1 - self.discount[rows])).round(2)
        return mrr

    def next_end(self) -> Ints:
        """The day on which the running period of each contract ends."""
        return self.calendar.day_of(self.next_month, self.anchor)

    def is_running(self, day: int) -> Bools:
        """Whether a contract runs and is not paused, on the evening before ``day``."""
        return self.started & (self.paused_until < day) & (self.ends >= day)

    def write(
        self,
        kind: str,
        rows: Ints,
        day: Ints,
        second: int = 0,
        reason: pl.Series | str | None = None,
    ) -> None:
        """Add events to the log, with the terms as they are now."""
        columns = {
            "kind": pl.repeat(kind, len(rows), dtype=pl.String, eager=True),
            "account": rows,
            "day": day,
            "second": np.full(len(rows), second),
            "mrr": self.mrr(rows),
            "plan": self.plan[rows],
            "seats": self.seats[rows],
            "billing": self.billing[rows],
            "discount": self.discount[rows].round(2),
            "renewal_day": self.next_end()[rows],
            "reason": reason
            if isinstance(reason, pl.Series)
            else pl.repeat(reason, len(rows), dtype=pl.String, eager=True),
        }
        self.log.append(pl.DataFrame(columns, schema=LOG_SCHEMA))

    def begin(self, first: int, last: int) -> None:
        """Start the contracts that begin in the days [first, last)."""
        begins = self.accounts.contract_from
        rows = np.flatnonzero((begins >= first) & (begins < last) & self.accounts.converts)
        self.started[rows] = True
        self._open_period(rows)
        self.write("contract.started", rows, begins[rows], reason="new")

    def intend(self, last: int) -> None:
        """Let accounts announce before day ``last`` that they mean to leave."""
        day = self.next_end() - self.intent_lead
        rows = np.flatnonzero(self.started & ~self.intent_drawn & (day < last))
        self.intent_drawn[rows] = True
        day = day[rows]
        said = self.rng.random(len(rows)) < intent_chance(self._hazard(rows))
        said &= day >= np.maximum(self.paused_until[rows], self.accounts.contract_from[rows])
        rows, day = rows[said], day[said]
        self.intended[rows] = True
        self.write("cancellation.intended", rows, day, 39_600, self._reasons(rows, day))

    def grow(self, day: Ints, near_limit: Bools, allowed: Bools) -> Bools:
        """Let accounts buy seats or a higher plan on ``day``; returns who did."""
        n = len(self.accounts)
        every = np.arange(n)
        seen = np.clip(day - 1, 0, self.calendar.days - 1)
        team = self.paths.team[every, seen].astype(np.float64)
        crowded = 1 / (1 + np.exp(-(team / self.seats - 0.97) / 0.05))
        mood = 0.4 + 1 / (1 + np.exp(-self.paths.recent_health[every, seen].astype(np.float64)))
        chance = (0.002 + 0.07 * crowded + 0.04 * near_limit) * mood
        grows = allowed & (self.rng.random(n) < chance)
        climbs = (
            grows
            & (self.plan < len(PLANS) - 1)
            & (self.rng.random(n) < np.where(near_limit, 0.8, 0.15))
        )
        self.plan[climbs] += 1
        self.discount[climbs] = np.minimum(self.discount[climbs] + 0.10, 0.35)
        rows = np.flatnonzero(grows & ~climbs)
        self.seats[rows] = np.maximum(
            np.ceil(self.seats[rows] * 1.12), np.ceil(team[rows] * 1.12)
        ).astype(np.int64)
        for mask, reason in ((climbs, "higher plan"), (grows & ~climbs, "more seats")):
            moved = np.flatnonzero(mask)
            self.write("contract.changed", moved, day[moved], 36_000, reason)
        return grows

    def end_periods(self, first: int, last: int) -> None:
        """Let the periods that end in the days [first, last) be renewed or left."""
        end = self.next_end()
        rows = np.flatnonzero(self.started & (end >= first) & (end < last))
        day = end[rows]
        chance = hazard_given_intent(self._hazard(rows), self.intended[rows])
        self._leave_or(rows, day, chance)
        reason = np.zeros(len(rows), dtype=np.int64)
        rises = self.price_rises[rows]
        self.discount[rows[rises]] = np.maximum(self.discount[rows[rises]] - 0.10, 0.0)
        reason[rises] = 1
        reason[self._shrink(rows, day)] = 2
        reason[self._lengthen(rows)] = 3
        self.next_month[rows] += self.billing[rows]
        self._open_period(rows)
        self.write(
            "contract.renewed",
            rows,
            day,
            reason=texts(["renewal", "discount ended", "fewer seats", "longer billing"], reason),
        )

    def pause(self, month: int, allowed: Bools) -> None:
        """Pause some contracts, after everything else that happens to them this month."""
        n = len(self.accounts)
        sad = self.paths.recent_health[:, self.calendar.month_starts[month]] < 0
        pauses = (
            allowed
            & (self.billing == 1)
            & (self.anchor <= 20)
            & ~self.intended
            & (self.rng.random(n) < np.where(sad, 0.02, 0.005))
        )
        rows = np.flatnonzero(pauses)
        anchor = self.anchor[rows] + 1 + self.rng.integers(0, 7, len(rows))
        months = self.rng.integers(1, 4, len(rows))
        day = self.calendar.day_of(np.full(len(rows), month), anchor)
        until = self.calendar.day_of(month + months, anchor)
        self.write("contract.paused", rows, day, 32_400, "season")
        self.paused_until[rows] = until
        self.next_month[rows] += months
        self.pauses.append((rows, day, until))

    def resume(self, first: int, last: int) -> None:
        """Let the pauses that are over in the days [first, last) end."""
        until = self.paused_until
        rows = np.flatnonzero((until >= first) & (until < last))
        day = until[rows]
        self._leave_or(rows, day, np.full(len(rows), LEAVES_AFTER_PAUSE))
        self.write("contract.resumed", rows, day)

    def _leave_or(self, rows: Ints, day: Ints, chance: Floats) -> None:
        """Log the accounts that leave; the terms go on for all."""
        self.exits.append(ExitPoint(account=rows, day=day, chance=chance))
        factor = np.where(day <= self.factor_until[rows], self.factor[rows], 1.0)
        leaves = self.rng.random(len(rows)) < np.minimum(chance * factor, CERTAIN)
        leaves &= self.ends[rows] == NEVER
        gone, when = rows[leaves], day[leaves]
        self.ends[gone] = when
        self.write("contract.cancelled", gone, when, reason=self._reasons(gone, when))

    def _open_period(self, rows: Ints) -> None:
        self.intent_drawn[rows] = False
        self.intended[rows] = False
        self.intent_lead[rows] = self.rng.integers(*INTENT_LEAD_DAYS, size=len(rows), endpoint=True)
        chance = np.where(self.billing[rows] == 1, 0.015, 0.2) * (self.discount[rows] >= 0.10)
        self.price_rises[rows] = self.rng.random(len(rows)) < chance

    def _hazard(self, rows: Ints) -> Floats:
        end = self.next_end()[rows]
        logit = monthly_logit(self.accounts, self.paths, rows, end)
        return period_hazard(logit + OF_PRICE_RISE * self.price_rises[rows], self.billing[rows])

    def _shrink(self, rows: Ints, day: Ints) -> Bools:
        seen = np.clip(day - 1, 0, self.calendar.days - 1)
        needed = np.ceil(self.paths.team[rows, seen] * 1.1).astype(np.int64)
        chance = np.where(self.billing[rows] == 1, 0.10, 0.45)
        shrinks: Bools = (needed < 0.72 * self.seats[rows]) & (self.rng.random(len(rows)) < chance)
        self.seats[rows[shrinks]] = np.maximum(needed[shrinks], 2)
        return shrinks

    def _lengthen(self, rows: Ints) -> Bools:
        lengthens: Bools = (self.billing[rows] == 1) & (self.rng.random(len(rows)) < 0.006)
        moved = rows[lengthens]
        self.billing[moved] = 12
        self.discount[moved] = np.minimum(self.discount[moved] + ANNUAL_DISCOUNT, 0.35)
        return lengthens

    def _reasons(self, rows: Ints, day: Ints) -> pl.Series:
        seen = np.clip(day - 1, 0, self.calendar.days - 1)
        weight = np.ones((len(rows), len(REASONS)))
        weight[:, 2] += 4 * self.price_rises[rows] + (self.discount[rows] < 0.05)
        weight[:, 4] += 2 * self.paths.pressure[rows, seen]
        weight[:, 1] += self.paths.team[rows, seen] < 0.6 * self.seats[rows]
        edges = np.cumsum(weight, axis=1) / weight.sum(axis=1, keepdims=True)
        pick = (self.rng.random(len(rows))[:, None] > edges).sum(axis=1)
        return texts(list(REASONS), np.minimum(pick, len(REASONS) - 1))


def contract_rows(log: pl.DataFrame, calendar: Calendar, rng: np.random.Generator) -> pl.DataFrame:
    """The log of a book as rows of events."""
    dates = pl.Series(calendar.date_texts())
    would = texts(list(WOULD_RETURN), rng.integers(len(WOULD_RETURN), size=log.height))
    log = log.with_columns(
        renewal_on=dates.gather(log["renewal_day"]),
        would_return=would,
        price_plan=texts(list(PLANS), log["plan"].to_numpy()),
        features_in_plan=pl.Series(np.array(PLAN_FEATURES)[log["plan"]]),
        unit_limit=pl.Series(np.array(PLAN_UNITS)[log["plan"]] * log["seats"].to_numpy()),
        notice_days=log["billing"].replace_strict(NOTICE_DAYS, return_dtype=pl.Int64),
    )
    terms = [
        "price_plan",
        "seats",
        "features_in_plan",
        "unit_limit",
        "discount",
        "renewal_on",
        "notice_days",
        "reason",
    ]
    carries = {
        "contract.started": terms,
        "contract.changed": terms,
        "contract.renewed": terms,
        "contract.paused": ["reason"],
        "contract.resumed": ["price_plan", "seats", "renewal_on"],
        "contract.cancelled": ["reason", "would_return"],
        "cancellation.intended": ["reason"],
    }
    parts = []
    for kind, names in carries.items():
        part = log.filter(pl.col("kind") == kind)
        if part.is_empty():
            continue
        columns: dict[str, pl.Series | str] = {name: part[name] for name in names}
        if names is terms:
            columns["billing_months"] = part["billing"]
        has_mrr = names is terms or kind == "contract.resumed"
        parts.append(
            event_rows(
                kind,
                part["account"].to_numpy(),
                part["day"].to_numpy(),
                part["second"].to_numpy(),
                quantity=part["mrr"].to_numpy() if has_mrr else None,
                properties=flat_json(**columns),
            )
        )
    return pl.concat(parts)
