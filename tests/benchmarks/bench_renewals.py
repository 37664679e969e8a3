"""Leaving at the coming renewal, read off the churn curve: promised beside what happened.

Every row of a back-test on 48 simulated months has a renewal date and a curve from a model that
knew nothing later. Leaving at the renewal is the curve at the shortest horizon that holds the date,
as the service says it; beside it the curve interpolated to the date (hazard even between two
horizons). It happened where the contract ended by the date. In bands of days to the renewal, with
95 % intervals that draw whole accounts.
"""

from __future__ import annotations

import os
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from interleaved import write_section
from numpy.typing import NDArray
from training_worlds import TrainingWorld, simulated

from features.catalogue.catalogue import HEALTH_SCORE, load_catalogue
from training.backtest.groups import mean_over_accounts
from training.backtest.long_horizons import backtest_long_horizons
from training.backtest.run import BacktestRun, run_backtest
from training.dataset.labels import ROW, contract_endings, label_named
from training.metrics import account_draws, row_log_loss
from training.models.specs import LIGHTGBM

pytestmark = pytest.mark.bench

ACCOUNTS = int(os.environ.get("KEEPWELL_BENCH_ACCOUNTS", "800"))
ORIGINS, DRAWS = 4, 500
BANDS = ((0, 30), (30, 60), (60, 90), (90, 180), (180, 365))

Vector = NDArray[np.float64]


def played_on(world: TrainingWorld) -> BacktestRun:
    names = [f.name for f in load_catalogue().features if f.is_model_input] + [HEALTH_SCORE]
    told = world.snapshots.select(*ROW, "days_to_renewal").with_columns(who="account_id")
    return run_backtest(
        label_named("churn"),
        events=world.events,
        known_until=world.until,
        n_origins=ORIGINS,
        reader=lambda rows: rows.join(world.snapshots, on=ROW, how="left"),
        digests=dict.fromkeys(names, ""),
        cutoffs=tuple(world.snapshots["as_of"].unique().sort()),
        traits=lambda rows: rows.join(told, on=ROW, how="left"),
    )


def curve_of(played: BacktestRun, world: TrainingWorld) -> tuple[list[int], NDArray[np.float64]]:
    """The horizons, and every judged row's probabilities at them; NaN where not estimable."""
    rows = played.rows
    horizons, columns = list(rows.horizons), [*rows.probabilities[LIGHTGBM.name].T]
    place = {key: n for n, key in enumerate(zip(rows.account, rows.cutoff, strict=True))}
    for far in backtest_long_horizons(played, world.events, (LIGHTGBM,)):
        said = np.full(len(rows.account), np.nan)
        if far.rows is not None:
            keys = zip(far.rows.account, far.rows.cutoff, strict=True)
            said[[place[key] for key in keys]] = far.rows.probabilities[LIGHTGBM.name][:, 0]
        horizons.append(far.horizon)
        columns.append(said)
    return horizons, np.column_stack(columns)


def days_until_end(played: BacktestRun, world: TrainingWorld) -> Vector:
    """From each row's cutoff to the end of its contract; infinite where it goes on."""
    endings, _ = contract_endings(label_named("churn"), world.events.lazy(), world.until)
    ended = dict(endings.group_by("account_id").agg(pl.col("ended_at").max()).collect().iter_rows())
    cutoffs = played.prepared.training.cutoffs
    return np.array(
        [
            (ended[who] - cutoffs[at]) / timedelta(days=1) if who in ended else np.inf
            for who, at in zip(played.rows.traits["who"], played.rows.cutoff, strict=True)
        ]
    )


def test_leaving_at_the_renewal_beside_what_happened() -> None:
    world = simulated(accounts=ACCOUNTS, months=48)
    played = played_on(world)
    rows = played.rows
    horizons, curve = curve_of(played, world)
    days = np.array([np.nan if d is None else float(d) for d in rows.traits["days_to_renewal"]])
    ends = days_until_end(played, world)
    known_for = np.array(
        [(world.until - at) / timedelta(days=1) for at in played.prepared.training.cutoffs]
    )[rows.cutoff]
    draws = account_draws(rows.account, DRAWS, np.random.default_rng(1))
    with_start = np.column_stack((np.zeros(len(curve)), curve))
    lines = [
        "| days to the renewal | rows, accounts | left at it | promised, by the horizon that "
        "holds it | left minus promised | interpolated to the date | log loss, interpolated "
        "minus by the horizon |",
        "|---|---|---|---|---|---|---|",
    ]
    for first, last in BANDS:
        place = next(n for n, h in enumerate(horizons) if h >= last)
        closes, opens = horizons[place], ([0, *horizons])[place]
        promised, before = with_start[:, place + 1], with_start[:, place]
        inside = (days >= first) & (days < last) & (known_for >= closes) & ~np.isnan(promised)
        share = (days[inside] + 1 - opens) / (closes - opens)
        stays = (1 - before[inside]) * ((1 - promised[inside]) / (1 - before[inside])) ** share
        y = (ends[inside] < days[inside] + 1).astype(np.float64)
        account = rows.account[inside]
        gap = mean_over_accounts(y - promised[inside], account, draws)
        beside = mean_over_accounts(
            row_log_loss(y, np.clip(1 - stays, 1e-4, 1 - 1e-4)) - row_log_loss(y, promised[inside]),
            account,
            draws,
        )
        happened = mean_over_accounts(y, account, draws)
        lines.append(
            f"| {first} to {last - 1} | {inside.sum():,}, {len(np.unique(account)):,} | "
            f"{happened} | {promised[inside].mean():.3f} | "
            f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}) | {1 - stays.mean():.3f} | "
            f"{beside.value:+.4f} ({beside.low:+.4f} to {beside.high:+.4f}) |"
        )
        if last <= 90:
            assert beside.low > 0, "interpolating would be the better reading of the curve"
    told = (
        f"simulated company, {ACCOUNTS} accounts, 48 months, LightGBM with defaults at "
        f"{len(played.origins)} origins"
    )
    write_section("Leaving at the renewal", f"{told}:\n\n" + "\n".join(lines))
