"""What the prior of the first day is worth: beside the same chance for all, and models that were trained.

    KEEPWELL_BENCH_WORKSPACE=.keepwell/crm python -m pytest tests/benchmarks/bench_first_day.py -m bench -s

On all accounts of the newest quarter of cutoffs whose outcomes are known, 90 days. The stated rate of
leaving in a year is what was observed before, half of it and twice. Intervals are over accounts.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from interleaved import write_section
from sklearn.metrics import log_loss, roc_auc_score

from features.catalogue.catalogue import HEALTH_SCORE
from features.workspace import Workspace
from serving.scoring.first_day.prior import prior_model, rate_within
from training.scikit_learn import ContenderClassifier, training_arrays

pytestmark = pytest.mark.bench

DAYS, DRAWS = 90, 500


def test_the_prior_beside_one_chance_for_all_and_trained_models() -> None:
    given = os.environ.get("KEEPWELL_BENCH_WORKSPACE")
    if given is None:
        pytest.skip("KEEPWELL_BENCH_WORKSPACE names no finished workspace")
    workspace = Workspace(Path(given), environment={})
    data = training_arrays(workspace, "churn", horizon_days=DAYS)
    X, y, groups, times = data
    cutoffs = np.unique(times)
    first = cutoffs[-max(1, round(0.25 * len(cutoffs)))]
    test, before = times >= first, times <= first - np.timedelta64(DAYS, "D")
    seen = float(y[before].mean())
    yearly = 1 - (1 - seen) ** (365 / DAYS)
    health = X[:, [data.names.index(HEALTH_SCORE)]]
    said = {"the same chance for all, as observed before": np.full(test.sum(), seen)}
    for words, rate in (
        ("as observed", yearly),
        ("half of it", yearly / 2),
        ("twice", min(0.9, 2 * yearly)),
    ):
        served = prior_model(
            round(rate, 4),
            usual_health=float(np.nanmean(health[test])),
            horizons=(DAYS,),
            formula=workspace.settings.formula.version,
        )
        said[f"prior, yearly churn {rate:.0%} ({words})"] = served.model.probability(
            health[test], DAYS
        )
        said[f"the same chance for all, {rate:.0%}"] = np.full(test.sum(), rate_within(rate, DAYS))
    for name in ("logistic", "lightgbm"):
        model = ContenderClassifier(name).fit(X[before], y[before])
        said[f"{name}, trained on {before.sum():,} earlier rows"] = model.predict_proba(X[test])[
            :, 1
        ]
    write_section(
        "The prior of the first day",
        "\n".join(
            [
                f"{test.sum():,} rows of {len(np.unique(groups[test])):,} accounts, {y[test].sum():,} left "
                f"within {DAYS} days. Gain: log loss below that of the same chance for all.",
                "",
                "| | log loss | AUC | gain (95 %, over accounts) |",
                "|---|---|---|---|",
                *_rows(said, y[test], groups[test]),
            ]
        ),
    )


def _rows(said: dict[str, np.ndarray], y: np.ndarray, groups: np.ndarray) -> list[str]:
    usual = next(iter(said.values()))
    names, place = np.unique(groups, return_inverse=True)
    rng, lines = np.random.default_rng(1), []
    drawn = []
    for _ in range(DRAWS):
        picked = rng.integers(0, len(names), len(names))
        drawn.append(np.bincount(picked, minlength=len(names))[place])
    for words, chance in said.items():
        gain = _loss(usual, y) - _loss(chance, y)
        low, high = np.percentile([np.average(gain, weights=w) for w in drawn], [2.5, 97.5])
        auc = roc_auc_score(y, chance) if np.ptp(chance) else 0.5
        lines.append(
            f"| {words} | {log_loss(y, chance):.4f} | {auc:.3f} | {gain.mean():+.4f} "
            f"({low:+.4f} to {high:+.4f}) |"
        )
    return lines


def _loss(chance: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(-np.where(y == 1, np.log(chance), np.log1p(-chance)))
