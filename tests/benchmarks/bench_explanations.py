"""Scores and exact reasons of many accounts and of one, beside LightGBM's; the peers in turn.

python -m pytest tests/benchmarks/bench_explanations.py -m bench -s
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import lightgbm as lgb
import numpy as np
import pytest
from interleaved import ROUNDS, write_section

from registry.trees.arrays import TreeArrays
from registry.trees.batch_scoring import CodedTrees
from registry.trees.shap import SplitShares
from registry.trees.shap_batch import BatchShares

pytestmark = pytest.mark.bench

FEATURES = 100
MANY, THEIRS = 10_000, 400
"""Rows explained in a batch; LightGBM takes as long for each row of few as of many."""


def model(n_trees: int, n_leaves: int) -> tuple[lgb.Booster, np.ndarray]:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(20_000, FEATURES))
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    effect = rng.normal(size=FEATURES) * (rng.random(FEATURES) < 0.3)
    signal = np.nan_to_num(matrix) @ effect + np.nan_to_num(matrix[:, 0] * matrix[:, 1])
    outcome = signal + rng.logistic(size=len(matrix)) > 0
    settings = {
        "objective": "binary",
        "num_leaves": n_leaves,
        "learning_rate": 0.05,
        "verbose": -1,
        "num_threads": 1,
        "deterministic": True,
    }
    booster = lgb.train(settings, lgb.Dataset(matrix, outcome.astype(float)), n_trees)
    rows = rng.normal(size=(MANY, FEATURES))
    rows[rng.random(rows.shape) < 0.1] = np.nan
    return booster, rows


def cpu(work: Callable[[], object], rows: int) -> float:
    """Microseconds of cpu time a row."""
    began = time.process_time()
    work()
    return (time.process_time() - began) / rows * 1e6


@pytest.mark.parametrize(("n_trees", "n_leaves"), [(500, 31), (300, 63)])
def test_reasons_beside_lightgbms(n_trees: int, n_leaves: int) -> None:
    booster, rows = model(n_trees, n_leaves)
    trees = TreeArrays.from_dump(booster.dump_model())
    began = time.process_time()
    shares = SplitShares.of(trees)
    of_many = BatchShares.of(trees, shares)
    built = time.process_time() - began
    coded = CodedTrees.of(trees)

    def reasons() -> np.ndarray:
        return of_many.contributions(trees, rows, coded.score(rows))

    ours = reasons()
    theirs = booster.predict(rows[:THEIRS], pred_contrib=True, num_threads=1)
    apart = float(np.abs(ours[:THEIRS] - theirs[:, :-1]).max())
    assert apart < 1e-6
    ways: dict[str, Callable[[], float]] = {
        "LightGBM, batch": lambda: cpu(
            lambda: booster.predict(rows[:THEIRS], pred_contrib=True, num_threads=1), THEIRS
        ),
        "Keepwell, batch": lambda: cpu(reasons, MANY),
        "LightGBM, one row": lambda: statistics.median(
            cpu(
                lambda row=row: booster.predict(
                    rows[row : row + 1], pred_contrib=True, num_threads=1
                ),
                1,
            )
            for row in range(50)
        ),
        "Keepwell, one row": lambda: statistics.median(
            cpu(lambda row=row: shares.contributions(trees, rows[row : row + 1]), 1)
            for row in range(50)
        ),
    }

    def raw(rows: np.ndarray) -> np.ndarray:
        return np.asarray(booster.predict(rows, raw_score=True, num_threads=1))

    assert (coded.score(rows) == raw(rows)).all()
    ways |= {
        "scores: LightGBM, batch": lambda: cpu(lambda: raw(rows), MANY),
        "scores: Keepwell, batch": lambda: cpu(lambda: coded.score(rows), MANY),
        "scores: LightGBM, one row": lambda: statistics.median(
            cpu(lambda row=row: raw(rows[row : row + 1]), 1) for row in range(200)
        ),
        "scores: Keepwell, one row": lambda: statistics.median(
            cpu(lambda row=row: coded.score(rows[row : row + 1]), 1) for row in range(200)
        ),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            took[name].append(way())
    middle = {name: statistics.median(runs) for name, runs in took.items()}
    score_batch = middle["scores: LightGBM, batch"] / middle["scores: Keepwell, batch"]
    score_one = middle["scores: Keepwell, one row"] / middle["scores: LightGBM, one row"]
    lines = [
        f"| {name} | {middle[name]:,.1f} ({min(runs):,.1f} to {max(runs):,.1f}) |"
        for name, runs in took.items()
    ]
    batch = middle["LightGBM, batch"] / middle["Keepwell, batch"]
    one = middle["Keepwell, one row"] / middle["LightGBM, one row"]
    write_section(
        f"Reasons of {n_trees} trees of {n_leaves} leaves",
        "\n".join(
            [
                f"Exact path-dependent Shapley values, {FEATURES} features of which a tenth is unknown; "
                f"{MANY:,} rows in a batch ({THEIRS} for LightGBM), one thread, {ROUNDS} interleaved "
                f"rounds; largest difference {apart:.1e}; shares counted in {built:.2f} s.",
                "",
                "| | cpu microseconds a row |",
                "|---|---|",
                *lines,
                "",
                "| goal | measured |",
                "|---|---|",
                f"| batch at least 35 × LightGBM's | {batch:.0f} × |",
                f"| one row at most 0.1 × LightGBM's | {one:.2f} × |",
                f"| scores: batch at least 3 × LightGBM's | {score_batch:.1f} × |",
                f"| scores: one row at most 0.4 × LightGBM's | {score_one:.2f} × |",
            ]
        ),
    )
