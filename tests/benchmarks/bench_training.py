"""What a training step and a study take beside LightGBM alone and a study that bins anew.

    python -m pytest tests/benchmarks/bench_training.py -m bench -s
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import lightgbm as lgb
import numpy as np
import pytest
from interleaved import ROUNDS, write_section

import training.tune
from registry.promotion import gain, log_loss_rows
from training.dataset import TrainingSet
from training.fit import binned, fit, grow, raw_scores
from training.labels import label_named
from training.specs import LIGHTGBM
from training.splits import rolling_folds

pytestmark = pytest.mark.bench

FEATURES = 80
TRIALS = 30


def world(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows with a tenth unknown, and outcomes of which one in six comes."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, FEATURES))
    effect = rng.normal(size=FEATURES) * (rng.random(FEATURES) < 0.2) / 2
    odds = matrix @ effect + 0.5 * matrix[:, 0] * matrix[:, 1] - 2.2
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    return matrix, (odds + rng.logistic(size=rows) > 0).astype(float)


def training_set(accounts: int, cutoffs: int) -> TrainingSet:
    matrix, outcome = world(accounts * cutoffs)
    starts = datetime(2024, 1, 1, tzinfo=UTC)
    return TrainingSet(
        label=label_named("churn"), horizons=(90,), names=tuple(f"f{j}" for j in range(FEATURES)),
        digests={}, matrix=matrix, outcomes=outcome[:, None],
        amounts=np.full(len(outcome), np.nan),
        cutoffs=tuple(starts + timedelta(days=30 * n) for n in range(cutoffs)),
        cutoff=np.repeat(np.arange(cutoffs), accounts),
        accounts=tuple(f"a{n}" for n in range(accounts)),
        account=np.tile(np.arange(accounts), cutoffs))


def cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def in_turn(ways: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            took[name].append(cpu(way))
    return took


def shown(runs: list[float]) -> str:
    return f"{statistics.median(runs):,.2f} ({min(runs):,.2f} to {max(runs):,.2f})"


def middle(runs: list[float]) -> float:
    return statistics.median(runs)


def test_a_training_step_beside_lightgbm_alone() -> None:
    fit(LIGHTGBM, *world(2_000), LIGHTGBM.parameters, seed=0)  # compiled
    lines = []
    for rows, changed in ((20_000, {}), (20_000, {"num_leaves": 31, "rounds": 300}),
                          (100_000, {"num_leaves": 31, "rounds": 300})):
        matrix, outcome = world(rows)
        parameters = {**LIGHTGBM.parameters, **changed}
        ready = binned(matrix, outcome)
        took = in_turn({
            "LightGBM": lambda ready=ready, p=parameters: grow(ready, p, seed=0),
            "binning": lambda m=matrix, y=outcome: binned(m, y),
            "Keepwell": lambda m=matrix, y=outcome, p=parameters: fit(LIGHTGBM, m, y, p, seed=0),
        })
        ratio = middle(took["Keepwell"]) / middle(took["LightGBM"])
        lines.append(
            f"| {rows:,} | {int(parameters['rounds'])} × {int(parameters['num_leaves'])} | "
            f"{shown(took['LightGBM'])} | {shown(took['binning'])} | {shown(took['Keepwell'])} | "
            f"{ratio:.2f} × |")
    write_section("A training step", "\n".join([
        f"{FEATURES} features, a tenth unknown; {ROUNDS} interleaved rounds. LightGBM alone grows "
        f"on a Dataset that is ready; Keepwell bins, grows, takes the trees out and scores its own "
        f"rows. Goal: at most 1.10 ×.", "",
        "| rows | trees × leaves | LightGBM alone, cpu s | of it not: binning | Keepwell, cpu s | "
        "ratio |", "|---|---|---|---|---|---|", *lines]))


def test_a_study_beside_one_that_bins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    data = training_set(accounts=250, cutoffs=24)
    folds = rolling_folds(data.cutoffs, data.cutoffs[12:], reach=timedelta(days=104))
    columns = list(range(FEATURES))

    def study() -> object:
        return training.tune.tune(LIGHTGBM, data, folds, columns, trials=TRIALS, seed=0)

    def anew(dataset, parameters, *, seed):
        return grow(binned(dataset.get_data(), dataset.get_label()), parameters, seed=seed)

    found: dict[str, object] = {}

    def keep(name: str, grower: Callable[..., object]) -> None:
        monkeypatch.setattr(training.tune, "grow", grower)
        found[name] = study()

    took = in_turn({"once": lambda: keep("once", grow), "anew": lambda: keep("anew", anew)})
    ratio = middle(took["once"]) / middle(took["anew"])
    write_section(f"A study of {TRIALS} trials", "\n".join([
        f"{len(data.outcome):,} rows of {FEATURES} features, {len(folds)} folds, {ROUNDS} "
        f"interleaved rounds; the same trials, pruning and judging. Goal: at most 0.6 ×.", "",
        "| the Dataset is binned | cpu s |", "|---|---|",
        f"| once for the study | {shown(took['once'])} |",
        f"| for every trial and fold | {shown(took['anew'])} |", "",
        f"Ratio {ratio:.2f} ×. Found: {found['once']} and {found['anew']}."]))


def test_quantised_training() -> None:
    lines = []
    for rows, changed in ((20_000, {}), (100_000, {"num_leaves": 31, "rounds": 300})):
        parameters = {**LIGHTGBM.parameters, **changed}
        every, outcomes = world(rows + 40_000)
        matrix, held, outcome, truth = every[:rows], every[rows:], outcomes[:rows], outcomes[rows:]
        ready = binned(matrix, outcome)
        quantised = {**parameters, "use_quantized_grad": True, "num_grad_quant_bins": 4,
                     "quant_train_renew_leaf": True, "stochastic_rounding": True}
        made: dict[str, lgb.Booster] = {}
        refused: list[str] = []

        def grown(name: str, p: dict[str, float], made=made, ready=ready, refused=refused) -> None:
            try:
                made[name] = grow(ready, p, seed=0)
            except lgb.basic.LightGBMError as error:
                refused.append(str(error))

        took = in_turn({"plain": lambda p=parameters: grown("plain", p),
                        "quantised": lambda p=quantised: grown("quantised", p)})
        size = f"| {rows:,} | {int(parameters['rounds'])} × {int(parameters['num_leaves'])} |"
        if refused:
            lines.append(f"{size} {shown(took['plain'])} | LightGBM fails: {refused[0][:60]} "
                         f"| | | |")
            continue
        losses = {name: log_loss_rows(truth, 1 / (1 + np.exp(-raw_scores(booster, held))))
                  for name, booster in made.items()}
        better = gain(losses["quantised"], losses["plain"], np.arange(len(truth)),
                      np.random.default_rng(0), draws=500)
        lines.append(
            f"{size} {shown(took['plain'])} | {shown(took['quantised'])} | "
            f"{losses['plain'].mean():.5f} | {losses['quantised'].mean():.5f} | "
            f"{better.mean:+.5f} ({better.low:+.5f} to {better.high:+.5f}) |")
    write_section("Quantised training", "\n".join([
        f"Gradients of 4 levels with leaves renewed, on a ready Dataset; log loss on 40,000 rows "
        f"of the same company; {ROUNDS} interleaved rounds.", "",
        "| rows | trees × leaves | plain, cpu s | quantised, cpu s | loss, plain | loss, quantised "
        "| gain of quantised (95 %) |", "|---|---|---|---|---|---|---|", *lines]))
