"""Whom to act on in lotteries whose truth is known: does judging levels by their decisions harm?

    python -m pytest tests/benchmarks/bench_whom_to_act_on.py -m bench -s

Two actions and none, drawn evenly; an account that stays is worth about 100 a year, an action costs
money. What each way of deciding brings is read from the true chances of other accounts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from interleaved import write_section
from scipy import stats

from experiments.uplift.arms import NO_ACTION, ArmSample
from experiments.uplift.levels import account_effects, effects_at
from experiments.uplift.scores import cross_fit
from experiments.uplift.whom_to_act_on import decide

pytestmark = pytest.mark.bench

REPEATS = int(os.environ.get("KEEPWELL_BENCH_REPEATS", "8"))
FIRST_SEED = int(os.environ.get("KEEPWELL_BENCH_FIRST_SEED", "0"))
TRIALS, ASKED = 1_500, 3_000
COST = np.array([0.0, 4.0, 2.0])
TYPICAL_SPREAD = 5.0

Effects = Callable[[np.ndarray], np.ndarray]
"""Covariates to points of staying of both actions, accounts x 2."""

WORLDS: Mapping[str, Effects] = {
    "the same for all": lambda x: np.tile([0.08, 0.01], (len(x), 1)),
    "nothing works": lambda x: np.zeros((len(x), 2)),
    "differs a little": lambda x: np.column_stack([0.05 + 0.03 * x[:, 0], 0.02 + 0.02 * x[:, 1]]),
    "helps some, harms others": lambda x: np.column_stack([
        np.where(x[:, 0] > 0, 0.2, -0.2), np.where(x[:, 1] > 1, 0.15, -0.05)]),
}
WAYS = ("by value (served)", "by loss", "the stack, asked for nothing", "everybody alike")


def test_whom_to_act_on() -> None:
    rows, started = [], time.process_time()
    for name, effects in WORLDS.items():
        found = np.array([_one(effects, FIRST_SEED + seed) for seed in range(REPEATS)])
        best, brought, finer = found[:, 0], found[:, 1:1 + len(WAYS)], found[:, -1]
        served = brought[:, 0]
        rows.append(f"| {name} | {best.mean():.2f} | " + " | ".join(
            f"{value:.2f}" for value in brought.mean(axis=0)) + " | "
            + " | ".join(_shown(served - brought[:, place]) for place in range(1, len(WAYS)))
            + f" | {finer.mean():.0%} |")
        print(rows[-1], flush=True)
    write_section("Whom to act on: simulated lotteries", "\n".join([
        f"{REPEATS} lotteries of {TRIALS:,} accounts over two actions and none, {ASKED:,} others "
        f"decided about; USD an account and year less {COST[1]:.0f} and {COST[2]:.0f} USD for the "
        f"actions, beyond doing nothing, by the true chances; 95 % intervals over lotteries. By "
        f"value: the level whose held-out decisions brought most, over five draws of folds; by "
        f"loss: the finer level only where its held-out loss is better with confidence.", "",
        "| effects | best | " + " | ".join(WAYS) + " | "
        + " | ".join(f"served − {way}" for way in WAYS[1:]) + " | decided finer |",
        "|---" * (2 + 2 * len(WAYS)) + "|", *rows, "",
        f"{time.process_time() - started:,.0f} cpu seconds in all."]))


def _one(effects: Effects, seed: int) -> tuple[float, ...]:
    rng = np.random.default_rng([seed, 31])
    x, new = rng.normal(size=(TRIALS, 5)), rng.normal(size=(ASKED, 5))
    worth = 100 * np.exp(0.3 * rng.normal(size=TRIALS))
    arm = rng.integers(0, 3, TRIALS)
    chance = 0.7 + 0.1 * np.tanh(x[:, 2]) + np.column_stack([np.zeros(TRIALS), effects(x)])[
        np.arange(TRIALS), arm]
    outcome = worth * (rng.random(TRIALS) < chance)
    sample = ArmSample(
        covariates=x, covariate_names=tuple("abcde"), arm=arm, arms=(NO_ACTION, "first", "second"),
        propensity=np.full((TRIALS, 3), 1 / 3), segment=_segment(x), cluster=np.arange(TRIALS))
    scores = cross_fit(sample, outcome, rng=rng, repeats=1)
    true = np.column_stack([np.zeros(ASKED), 100 * np.exp(0.045) * effects(new)]) - COST
    asked = {"asked": new, "asked_segment": _segment(new), "typical_spread": TYPICAL_SPREAD}
    served = decide(scores, outcome, cost=COST, rng=rng, **asked)
    levels = [account_effects(scores, outcome, name, rng=rng, **asked).estimates
              for name in sample.arms[1:]]
    stack = [effects_at("account", scores, outcome, name, rng=rng, **asked)
             for name in sample.arms[1:]]
    alike = [np.full(ASKED, scores.middle(number).mean()) for number in (1, 2)]
    chosen = [served.arm, *((np.column_stack([np.zeros(ASKED), *way]) - COST).argmax(axis=1)
                            for way in (levels, stack, alike))]
    return (float(true.max(axis=1).mean()),
            *(float(true[np.arange(ASKED), arms].mean()) for arms in chosen),
            float(served.level != "everybody"))


def _segment(x: np.ndarray) -> np.ndarray:
    return np.array(["low", "middle", "high"])[np.digitize(x[:, 0], [-0.5, 0.5])]


def _shown(values: np.ndarray) -> str:
    middle = float(values.mean())
    if len(values) < 2 or values.std() == 0:
        return f"{middle:+.2f}"
    reach = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{middle:+.2f} ({middle - reach:+.2f} to {middle + reach:+.2f})"
