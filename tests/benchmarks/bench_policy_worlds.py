"""What the policy earns in companies whose truth is known, beside the rules and the best choice.

    python -m pytest tests/benchmarks/bench_policy_worlds.py -m bench -s

A log of quarters in which people chose is measured (``experiments/uplift``), the policy reads what
was found, and decides about new accounts; each decision is worth what it truly brings, net of its
cost. Beside it: the same policy on the playbook alone (the rules), and the best arm of every
account, which nobody can know. One history is one repeat; intervals are over repeats. Another
caution of the policy is tried by KEEPWELL_BENCH_CAUTION, on histories from another seed.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np
import pytest
from interleaved import write_section
from policy_worlds import LIMITS, OFFERS, WORLDS, decisions, history, learned, quarters, worth
from scipy import stats

from experiments.effects.belief import MeasuredEffects

pytestmark = pytest.mark.bench

SIZES = (500, 20_000)
REPEATS = int(os.environ.get("KEEPWELL_BENCH_REPEATS", "60"))
FIRST_SEED = int(os.environ.get("KEEPWELL_BENCH_FIRST_SEED", "0"))
CAUTION = float(os.environ.get("KEEPWELL_BENCH_CAUTION", LIMITS.caution))
NEW_ACCOUNTS = 1_500
HARMFUL = 1 + [offer.id for offer in OFFERS].index("reminder")


def test_the_policy_in_companies_whose_truth_is_known() -> None:
    rows, started = [], time.process_time()
    for world in WORLDS:
        for size in SIZES:
            seen = np.array([_one(world, size, FIRST_SEED + seed) for seed in range(REPEATS)])
            policy, rules, best, worst, nothing, rules_worst, rules_nothing = seen.T
            share = "– | –" if world == "null" else _shares(policy / best)
            rows.append(
                f"| {world} | {size:,} | {policy.mean():,.0f} | {share} | {rules.mean():,.0f} | "
                f"{best.mean():,.0f} | {_shown(policy - rules, '{:+,.1f}')} | {worst.mean():.1%} "
                f"({rules_worst.mean():.1%}) | {nothing.mean():.1%} ({rules_nothing.mean():.1%}) |"
            )
            print(rows[-1], flush=True)
    write_section(
        "The policy in companies whose truth is known",
        "\n".join(
            [
                f"{REPEATS} histories of each, {NEW_ACCOUNTS:,} new accounts decided about after each; US "
                "dollars an account and year, net of costs; 95 % intervals over histories. The history "
                "was decided by people who know the account's health (confounded), and all of it is among "
                "the covariates; null: no action does anything; harmful: the reminder raises the chance "
                "to leave by half; drifting: effects doubled over the two years of the history, and "
                "those of calls wear off; turned: in its middle trainings began to drive accounts away. "
                "Rules: the same policy on the playbook alone. In brackets: the rules. Value is counted "
                f"{CAUTION:g} deviations below its mean.",
                "",
                "| company | account-quarters | policy | of the best | median, worst | rules | best | "
                "policy − rules | chose the reminder | did nothing |",
                "|---" * 10 + "|",
                *rows,
                "",
                f"{time.process_time() - started:,.0f} cpu seconds in all.",
            ]
        ),
    )


def _one(world: str, size: int, seed: int) -> tuple[float, ...]:
    rng = np.random.default_rng([seed, size])
    evidence = learned(rng, *history(rng, world, size))
    now = quarters(rng, NEW_ACCOUNTS)
    brings, place = worth(now, world), np.arange(NEW_ACCOUNTS)
    limits = replace(LIMITS, caution=CAUTION)
    by_policy, by_rules = (decisions(now, known, limits) for known in (evidence, MeasuredEffects()))
    return (
        float(brings[place, by_policy].mean()),
        float(brings[place, by_rules].mean()),
        float(brings.max(axis=1).mean()),
        float((by_policy == HARMFUL).mean()),
        float((by_policy == 0).mean()),
        float((by_rules == HARMFUL).mean()),
        float((by_rules == 0).mean()),
    )


def _shares(of_the_best: np.ndarray) -> str:
    return (
        f"{_shown(of_the_best, '{:.1%}')} | {np.median(of_the_best):.1%}, {of_the_best.min():.1%}"
    )


def _shown(values: np.ndarray | list[float], form: str) -> str:
    array = np.asarray(values)
    reach = stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array))
    low, high = array.mean() - reach, array.mean() + reach
    return f"{form.format(array.mean())} ({form.format(low)} to {form.format(high)})"
