"""What LightGBM's quantised gradients and coarser bins would lose, and how much sooner they end.

::

    python -m pytest -m bench -s tests/benchmarks/bench_quantised.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

import lightgbm as lgb
import numpy as np
import pytest
from interleaved import write_section
from training_worlds import WORLDS, world_named

from registry.promotion.promotion import gain
from training.models.model_selection import usable_columns
from training.models.specs import LIGHTGBM
from training.models.tuning.tune import levelled_rows

SPLITS = 10
SHARE = 0.67
"""Of the accounts that a split fits to; the rows of the test judge."""

QUANTISED = {
    "use_quantized_grad": True,
    "num_grad_quant_bins": 4,
    "quant_train_renew_leaf": True,
    "stochastic_rounding": True,
}
WHOLE = {"bagging_fraction": 1.0, "feature_fraction": 1.0}
WAYS: dict[str, tuple[Mapping[str, float], str | None]] = {  # what changes, and beside which way
    "as declared": ({}, None),
    "quantised": (QUANTISED, "as declared"),
    "63 bins": ({"max_bin": 63}, "as declared"),
    "every row and feature in each tree": (WHOLE, None),
    "quantised, every row and feature": (
        {**QUANTISED, **WHOLE},
        "every row and feature in each tree",
    ),
}


def grown(matrix, outcome, changed: Mapping[str, float], seed: int) -> tuple[lgb.Booster, float]:
    settings = {
        **LIGHTGBM.parameters,
        **changed,
        "objective": "binary",
        "verbosity": -1,
        "seed": seed,
        "deterministic": True,
        "num_threads": 1,
        "feature_pre_filter": False,
        "bagging_freq": 1,
        "force_col_wise": True,
    }
    rounds = int(settings.pop("rounds"))
    ready = lgb.Dataset(matrix, outcome, params=settings).construct()
    began = time.process_time()
    return lgb.train(settings, ready, rounds), time.process_time() - began


@pytest.mark.bench
def test_what_growing_faster_loses() -> None:
    lines = []
    for world in WORLDS:
        made = world_named(world)
        for label in ("churn", "expansion"):
            prepared = made.prepared(label, horizons=(90,))
            training, test = prepared.training, prepared.test
            columns = usable_columns(training, prepared.before_test, LIGHTGBM)
            matrix, outcome = training.matrix[:, columns], training.outcome
            losses: dict[str, list[np.ndarray | None]] = {way: [] for way in WAYS}
            took: dict[str, list[float]] = {way: [] for way in WAYS}
            for split in range(SPLITS):
                kept = np.random.default_rng(split).random(len(training.accounts)) < SHARE
                rows = prepared.before_test & kept[training.account]
                for way, (changed, _) in WAYS.items():
                    try:
                        booster, seconds = grown(matrix[rows], outcome[rows], changed, split)
                    except lgb.basic.LightGBMError:  # Check failed: best_split_info.left_count > 0
                        losses[way].append(None)
                        continue
                    scores = booster.predict(matrix[test], raw_score=True, num_threads=1)
                    losses[way].append(levelled_rows(scores, outcome[test]))
                    took[way].append(seconds)
            for way, (_, beside) in WAYS.items():
                came = [n for n, rows in enumerate(losses[way]) if rows is not None]
                ours = np.mean([losses[way][n] for n in came], axis=0)
                compared = ""
                if beside is not None:
                    other = np.mean([losses[beside][n] for n in came], axis=0)
                    found = gain(ours, other, training.account[test], np.random.default_rng(0))
                    compared = f"{found.mean:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
                lines.append(
                    f"| {world}, {label} | {way} | {SPLITS - len(came)} of {SPLITS} | "
                    f"{statistics.median(took[way]):.3f} | {ours.mean():.4f} | "
                    f"{compared} |"
                )
    write_section(
        "Quantised training",
        "\n".join(
            [
                f"LightGBM {lgb.__version__} with the declared parameters on {SPLITS} draws of {SHARE:.0%} "
                f"of the accounts, judged on the same test rows; log loss at 90 days with the level set "
                f"right, mean of the draws; gain paired by row, 95 % interval over accounts. 'Fails' is a "
                f"check within LightGBM that ends the fit.",
                "",
                "| | way | fails | growing, cpu s | log loss | gain over the same unquantised |",
                "|---|---|---|---|---|---|",
                *lines,
            ]
        ),
    )
