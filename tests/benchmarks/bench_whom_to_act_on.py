"""Whom to act on in lotteries whose truth is known: what does each way of deciding bring?

    python -m pytest tests/benchmarks/bench_whom_to_act_on.py -m bench -s

Two actions and none, drawn evenly. Once an account that stays is worth about 100 a year; once few
buy, for amounts that are lognormal, and the actions are e-mails (a quarter of Hillstrom's customers
who buy four times as often, so chance is as large as there); once e-mails change who visits, of
whom some buy. What each way brings is read from the true means of other accounts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from effect_learners import LEARNERS, Lesson
from held_out_levels import account_effects
from interleaved import write_section
from scipy import stats

from experiments.causal.estimators.aipw import cross_fit
from experiments.causal.estimators.nuisances import design_matrix
from experiments.causal.sample import NO_ACTION, Sample
from experiments.targeting.arm_policy import decide_arms
from experiments.targeting.outcome_model import expected_outcomes

pytestmark = pytest.mark.bench

REPEATS = int(os.environ.get("KEEPWELL_BENCH_REPEATS", "20"))
FIRST_SEED = int(os.environ.get("KEEPWELL_BENCH_FIRST_SEED", "1000"))
"""Lotteries of smaller seeds were looked at when the way of deciding was chosen."""

SERVED, TOLD_APART = "served", "always told apart"
BY_OWN, ALIKE = "the same for everybody, by what is expected", "always the best arm"
WITHOUT_STAGES = "always told apart, stages not told"
BY_LOSS, STACK = "finer only where loss is better", "the stack, asked for nothing"
WAYS = (SERVED, TOLD_APART, BY_OWN, ALIKE, BY_LOSS, STACK, *LEARNERS)
WAYS_BY_STAGES = (SERVED, TOLD_APART, WITHOUT_STAGES, *WAYS[2:])
AMOUNT, DEVIATION = 116.0, 0.84
"""Mean USD of who buys, and the deviation of its logarithm, as among Hillstrom's customers."""


@dataclass(frozen=True, kw_only=True)
class Lottery:
    """Trials, others to decide about, and what every arm brings these on average."""

    trials: Sample
    outcome: np.ndarray
    asked: np.ndarray
    asked_segment: np.ndarray
    true: np.ndarray
    cost: np.ndarray
    typical_spread: float
    stages: np.ndarray | None = None


USUAL = 0.023
"""Chance to buy untouched."""

Chances = Callable[[np.ndarray], np.ndarray]
"""Covariates to points of staying of both actions, accounts x 2."""

STAYING: Mapping[str, Chances] = {
    "the same for all": lambda x: np.tile([0.08, 0.01], (len(x), 1)),
    "nothing works": lambda x: np.zeros((len(x), 2)),
    "differs a little": lambda x: np.column_stack([0.05 + 0.03 * x[:, 0], 0.02 + 0.02 * x[:, 1]]),
    "helps some, harms others": lambda x: np.column_stack(
        [np.where(x[:, 0] > 0, 0.2, -0.2), np.where(x[:, 1] > 1, 0.15, -0.05)]
    ),
}

