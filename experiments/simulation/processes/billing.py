"""Invoices: issued when a period begins, paid in time, late, or not at all."""

from __future__ import annotations

import numpy as np
import polars as pl

from experiments.simulation.accounts import Accounts
from experiments.simulation.event_rows import event_rows, flat_json
from experiments.simulation.latent_health import Paths
from experiments.simulation.settings import Bools, Calendar, Ints

DUE_DAYS = (7, 30, 30)  # by segment


def invoice_rows(
    log: pl.DataFrame,
    accounts: Accounts,
    paths: Paths,
    calendar: Calendar,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """Invoices of every period in the log of a contract book."""
    periods = log.filter(pl.col("kind").is_in(["contract.started", "contract.renewed"]))
    account, day = periods["account"].to_numpy(), periods["day"].to_numpy()
    n = periods.height
    is_first = (periods["kind"] == "contract.started").to_numpy()
    months = np.where(is_first, accounts.first_term_months[account], periods["billing"].to_numpy())
    amount = (periods["mrr"].to_numpy() * months).round(2)
    ids = pl.Series([f"v_{index:06d}" for index in range(n)], dtype=pl.String)
    due = day + np.array(DUE_DAYS)[accounts.segment[account]]
    due_on = pl.Series(calendar.date_texts()).gather(due)
    health = paths.recent_health[account, np.minimum(day, calendar.days - 1)]
    careless = rng.normal(0, 1, len(accounts))[account]
    strain = careless - 0.5 * health + rng.normal(0, 1, n)
    is_late, fails = strain > 1.9, (accounts.segment[account] == 0) & (strain < -2.6)
    never = is_late & (rng.random(n) < 0.06)
    paid = np.where(
        is_late, due + rng.integers(3, 35, n), np.maximum(day, due - rng.integers(0, 7, n))
    )
    paid = np.where(fails, day + rng.integers(3, 9, n), paid)
    parts = []

    def part(status: str, at: Ints, second: int, kept: Bools, delay: Ints | int) -> None:
        chosen = pl.Series(kept)
        parts.append(
            event_rows(
                "billing.invoice",
                account[kept],
                at[kept],
                np.full(int(kept.sum()), second),
                quantity=amount[kept],
                delay=delay if isinstance(delay, int) else delay[kept],
                properties=flat_json(
                    invoice_id=ids.filter(chosen), status=status, due_on=due_on.filter(chosen)
                ),
            )
        )

    every = np.ones(n, dtype=np.bool_)
    part("issued", day, 7200, every, 60)
    part("failed", day + 1, 10_800, fails, 60)
    part("late", due + 1, 3600, is_late & ~fails, 60)
    part("paid", paid, 43_200, ~never, rng.integers(0, 3, n) * 86_400 + 600)  # bank statements
    return pl.concat(parts)
