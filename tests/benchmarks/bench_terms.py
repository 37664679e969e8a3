"""The term of a contract by its dates beside its billing period, in the renewal model.

Log loss and left over promised on later months with the months between two invoices for the term,
and with the term by dates; the difference has a 95 % interval that draws whole accounts. The last
company is the simulated one again, in which every contract is billed monthly.
"""

from __future__ import annotations

import os
from copy import copy

import numpy as np
import polars as pl
import pytest
from interleaved import write_section
from training_worlds import TrainingWorld, crm, simulated

from features.catalogue.definitions.contract import term_months
from training.metrics import account_draws, came_over_promised, row_log_loss
from training.models.model_selection import run_contender
from training.models.specs import RENEWAL_RISK, TERM
from training.pipeline.prepare import PreparedData

pytestmark = pytest.mark.bench

BILLING = "billing_months"
ACCOUNTS = int(os.environ.get("KEEPWELL_BENCH_ACCOUNTS", "800"))
DRAWS = 300


def billed_monthly(world: TrainingWorld) -> TrainingWorld:
    """The same contracts, billed every month."""
    monthly = pl.when(pl.col(BILLING).is_not_null()).then(1.0)
    world.snapshots = world.snapshots.with_columns(
        monthly.alias(BILLING), term_months(pl.col("term_days"), monthly).alias(TERM)
    )
    return world


def by_billing(world: TrainingWorld) -> TrainingWorld:
    """The billing period in place of the term."""
    other = copy(world)
    other.snapshots = world.snapshots.with_columns(pl.col(BILLING).alias(TERM))
    return other


def promised(prepared: PreparedData, draws: np.ndarray) -> dict[int, np.ndarray]:
    contender = run_contender(
        RENEWAL_RISK, prepared.training, prepared.before_test, prepared.test,
        RENEWAL_RISK.parameters, draws, at=prepared.split.test[0], seed=0,
    )  # fmt: skip
    return {h: np.asarray(contender.probabilities[h]) for h in prepared.training.horizons}


def compared(name: str, world: TrainingWorld) -> list[str]:
    prepared = world.prepared()
    training, test = prepared.training, prepared.test
    account = training.account[test]
    few = account_draws(training.account, 2, np.random.default_rng(0))
    draws = account_draws(training.account, DRAWS, np.random.default_rng(0))
    before, after = promised(by_billing(world).prepared(), few), promised(prepared, few)
    n = draws.shape[1]
    rows = np.bincount(account, minlength=n)
    lines = []
    for position, horizon in enumerate(training.horizons):
        came = training.outcomes[test, position]
        losses = [row_log_loss(came, said[horizon]) for said in (before, after)]
        apart = np.bincount(account, losses[1] - losses[0], n)
        low, high = np.percentile((draws @ apart) / (draws @ rows), [2.5, 97.5])
        levels = [
            came_over_promised(came, said[horizon], account, draws) for said in (before, after)
        ]
        lines.append(
            f"| {name} | {horizon} | {losses[0].mean():.4f} | {losses[1].mean():.4f} | "
            f"{(losses[1] - losses[0]).mean():+.4f} ({low:+.4f} to {high:+.4f}) | "
            + " | ".join(f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})" for one in levels)
            + " |"
        )
    return lines


def test_the_term_by_dates() -> None:
    lines = [
        "| | days | log loss by billing | by dates | difference | left over promised by billing "
        "| by dates |",
        "|---|---|---|---|---|---|---|",
    ]
    apart = compared("CRM sample", crm())
    world = simulated(accounts=ACCOUNTS, seed=101)
    apart += compared("simulated company", world)
    apart += compared("the same, billed monthly", billed_monthly(world))
    print("\n".join([*lines, *apart]))
    write_section("Term by dates", "\n".join([*lines, *apart]))