Changed = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""(facts about ±1, chance to buy untouched, drawn) -> chances added by both actions, and how often
more is spent; accounts x 2"""

BUYING: Mapping[str, Changed] = {
    "the same points for all": lambda x, p, draw: (
        USUAL * np.tile(_sizes(draw), (len(x), 1)),
        np.ones((len(x), 2)),
    ),
    "in proportion": lambda x, p, draw: (p[:, None] * _sizes(draw), np.ones((len(x), 2))),
    "one by a flag": lambda x, p, draw: (
        p[:, None] * (_sizes(draw) + draw.uniform(0.5, 1.2) * np.outer(x[:, 3], [-0.3, 0.7])),
        np.ones((len(x), 2)),
    ),
    "by several facts": lambda x, p, draw: (
        p[:, None] * (_sizes(draw) + draw.uniform(0.5, 1.2) * _leaning(x, draw)),
        np.ones((len(x), 2)),
    ),
    "crosswise by two facts": lambda x, p, draw: (
        p[:, None] * (_sizes(draw) + draw.uniform(0.3, 0.7) * _crosswise(x, draw)),
        np.ones((len(x), 2)),
    ),
    "helps some buy, harms others": lambda x, p, draw: (
        USUAL * (0.4 * _sizes(draw) + draw.uniform(0.5, 1.2) * np.sign(_leaning(x, draw))),
        np.ones((len(x), 2)),
    ),
    "amounts, not chances": lambda x, p, draw: (
        p[:, None] * np.array([0.3, 0.2]),
        np.exp([0.35, 0.15] + draw.uniform(0.1, 0.4) * _leaning(x, draw)),
    ),
    "most where least is bought": lambda x, p, draw: (
        np.clip(USUAL**2 / p[:, None] * _sizes(draw), 0, 0.3),
        np.ones((len(x), 2)),
    ),
    "one goes against buying": lambda x, p, draw: (
        USUAL * _sizes(draw) * (1 - np.outer(np.tanh(2 * np.log(p / USUAL)), [1, 0])),
        np.ones((len(x), 2)),
    ),
    "no e-mail works": lambda x, p, draw: (np.zeros((len(x), 2)), np.ones((len(x), 2))),
}

VISITING = (
    "the same points for all",
    "in proportion",
    "one by a flag",
    "by several facts",
    "helps some buy, harms others",
    "no e-mail works",
)
"""Kinds of the above that once more change who visits, of whom some buy."""


def _sizes(draw: np.random.Generator) -> np.ndarray:
    return np.array([draw.uniform(0.7, 1.6), draw.uniform(0.2, 0.9)])


def _leaning(x: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return np.tanh(x @ draw.normal(size=(x.shape[1], 2)) / 3)


def _crosswise(x: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    one, two, three, four = draw.permutation(x.shape[1])[:4]
    return np.column_stack([np.sign(x[:, one] * x[:, two]), np.sign(x[:, three] * x[:, four])])


def of_staying(effects: Chances, seed: int) -> Lottery:
    rng = np.random.default_rng([seed, 31])
    rows, others = 1_500, 3_000
    x, new = rng.normal(size=(rows, 5)), rng.normal(size=(others, 5))
    worth = 100 * np.exp(0.3 * rng.normal(size=rows))
    arm = rng.integers(0, 3, rows)
    chance = (
        0.7
        + 0.1 * np.tanh(x[:, 2])
        + np.column_stack([np.zeros(rows), effects(x)])[np.arange(rows), arm]
    )
    return Lottery(
        trials=_trials(x, arm, _thirds(x)),
        outcome=worth * (rng.random(rows) < chance),
        asked=new,
        asked_segment=_thirds(new),
        cost=np.array([0.0, 4.0, 2.0]),
        typical_spread=5.0,
        true=np.column_stack([np.zeros(others), 100 * np.exp(0.045) * effects(new)]),
    )


def of_buying(changed: Changed, seed: int) -> Lottery:
    rng, world = (
        np.random.default_rng([seed, 32]),
        int(np.random.default_rng([seed, 33]).integers(2**31)),
    )
    rows, others = 8_000, 4_000
    draw = np.random.default_rng(world)
    toward_buying, toward_much = draw.normal(0, 0.15, (2, 9))
    base = draw.uniform(0.018, 0.028)
    facts, kind = _customers(rows + others, rng)
    x = _about_one(facts)
    p = base * np.exp(x @ toward_buying)
    added, more = changed(x, p, np.random.default_rng([world, 1]))
    chance = np.clip(p[:, None] + np.column_stack([np.zeros(len(x)), added]), 0.001, 0.6)
    amount = AMOUNT * np.exp(x @ toward_much)[:, None] * np.column_stack([np.ones(len(x)), more])
    arm = rng.integers(0, 3, rows)
    own = np.arange(rows), arm
    spent = amount[own] * np.exp(DEVIATION * rng.normal(size=rows) - DEVIATION**2 / 2)
    return Lottery(
        trials=_trials(facts[:rows], arm, kind[:rows]),
        asked=facts[rows:],
        outcome=spent * (rng.random(rows) < chance[own]),
        asked_segment=kind[rows:],
        true=(chance * amount)[rows:],
        cost=np.array([0.0, 2.0, 2.0]),
        typical_spread=2.0,
    )


def of_visiting(changed: Changed, seed: int) -> Lottery:
    """As ``of_buying``, but what is changed is who visits; every second time e-mails also change
    how many of the visitors buy."""
    rng, world = np.random.default_rng([seed, 52]), np.random.default_rng([seed, 53])
    rows, others = 8_000, 4_000
    toward_visit, toward_buying, toward_much = world.normal(0, 0.15, (3, 9))
    scale = 0.15 / USUAL  # so many more visit than would buy
    facts, kind = _customers(rows + others, rng)
    x = _about_one(facts)
    p = world.uniform(0.8, 1.2) * USUAL * np.exp(x @ toward_visit)
    added, more = changed(x, p, np.random.default_rng([seed, 54]))
    visits = np.clip(
        scale * (p[:, None] + 0.6 * np.column_stack([np.zeros(len(x)), added])), 0.005, 0.9
    )
    buys = np.clip(
        0.15
        * np.exp(x @ toward_buying)[:, None]
        * np.exp([0, *(0.25 * (seed % 2) * world.normal(size=2))]),
        0.01,
        0.9,
    )
    amount = AMOUNT * np.exp(x @ toward_much)[:, None] * np.column_stack([np.ones(len(x)), more])
    arm = rng.integers(0, 3, rows)
    own = np.arange(rows), arm
    visited = rng.random(rows) < visits[own]
    bought = visited & (rng.random(rows) < buys[own])
    spent = amount[own] * np.exp(DEVIATION * rng.normal(size=rows) - DEVIATION**2 / 2)
    return Lottery(
        trials=_trials(facts[:rows], arm, kind[:rows]),
        asked=facts[rows:],
        outcome=spent * bought,
        asked_segment=kind[rows:],
        true=(visits * buys * amount)[rows:],
        stages=visited[:, None],
        cost=np.array([0.0, 1.0, 1.0]),
        typical_spread=1.0,
    )


def _about_one(facts: np.ndarray) -> np.ndarray:
    return np.column_stack(
        [(facts[:, 0] - 6.5) / 3.45, np.log(facts[:, 1]) - 5, 2 * facts[:, 2:] - 1]
    )


def _customers(rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Months since the last purchase, USD of a year, seven flags; and what they bought before."""
    kind = rng.choice(3, rows, p=[0.45, 0.45, 0.1])
    area, channel = (
        rng.choice(3, rows, p=[0.15, 0.4, 0.45]),
        rng.choice(3, rows, p=[0.12, 0.44, 0.44]),
    )
    return np.column_stack(
        [
            rng.integers(1, 13, rows),
            np.clip(np.exp(rng.normal(5, 1, rows)), 30, 3000),
            kind != 1,
            kind != 0,
            rng.random(rows) < 0.5,
            area == 1,
            area == 2,
            channel == 1,
            channel == 2,
        ]
    ).astype(float), np.array(["men's", "women's", "both"])[kind]


