"""How low a chance is told: with and without a floor by the accounts behind the lowest scores.

Log loss on the test rows at 90 days, the rows promised less than .1 %, and what is promised of
accounts without a renewal within 90 days beside what came.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from interleaved import write_section
from training_worlds import crm, simulated

from training.metrics import account_draws, row_log_loss
from training.models.fitting.fit_rows import fit_rows, usable_columns
from training.models.fitting.held_out import score_held_out
from training.models.specs import LIGHTGBM, LOGISTIC, RENEWAL, ModelSpec
from training.pipeline.prepare import PreparedData

pytestmark = pytest.mark.bench

TINY = 0.001


def compared(world: str, label: str, spec: ModelSpec, prepared: PreparedData) -> str:
    training, test, fitted = prepared.training, prepared.test, prepared.before_test
    columns = usable_columns(training, fitted, spec)
    held = score_held_out(
        spec, training, fitted, columns, spec.parameters, at=prepared.split.test[0], seed=0
    )
    matrix = training.part(test, columns)
    raw = fit_rows(spec, training, fitted, columns, spec.parameters, seed=0).score(matrix)
    line = replace(held, calibration=replace(held.calibration, unseen=None))
    before, after = (
        one.probability(raw, matrix, len(training.horizons) - 1) for one in (line, held)
    )
    came, account = training.outcome[test], training.account[test]
    losses = [row_log_loss(came, p) for p in (before, after)]
    draws = account_draws(training.account, 300, np.random.default_rng(0))
    n = draws.shape[1]
    drawn = (draws @ np.bincount(account, losses[1] - losses[0], n)) / (
        draws @ np.bincount(account, minlength=n)
    )
    low, high = np.percentile(drawn, [2.5, 97.5])
    far = training.matrix[test, training.names.index(RENEWAL)] >= 90
    return (
        f"| {world}, {label}, {spec.title} | {losses[0].mean():.4f} | {losses[1].mean():.4f} | "
        f"{(losses[1] - losses[0]).mean():+.5f} ({low:+.5f} to {high:+.5f}) | "
        f"{(before < TINY).sum():,} → {(after < TINY).sum():,} of {len(came):,} | "
        f"{before[far].mean():.2%} → {after[far].mean():.2%} | "
        f"{int(came[far].sum())} of {far.sum():,} of {len(np.unique(account[far])):,} accounts |"
    )


def test_the_lowest_chances() -> None:
    lines = [
        "| | log loss by the line | with the floor | difference | rows under .1 % | promised without "
        "a renewal in 90 days | of them came |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, world in (("CRM sample", crm()), ("simulated", simulated(accounts=800, seed=101))):
        for label in ("expansion", "churn"):
            prepared = world.prepared(label)
            for spec in (LIGHTGBM, LOGISTIC):
                lines.append(compared(name, label, spec, prepared))
                print(lines[-1], flush=True)
    write_section("Lowest chances", "\n".join(lines))
