"""Risk if untreated beside the truth: what is fitted on top of the plain risk, and what it brings.

Simulated companies tell each account's chance to leave with no further intervention, as the best
forecaster could know it. In one kind everybody is called by judgement, so the risky are treated; in
one the same calls do nothing; in one the company tries what it usually does, much of it by lottery.
Every form is fitted to the same rows, with the same plain scores of other accounts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
from interleaved import write_section
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from training_worlds import TrainingWorld

from experiments.simulation.interventions import PROGRAMMES, Programme
from experiments.simulation.settings import WorldSettings
from experiments.simulation.world import simulate
from features.catalogue.catalogue import load_catalogue
from features.compute.backfill import month_starts
from features.compute.snapshots import build_snapshots
from features.events.schema import UTC_INSTANT
from registry.bundle.calibration import sigmoid
from training.backtest.groups import mean_over_accounts
from training.dataset.labels import ROW
from training.dataset.training_set import FIFTHS, TrainingSet
from training.dataset.treatments import TreatedRows, treated_rows, treated_shares, treatment_log
from training.metrics import account_draws
from training.models.fitting.held_out import scores_by_fifths
from training.models.model_selection import usable_columns
from training.models.specs import LIGHTGBM
from training.models.untreated_risk import (
    SPREADS,
    HorizonInterval,
    logit_weights,
    treatment_chance,
    treatment_intervals,
    treatment_predictors,
)

pytestmark = pytest.mark.bench

ACCOUNTS = int(os.environ.get("KEEPWELL_BENCH_ACCOUNTS", "1000"))
REPEATS = int(os.environ.get("KEEPWELL_BENCH_REPEATS", "3"))
MONTHS, DRAWS, SEED, HORIZON = 24, 500, 1, 90
PLAIN, TODAY = "plain risk", "shift, and the chance of being treated (today's)"

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


def calls(*factors: float) -> tuple[Programme, ...]:
    """Every account near its renewal may be called, by how bad it looks."""
    return (
        Programme(
            name="call_by_judgement",
            action="success_call",
            assignment="judgement",
            group="runway",
            lane=None,
            factors=(factors[0], factors[1], factors[2]),
        ),
    )


WORLDS: Mapping[str, tuple[Programme, ...]] = {
    "the risky are called, which helps": calls(0.30, 0.25, 0.20),
    "the risky are called, which does nothing": calls(1.0, 1.0, 1.0),
    "as it usually is": PROGRAMMES,
}


@dataclass(frozen=True)
class Task:
    """A world's rows, who was treated when, and the true risk without further interventions."""

    training: TrainingSet
    treated: TreatedRows
    truth: Vector  # per row, NaN where it is not known
    near: Vector
    intervals: list[HorizonInterval]
    chance: Vector
    columns: list[int]

    @property
    def rows(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.truth) & ~np.isnan(self.training.outcome)


def task_of(programmes: tuple[Programme, ...], seed: int) -> Task:
    settings = WorldSettings(accounts=ACCOUNTS, months=MONTHS)
    world = simulate(settings, np.random.default_rng(seed), programmes=programmes)
    events = world.events.with_columns(superseded_at=pl.lit(None, UTC_INSTANT))
    first = dict(events.group_by("kind").agg(pl.col("recorded_at").min()).iter_rows())
    until = settings.calendar.ends_at
    snapshots = build_snapshots(
        events,
        month_starts(settings.calendar.starts_at.replace(month=2), until),
        load_catalogue(),
        first_recorded=first,
        threads=1,
    )
    prepared = TrainingWorld(events, snapshots, until).prepared()
    training = prepared.training
    treated = treated_rows(training, prepared.labelled, treatment_log(events, until))
    columns = usable_columns(training, ~np.isnan(training.outcome), LIGHTGBM)
    near = scores_by_fifths(
        LIGHTGBM,
        training,
        ~np.isnan(training.outcome),
        columns,
        LIGHTGBM.parameters,
        seed=SEED,
    )
    keys = pl.DataFrame(
        {
            "account_id": [training.accounts[i] for i in training.account],
            "as_of": pl.Series([training.cutoffs[i] for i in training.cutoff], dtype=UTC_INSTANT),
        }
    )
    chances = world.truth.chances.with_columns(pl.col("as_of").cast(UTC_INSTANT))
    truth = keys.join(chances, on=ROW, how="left", maintain_order="left")
    return Task(
        training,
        treated,
        truth[f"churn_probability_{HORIZON}d"].to_numpy().copy(),
        near,
        treatment_intervals(
            training, treated, {}, treatment_predictors(training, treated, near), at=until
        ),
        treatment_chance(training, treated, columns, at=until)[0],
        columns,
    )