def _trials(x: np.ndarray, arm: np.ndarray, segment: np.ndarray) -> Sample:
    return Sample(
        covariates=x,
        covariate_names=tuple(f"x{place}" for place in range(x.shape[1])),
        arm=arm,
        arms=(NO_ACTION, "first", "second"),
        propensity=np.full((len(x), 3), 1 / 3),
        segment=segment,
        cluster=np.arange(len(x)),
    )


def _thirds(x: np.ndarray) -> np.ndarray:
    return np.array(["low", "middle", "high"])[np.digitize(x[:, 0], [-0.5, 0.5])]


def test_whom_to_act_on() -> None:
    parts = []
    for title, ways, worlds in (
        (
            "Staying, 1,500 accounts, actions for 4 and 2 USD.",
            WAYS,
            {
                name: lambda seed, effects=effects: of_staying(effects, seed)
                for name, effects in STAYING.items()
            },
        ),
        (
            "Buying, 8,000 customers, e-mails for 2 USD.",
            WAYS,
            {
                name: lambda seed, changed=changed: of_buying(changed, seed)
                for name, changed in BUYING.items()
            },
        ),
        (
            "Visiting and then buying, 8,000 customers, e-mails for 1 USD; served is told who "
            "visited.",
            WAYS_BY_STAGES,
            {
                name: lambda seed, changed=BUYING[name]: of_visiting(changed, seed)
                for name in VISITING
            },
        ),
    ):
        rows, every, started = [], [], time.process_time()
        for name, world in worlds.items():
            found = np.array([_one(world(FIRST_SEED + seed), ways) for seed in range(REPEATS)])
            every.append(found)
            rows.append(_row(name, found))
            print(rows[-1], flush=True)
        rows.append(_row("all, mean", np.mean(every, axis=0)))
        parts += [
            title,
            "",
            "| effects | best | "
            + " | ".join(ways)
            + " | "
            + " | ".join(f"served − {way}" for way in ways[1:])
            + " |",
            "|---" * (1 + 2 * len(ways)) + "|",
            *rows,
            "",
            f"{time.process_time() - started:,.0f} cpu seconds.",
            "",
        ]
    write_section(
        "Whom to act on: simulated lotteries",
        "\n".join(
            [
                f"{REPEATS} lotteries of each kind over two actions and none; 3,000 and 4,000 others are "
                f"decided about. USD an account less what the actions cost, beyond doing nothing, by the "
                f"true means; 95 % intervals over lotteries.",
                "",
                *parts,
            ]
        ),
    )


