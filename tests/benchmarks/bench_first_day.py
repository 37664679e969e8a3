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
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from features.catalogue.catalogue import HEALTH_SCORE
from features.workspace import Workspace
from serving.scoring.first_day.own_outcomes import NONE, OwnOutcomes
from serving.scoring.first_day.prior import prior_model, rate_within
from training.scikit_learn import ContenderClassifier, training_arrays

pytestmark = pytest.mark.bench

DAYS, DRAWS = 90, 500
WINDOW = 30
LEAVERS = (0, 5, 10, 20, 50)
SAMPLES = 40


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


def test_the_prior_by_how_many_left_beside_the_outcomes_alone() -> None:
    """The stated rate is half of, or twice, what was observed; outcomes come in windows of 30 days."""
    given = os.environ.get("KEEPWELL_BENCH_WORKSPACE")
    if given is None:
        pytest.skip("KEEPWELL_BENCH_WORKSPACE names no finished workspace")
    workspace = Workspace(Path(given), environment={})
    later = training_arrays(workspace, "churn", horizon_days=DAYS)
    cutoffs = np.unique(later.times)
    first = cutoffs[-max(1, round(0.25 * len(cutoffs)))]
    place = later.names.index(HEALTH_SCORE)
    test = (later.times >= first) & ~np.isnan(later.X[:, place])
    health, y = later.X[test, place], later.y[test]
    soon = training_arrays(workspace, "churn", horizon_days=WINDOW)
    before = soon.times <= first - np.timedelta64(DAYS, "D")
    known = before & ~np.isnan(soon.X[:, soon.names.index(HEALTH_SCORE)])
    own_health, own_left = soon.X[known, soon.names.index(HEALTH_SCORE)], soon.y[known]
    seen = float(later.y[later.times <= first - np.timedelta64(DAYS, "D")].mean())
    yearly = 1 - (1 - seen) ** (365 / DAYS)
    lines = []
    for words, rate in (
        ("as it is", yearly),
        ("half of it", yearly / 2),
        ("twice", min(0.9, 2 * yearly)),
    ):
        for leavers in LEAVERS:
            gains = []
            for seed in range(SAMPLES if leavers else 1):
                outcomes = _so_many(own_health, own_left, leavers, seed)
                losses = [
                    _loss_of(health, y, rate, outcomes, one)
                    for one in ("prior", "both", "outcomes")
                ]
                gains.append(losses)
            prior, both, alone = np.array(gains).T
            over = both - np.minimum(prior, alone)
            low, high = np.percentile(over, [2.5, 97.5])
            lines.append(
                f"| {words} ({rate:.0%} a year) | {leavers} | {prior.mean():.4f} | {both.mean():.4f} | "
                f"{alone.mean():.4f} | {over.mean():+.4f} ({low:+.4f} to {high:+.4f}) |"
            )
    write_section(
        "The prior and a company's own outcomes",
        "\n".join(
            [
                f"{test.sum():,} later rows, {y.sum():,} left within {DAYS} days; log loss, means of "
                f"{SAMPLES} samples of earlier outcomes within {WINDOW} days. Alone: the same line without "
                "the prior (a logistic regression on health). Last column: both less the better of the "
                "two, with the middle 95 % of the samples.",
                "",
                "| stated rate | left | prior | both | outcomes alone | both less the better |",
                "|---|---|---|---|---|---|",
                *lines,
            ]
        ),
    )


def _so_many(health: np.ndarray, left: np.ndarray, leavers: int, seed: int) -> OwnOutcomes:
    """Rows in an order of chance, until so many left."""
    if not leavers:
        return NONE
    order = np.random.default_rng(seed).permutation(len(left))
    until = int(np.searchsorted(np.cumsum(left[order]), leavers)) + 1
    rows = order[:until]
    return OwnOutcomes(
        health=health[rows], days=np.full(len(rows), float(WINDOW)), left=left[rows].astype(float)
    )


def _loss_of(
    health: np.ndarray, y: np.ndarray, rate: float, outcomes: OwnOutcomes, which: str
) -> float:
    usual = round(float(np.nanmean(health)), 1)
    if which == "outcomes":
        if not outcomes.n_left:
            return float("inf")
        scaled = (outcomes.health - usual)[:, None] / 10
        model = LogisticRegression(C=1e6).fit(scaled, outcomes.left)
        soon = model.predict_proba((health - usual)[:, None] / 10)[:, 1]
        chance = 1 - (1 - np.clip(soon, 1e-4, 1 - 1e-4)) ** (DAYS / WINDOW)
        return float(_loss(chance, y).mean())
    served = prior_model(
        round(rate, 4),
        usual_health=usual,
        horizons=(DAYS,),
        formula="bench",
        outcomes=outcomes if which == "both" else NONE,
    )
    return float(_loss(served.model.probability(health[:, None], DAYS), y).mean())


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