def forms(task: Task) -> dict[str, Vector]:
    """What every form says of every row."""
    near, chance = task.near, task.chance
    rows = np.concatenate([one.rows for one in task.intervals])
    outcome = np.concatenate([one.outcome for one in task.intervals])
    weight = np.concatenate([one.weight for one in task.intervals])
    accounts = len(np.unique(task.training.account))
    share = accounts / max(len(one.rows) for one in task.intervals)
    t = np.clip(chance, *np.quantile(chance[rows], [0.01, 0.99]))
    t = t - t[rows].mean()
    plain = []
    for one in task.intervals:
        f = np.column_stack((np.ones(len(one.rows)), near[one.rows]))
        w = logit_weights(
            f, one.outcome, np.zeros(len(f)), np.ones(len(f)), precision=np.full(2, 1e-6)
        )
        plain.append(w[0] + w[1] * near)
    means = [float(odds[one.rows].mean()) for odds, one in zip(plain, task.intervals, strict=True)]

    def by(design: Callable[[int], Matrix], w: Vector, spreads: tuple[float, ...]) -> Vector:
        """Fit a design of each interval on top of the plain log-odds, and say it of all rows."""
        columns = [design(k) for k in range(len(plain))]
        fitted = logit_weights(
            np.concatenate([x[one.rows] for x, one in zip(columns, task.intervals, strict=True)]),
            outcome,
            np.concatenate(
                [odds[one.rows] for odds, one in zip(plain, task.intervals, strict=True)]
            ),
            share * w,
            precision=1 / np.array(spreads) ** 2,
        )
        stays = np.ones(len(near))
        for x, odds in zip(columns, plain, strict=True):
            stays = stays * (1 - sigmoid(odds + x @ fitted))
        return 1 - stays

    one = np.ones(len(near))
    slope = [odds - mean for odds, mean in zip(plain, means, strict=True)]
    places = np.eye(len(plain))
    stays = np.ones(len(near))
    for odds in plain:
        stays = stays * (1 - sigmoid(odds))
    both = (SPREADS[0], SPREADS[1])
    return {
        PLAIN: 1 - stays,
        "treated rows left out, not weighted": by(
            lambda k: np.column_stack((one, t)), (weight > 0).astype(float), both
        ),
        "shift": by(lambda k: one[:, None], weight, (1.0,)),
        "a shift for each horizon": by(
            lambda k: np.tile(places[k], (len(one), 1)), weight, (1.0,) * len(plain)
        ),
        "shift and slope": by(lambda k: np.column_stack((one, slope[k])), weight, both),
        TODAY: by(lambda k: np.column_stack((one, t)), weight, both),
        "shift, slope and the chance of being treated": by(
            lambda k: np.column_stack((one, slope[k], t)), weight, (*both, SPREADS[1])
        ),
        "a LightGBM of its own, weighted": own(task),
    }


def own(task: Task) -> Vector:
    """Trees fitted to the untreated rows alone, each with its weight."""
    training = task.training
    x = training.matrix[:, task.columns]
    weight = np.zeros(len(x))
    for one in task.intervals:  # the last interval that a row is in says what it stands for
        weight[one.rows] = one.weight
    settings = {
        **LIGHTGBM.parameters,
        "objective": "binary",
        "verbosity": -1,
        "num_threads": 1,
        "bagging_freq": 1,
        "seed": SEED,
        "deterministic": True,
    }
    rounds = int(settings.pop("rounds"))
    settings |= {name: int(settings[name]) for name in ("num_leaves", "min_data_in_leaf")}
    said = np.empty(len(x))
    for fifth in range(FIFTHS):
        out = training.account % FIFTHS == fifth
        rows = (weight > 0) & ~np.isnan(training.outcome) & ~out
        booster = lgb.train(
            settings, lgb.Dataset(x[rows], training.outcome[rows], weight=weight[rows]), rounds
        )
        said[out] = booster.predict(x[out], num_threads=1)
    return said


def table(tasks: list[Task]) -> str:
    said: dict[str, list[Vector]] = {}
    truth, account, risky, before = [], [], [], 0
    for task in tasks:
        rows = task.rows
        for name, p in forms(task).items():
            said.setdefault(name, []).append(p[rows])
        truth.append(task.truth[rows])
        account.append(task.training.account[rows] + before)
        before += len(task.training.accounts)
        risky.append(task.chance[rows] >= np.quantile(task.chance[rows], 0.8))
    y, who, most = np.concatenate(truth), np.concatenate(account), np.concatenate(risky)
    draws = account_draws(who, DRAWS, np.random.default_rng(SEED))
    every = {name: np.concatenate(parts) for name, parts in said.items()}
    share = treated_shares(tasks[0].training, tasks[0].treated, {})[HORIZON]
    worth = np.mean(
        [np.sum(t.intervals[-1].weight) ** 2 / np.sum(t.intervals[-1].weight ** 2) for t in tasks]
    )
    lines = [
        f"{len(tasks)} companies of {ACCOUNTS:,} accounts, {len(y):,} rows; in the first "
        f"{share.treated:,} of {share.rows:,} labels were treated; the untreated rows are worth "
        f"{worth:,.0f} rows each. True risk if untreated {y.mean():.4f} on average, "
        f"{y[most].mean():.4f} in the fifth most likely to be treated.",
        "",
        "| | RMSE to the truth | squared error minus that of the plain risk, × 1000 | said minus "
        "true | in the fifth most likely to be treated |",
        "|---|---|---|---|---|",
    ]
    for name, p in every.items():
        gap = mean_over_accounts(1000 * ((p - y) ** 2 - (every[PLAIN] - y) ** 2), who, draws)
        beside = "–" if name == PLAIN else f"{gap.value:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})"
        off, there = (
            mean_over_accounts(p - y, who, draws),
            mean_over_accounts((p - y)[most], who[most], draws),
        )
        lines.append(
            f"| {name} | {np.sqrt(((p - y) ** 2).mean()):.4f} | {beside} | "
            f"{off.value:+.4f} ({off.low:+.4f} to {off.high:+.4f}) | "
            f"{there.value:+.4f} ({there.low:+.4f} to {there.high:+.4f}) |"
        )
    return "\n".join(lines)


def test_every_form_of_the_risk_if_untouched_beside_the_truth() -> None:
    parts = []
    with threadpool_limits(limits=1):
        for number, (name, programmes) in enumerate(WORLDS.items()):
            tasks = [task_of(programmes, 100 * number + repeat) for repeat in range(REPEATS)]
            parts.append(f"**{name}**: {table(tasks)}\n")
            print(parts[-1], flush=True)
    write_section("Risk if untreated", "\n".join(parts))
