"""Few churners: what a model has learned from 20, 50 or 100 accounts that left.

Accounts are drawn from the training part until so many of them have left; every contender is
fitted to their rows, calibrated on their rows and judged on the test rows of all accounts, which
are later. Repeated, since which accounts have left decides more than the model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from interleaved import write_section
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from training_worlds import WORLDS, world_named

from training.dataset.training_set import TrainingSet
from training.models.model_selection import run_contender
from training.models.specs import (
    BASE_RATE,
    FORMULA,
    FORMULA_PRIOR,
    LIGHTGBM,
    LOGISTIC,
    ModelSpec,
)
from training.pipeline.prepare import PreparedData

pytestmark = pytest.mark.bench

REPEATS = int(os.environ.get("KEEPWELL_BENCH_REPEATS", "12"))
CHURNED = (20, 50, 100)

PLAIN = ModelSpec(
    name="plain",
    title="LightGBM, its own defaults",
    form="trees",
    parameters={
        "learning_rate": 0.1,
        "num_leaves": 31,
        "min_data_in_leaf": 20,
        "lambda_l2": 0.0,
        "feature_fraction": 1.0,
        "bagging_fraction": 1.0,
        "rounds": 100,
    },
)
CONTENDERS = (FORMULA_PRIOR, LOGISTIC, LIGHTGBM, PLAIN, FORMULA, BASE_RATE)
MUST_LOSE = (FORMULA, LIGHTGBM, PLAIN)

Losses = Mapping[str, list[float]]


def drawn(prepared: PreparedData, churned: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Accounts in a random order, up to the one that is the last so many to have left."""
    training = prepared.training
    left = np.zeros(len(training.accounts), dtype=np.bool_)
    left[training.account[prepared.before_test & (training.outcome == 1)]] = True
    order = rng.permutation(len(left))
    kept = np.zeros(len(left), dtype=np.bool_)
    kept[order[: np.searchsorted(np.cumsum(left[order]), churned) + 1]] = True
    return kept


def with_accounts(prepared: PreparedData, kept: NDArray[np.bool_]) -> TrainingSet:
    """The training set in which the rows before the test are those of these accounts."""
    training = prepared.training
    outcomes = training.outcomes.copy()
    outcomes[~prepared.test & ~kept[training.account]] = np.nan
    return replace(training, outcomes=outcomes)


def losses(prepared: PreparedData, churned: int) -> Losses:
    found: dict[str, list[float]] = {spec.name: [] for spec in CONTENDERS}
    together = np.ones((1, len(prepared.training.accounts)))
    for repeat in range(REPEATS):
        kept = drawn(prepared, churned, np.random.default_rng((churned, repeat)))
        training = with_accounts(prepared, kept)
        before = prepared.before_test & kept[training.account]
        for spec in CONTENDERS:
            contender = run_contender(
                spec,
                training,
                before,
                prepared.test,
                spec.parameters,
                together,
                at=prepared.split.test[0],
                seed=repeat,
            )
            found[spec.name].append(contender.metrics[training.horizons[-1]]["log_loss"].value)
    return found


def table(found: Mapping[tuple[str, int], Losses]) -> str:
    lines = [
        f"| | churned | {' | '.join(spec.title for spec in CONTENDERS)} | better than the "
        f"formula, LightGBM, its defaults in |",
        "|---|---|" + "---|" * (len(CONTENDERS) + 1),
    ]
    for (world, churned), by_name in found.items():
        ours = np.array(by_name[FORMULA_PRIOR.name])
        cells = [
            f"{np.mean(by_name[s.name]):.4f} ± {np.std(by_name[s.name]):.4f}" for s in CONTENDERS
        ]
        wins = ", ".join(f"{(ours < np.array(by_name[s.name])).sum()}" for s in MUST_LOSE)
        lines.append(f"| {world} | {churned} | {' | '.join(cells)} | {wins} of {len(ours)} |")
    return "\n".join(lines)


def test_few_churners_are_enough_for_the_refined_formula() -> None:
    found = {}
    with threadpool_limits(limits=1, user_api="blas"):
        for world in WORLDS:
            prepared = world_named(world).prepared()
            for churned in CHURNED:
                found[world, churned] = losses(prepared, churned)
                print(table({(world, churned): found[world, churned]}), flush=True)
    write_section(
        "Few churners",
        "\n".join(
            [
                f"Log loss at 90 days on the test rows after training on a part of the accounts, of whom "
                f"so many have left; mean and standard deviation of {REPEATS} draws of accounts.",
                "",
                table(found),
            ]
        ),
    )
    for by_name in found.values():
        for spec in MUST_LOSE:
            assert np.mean(by_name[FORMULA_PRIOR.name]) < np.mean(by_name[spec.name]), spec.name
