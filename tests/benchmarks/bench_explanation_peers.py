"""Exact reasons beside the other libraries that make them: woodelf-explainer and fasttreeshap.

    python -m pytest tests/benchmarks/bench_explanation_peers.py -m bench -s

fasttreeshap needs numpy before 1.24, so it gets an environment of its own, made once.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bench_explanations import model
from interleaved import DATA, HERE, ROUNDS, write_section

from registry.bundle.bundle import MANY
from registry.trees.arrays import TreeArrays
from registry.trees.batch_scoring import CodedTrees
from registry.trees.shap import SplitShares
from registry.trees.shap_batch import BatchShares

pytestmark = [pytest.mark.bench, pytest.mark.filterwarnings("ignore")]  # theirs

SIZES = (1, 10, 100, 1_000, 10_000)
SINGLE = 30
"""Rows explained one by one; their median counts."""


def old_environment() -> Path:
    """The interpreter with fasttreeshap, from pins with hashes."""
    folder = DATA.resolve() / "fasttreeshap"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        for pins in ("environment.txt", "fasttreeshap.txt"):
            subprocess.run(
                [
                    python,
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--no-deps",
                    "--require-hashes",
                    "--no-build-isolation",
                    "-r",
                    HERE / "fasttreeshap" / pins,
                ],
                check=True,
            )
        (folder / "ready").touch()
    return python


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def shown(runs: list[float], unit: float = 1e3) -> str:
    return (
        f"{statistics.median(runs) * unit:,.2f} "
        f"({min(runs) * unit:,.2f} to {max(runs) * unit:,.2f})"
    )


@pytest.mark.parametrize(("n_trees", "n_leaves"), [(500, 31), (300, 63)])
def test_reasons_beside_other_exact_libraries(n_trees: int, n_leaves: int, tmp_path: Path) -> None:
    from woodelf import WoodelfExplainer

    booster, rows = model(n_trees, n_leaves)
    trees = TreeArrays.from_dump(booster.dump_model())
    shares, coded = SplitShares.of(trees), CodedTrees.of(trees)
    of_many = BatchShares.of(trees, shares)
    frame = pd.DataFrame(rows, columns=booster.feature_name())

    def ours(n: int) -> np.ndarray:
        if n < MANY:
            return shares.contributions(trees, rows[:n])
        return of_many.contributions(trees, rows[:n], coded.score(rows[:n]))

    def lightgbms(n: int) -> np.ndarray:
        return np.asarray(booster.predict(rows[:n], pred_contrib=True, num_threads=1))[:, :-1]

    def woodelfs(n: int) -> np.ndarray:
        return np.asarray(WoodelfExplainer(booster).shap_values(frame[:n], verbose=False))

    def one_by_one(explain: Callable[[np.ndarray], object]) -> float:
        return statistics.median(
            seconds(lambda row=row: explain(rows[row : row + 1])) for row in range(SINGLE)
        )

    python, answer = old_environment(), tmp_path / "answer.npy"
    booster.save_model(tmp_path / "model.txt")
    np.save(tmp_path / "rows.npy", rows[:SINGLE])
    truth = lightgbms(SINGLE)
    for n in SIZES:
        ours(n)  # compiled
    took: dict[tuple[str, int], list[float]] = {}
    one: dict[str, list[float]] = {"LightGBM": [], "fasttreeshap v1": [], "Keepwell": []}
    for _ in range(ROUNDS):
        for n in SIZES:
            took.setdefault(("woodelf", n), []).append(seconds(lambda n=n: woodelfs(n)))
            took.setdefault(("Keepwell", n), []).append(seconds(lambda n=n: ours(n)))
        one["LightGBM"].append(
            one_by_one(lambda row: booster.predict(row, pred_contrib=True, num_threads=1))
        )
        one["Keepwell"].append(one_by_one(lambda row: shares.contributions(trees, row)))
        done = subprocess.run(
            [
                python,
                "-W",
                "ignore",
                HERE / "fasttreeshap_run.py",
                tmp_path / "model.txt",
                tmp_path / "rows.npy",
                answer,
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        one["fasttreeshap v1"].append(json.loads(done.stdout.splitlines()[-1])["one_row"] / 1e3)
    apart = {
        "Keepwell": np.abs(ours(SINGLE) - truth).max(),
        "woodelf": np.abs(woodelfs(SINGLE) - truth).max(),
        "fasttreeshap v1": np.abs(np.load(answer) - truth).max(),
    }
    ratios = {
        n: statistics.median(took["woodelf", n]) / statistics.median(took["Keepwell", n])
        for n in SIZES
    }
    lines = [
        f"| {n:,} | {shown(took['woodelf', n])} | {shown(took['Keepwell', n])} | "
        f"{ratios[n]:,.0f} × |"
        for n in SIZES
    ]
    theirs = statistics.median(one["LightGBM"])
    singles = [
        f"| {name} | {shown(runs)} | {statistics.median(runs) / theirs:.2f} × |"
        for name, runs in one.items()
    ]
    far = ", ".join(f"{name} {gap:.0e}" for name, gap in apart.items())
    write_section(
        f"Reasons beside other libraries, {n_trees} trees of {n_leaves} leaves",
        "\n".join(
            [
                f"100 features of which a tenth is unknown, one thread, {ROUNDS} interleaved rounds. "
                f"Largest distance from LightGBM's own: {far}. woodelf-explainer makes its tables "
                f"anew for every batch. fasttreeshap runs in its own process with numpy 1.23 and "
                f"LightGBM 4.5; its v2 is off by more than 1 on these rows.",
                "",
                "| rows | woodelf-explainer, cpu ms | Keepwell, cpu ms | faster |",
                "|---|---|---|---|",
                *lines,
                "",
                "| one row | cpu ms | of LightGBM's |",
                "|---|---|---|",
                *singles,
            ]
        ),
    )
    assert apart["Keepwell"] < 1e-6