def _row(name: str, found: np.ndarray) -> str:
    best, brought = found[:, 0], found[:, 1:]
    return (
        f"| {name} | {best.mean():.2f} | "
        + " | ".join(f"{value:.2f}" for value in brought.mean(axis=0))
        + " | "
        + " | ".join(_shown(brought[:, 0] - other) for other in brought[:, 1:].T)
        + " |"
    )


def _one(lottery: Lottery, ways: tuple[str, ...]) -> tuple[float, ...]:
    rng = np.random.default_rng(1)
    trials, outcome, cost = lottery.trials, lottery.outcome, lottery.cost
    others = len(lottery.asked)
    scores = cross_fit(trials, outcome, rng=rng, repeats=1)
    asked = {"asked": lottery.asked, "asked_segment": lottery.asked_segment}
    decided = decide_arms(
        scores,
        outcome,
        cost=cost,
        asked=lottery.asked,
        reached=lottery.stages,
        rng=np.random.default_rng(2),
    )
    chosen = {
        SERVED: decided.arm,
        TOLD_APART: decided.told_apart,
        BY_OWN: np.full(others, decided.alike),
    }
    gains = {name: np.zeros((others, 3)) for name in ways if name not in chosen}
    if WITHOUT_STAGES in ways:
        gains[WITHOUT_STAGES] = expected_outcomes(trials, outcome, asked=lottery.asked)
    covariates = np.vstack([trials.covariates, lottery.asked])
    known = np.arange(len(covariates)) < len(trials)
    for action in (1, 2):
        found = account_effects(
            scores,
            outcome,
            trials.arms[action],
            rng=rng,
            typical_spread=lottery.typical_spread,
            **asked,
        )
        gains[ALIKE][:, action] = scores.middle(action).mean()
        gains[BY_LOSS][:, action] = found.estimates
        lesson = Lesson(
            covariates=covariates,
            matrix=design_matrix(covariates),
            action=action,
            arm=np.concatenate([trials.arm, np.full(others, -1)]),
            outcome=np.concatenate([outcome, np.zeros(others)]),
            score=np.concatenate([scores.middle(action), np.zeros(others)]),
            cluster=np.arange(len(covariates)),
        )
        for name, learner in LEARNERS.items():
            gains[name][:, action] = learner(lesson, known, ~known, 1)
        gains[STACK][:, action] = found.stack.mixed(
            {name: gains[name][:, action] for name in LEARNERS},
            {name: float(gains[name][:, action].mean()) for name in LEARNERS},
            rows=others,
        )
    chosen |= {name: (gain - cost).argmax(axis=1) for name, gain in gains.items()}
    beyond = lottery.true - lottery.true[:, [0]] - cost
    return (
        float(beyond.max(axis=1).mean()),
        *(float(beyond[np.arange(others), chosen[way]].mean()) for way in ways),
    )


def _shown(values: np.ndarray) -> str:
    middle = float(values.mean())
    if len(values) < 2 or values.std() == 0:
        return f"{middle:+.2f}"
    reach = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{middle:+.2f} ({middle - reach:+.2f} to {middle + reach:+.2f})"
