"""What the study brings, where it chose, where it confirmed, and on test rows that it never saw.

::

    python -m pytest -m bench -s tests/benchmarks/bench_tuning.py
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from training_worlds import WORLDS, world_named

from registry.promotion.promotion import gain, log_loss_rows
from training.metrics import account_draws
from training.models.fitting.fit_rows import usable_columns
from training.models.model_selection import run_contender
from training.models.specs import LIGHTGBM
from training.models.tuning.tune import tune

SEED = 1
TRIALS = int(os.environ.get("KEEPWELL_BENCH_TRIALS", "12"))


@pytest.mark.bench
@pytest.mark.parametrize("world", WORLDS, ids=lambda name: name.replace(" ", "-"))
def test_what_the_study_brings(world: str) -> None:
    made = world_named(world)
    for label in ("churn", "expansion"):
        prepared = made.prepared(label, horizons=(90,))
        training = prepared.training
        columns = usable_columns(training, prepared.before_test, LIGHTGBM)
        found = tune(
            LIGHTGBM,
            training,
            prepared.tuning_folds,
            columns,
            trials=TRIALS,
            seed=SEED,
            least_confidence=0.0,
        )
        draws = account_draws(training.account, 20, np.random.default_rng(SEED))
        y, rows = training.outcome[prepared.test], []
        for parameters in (found.parameters, LIGHTGBM.parameters):
            contender = run_contender(
                LIGHTGBM,
                training,
                prepared.before_test,
                prepared.test,
                parameters,
                draws,
                at=prepared.split.test[0],
                seed=SEED,
            )
            rows.append(log_loss_rows(y, contender.probabilities[90]))
        test = gain(rows[0], rows[1], training.account[prepared.test], np.random.default_rng(SEED))
        print(
            f"\n{world}, {label}: {TRIALS} trials, {found.pruned} stopped early; folds "
            f"{found.default_loss:.4f} -> {found.loss:.4f}; newest fold {found.confirmed}; test "
            f"rows {rows[1].mean():.4f} -> {rows[0].mean():.4f}, {test}; "
            f"{dict(found.parameters)}"
        )
