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
from threadpoolctl import threadpool_limits
from training_worlds import simulated

import training.models.binned_rows
import training.models.tuning.tune as tuning
from training.dataset.cutoffs import reach_of
from training.dataset.labels import label_named
from training.dataset.splits import Fold, newest, rolling_folds, time_split
from training.dataset.training_set import TrainingSet
from training.models.binned_rows import BinnedRows, rules_of
from training.models.boosting import (
    GrowthRules,
    RenewalStep,
    bin_rows,
    grow_trees,
    settings_of,
    staged_scores,
)
from training.models.fit import fit, fitted_trees
from training.models.fitting.fit_rows import fit_rows, usable_columns
from training.models.fitting.held_out import score_held_out
from training.models.specs import LIGHTGBM, Parameters
from training.models.tuning.tune import tune
from training.pipeline.prepare import TUNING_SHARE

pytestmark = pytest.mark.bench

FEATURES = 80
TRIALS, DEFAULT_TRIALS = 30, 12


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
        label=label_named("churn"),
        horizons=(90,),
        names=tuple(f"f{j}" for j in range(FEATURES)),
        digests={},
        matrix=matrix,
        outcomes=outcome[:, None],
        amounts=np.full(len(outcome), np.nan),
        cutoffs=tuple(starts + timedelta(days=30 * n) for n in range(cutoffs)),
        cutoff=np.repeat(np.arange(cutoffs), accounts),
        accounts=tuple(f"a{n}" for n in range(accounts)),
        account=np.tile(np.arange(accounts), cutoffs),
    )


def cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def in_turn(ways: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {name: [] for name in ways}
    with threadpool_limits(limits=1, user_api="blas"):  # as a training is run
        for _ in range(ROUNDS):
            for name, way in ways.items():
                took[name].append(cpu(way))
    return took


def shown(runs: list[float]) -> str:
    return f"{statistics.median(runs):,.2f} ({min(runs):,.2f} to {max(runs):,.2f})"


def middle(runs: list[float]) -> float:
    return statistics.median(runs)


def a_step(data: TrainingSet, columns: list[int], parameters: Parameters, *, trials: int) -> None:
    """Every fit of LightGBM in a training: study, folds, judged, two refits, folds, released."""
    reach = reach_of(90, lead_days=data.label.lead_days)
    split = time_split(data.cutoffs, reach=reach)
    before = data.rows_at(split.before_test)
    bins = BinnedRows.of(data, before, columns)
    if trials:
        folds = rolling_folds(
            split.before_test, newest(split.before_test, TUNING_SHARE), reach=reach
        )
        tune(LIGHTGBM, data, folds, columns, trials=trials, seed=0, grower=bins)
    fit_to(data, bins, split.before_test, columns, parameters, reach=reach)
    some = np.random.default_rng(0).random((2, len(data.accounts))) < 0.63
    for kept in some:
        fit_rows(
            LIGHTGBM, data, before & kept[data.account], columns, parameters, seed=0, grower=bins
        )
    every = BinnedRows.of(data, data.rows_at(data.cutoffs), columns)
    fit_to(data, every, data.cutoffs, columns, parameters, reach=reach)


def fit_to(data, bins, cutoffs, columns, parameters, *, reach) -> None:
    """The fits that calibrate and the fit to all of these cutoffs, as a race and a release have."""
    rows = data.rows_at(cutoffs)
    at = cutoffs[-1] + reach
    score_held_out(LIGHTGBM, data, rows, columns, parameters, at=at, seed=0, grower=bins)
    fit_rows(LIGHTGBM, data, data.rows_at(cutoffs), columns, parameters, seed=0, grower=bins)


Grown = tuple[lgb.Dataset, dict[str, float], int]


def what_is_grown(step: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> list[Grown]:
    """Each Dataset that a step grows from, with the parameters and how many trees came of it."""
    calls: list[Grown] = []

    def growing(dataset, parameters, matrix, rounds, *, seed, step=None):
        calls.append((dataset, parameters, 0))
        place = len(calls) - 1
        for upto, scores in zip(
            rounds,
            staged_scores(dataset, parameters, matrix, rounds, seed=seed, step=step),
            strict=True,
        ):
            calls[place] = (dataset, parameters, upto)
            yield scores

    def kept(dataset, parameters, *, seed):
        calls.append((dataset, parameters, int(parameters["rounds"])))
        return grow_trees(dataset, parameters, seed=seed)

    with monkeypatch.context() as patched:
        patched.setattr(tuning, "staged_scores", growing)
        patched.setattr(training.models.binned_rows, "grow_trees", kept)
        step()
    return calls


def alone(calls: list[Grown]) -> None:
    """LightGBM's own call, whose boosters stand without their rows."""
    for dataset, parameters, rounds in calls:
        lgb.train(settings_of(dataset, parameters, seed=0), dataset, num_boost_round=rounds)


def test_one_fit_beside_lightgbm_alone() -> None:
    fit(LIGHTGBM, *world(2_000), LIGHTGBM.parameters, seed=0)  # compiled
    lines = []
    for rows, changed in ((20_000, {}), (20_000, LARGE), (100_000, LARGE)):
        matrix, outcome = world(rows)
        parameters = {**LIGHTGBM.parameters, **changed}
        ready = bin_rows(matrix, outcome)
        booster = grow_trees(ready, parameters, seed=0)
        took = in_turn(
            {
                "LightGBM": lambda ready=ready, p=parameters: grow_trees(ready, p, seed=0),
                "binning": lambda m=matrix, y=outcome: bin_rows(m, y),
                "trees": lambda b=booster: fitted_trees(b),
                "Keepwell": lambda m=matrix, y=outcome, p=parameters: fit(
                    LIGHTGBM, m, y, p, seed=0
                ),
            }
        )
        lines.append(
            f"| {rows:,} | {size(parameters)} | "
            f"{' | '.join(shown(took[name]) for name in took)} | {ratio(took)} |"
        )
    write_section(
        "One fit",
        "\n".join(
            [
                f"{FEATURES} features, a tenth unknown; {ROUNDS} interleaved rounds. LightGBM alone grows "
                f"on a Dataset that is ready; Keepwell bins, grows, takes the trees out and scores its own "
                f"rows. Binning has to read every value once and is no part of growing: a training bins "
                f"its rows once for all its fits, see the next section.",
                "",
                "| rows | trees × leaves | LightGBM alone, cpu s | binning | trees out and scored | "
                "Keepwell, cpu s | ratio |",
                "|---|---|---|---|---|---|---|",
                *lines,
            ]
        ),
    )


LARGE = {"num_leaves": 31, "rounds": 300}


def size(parameters: Parameters) -> str:
    return f"{int(parameters['rounds'])} × {int(parameters['num_leaves'])}"


def ratio(took: dict[str, list[float]], ours: str = "Keepwell", other: str = "LightGBM") -> str:
    """Of the medians, with the smallest and largest of the rounds."""
    rounds = [a / b for a, b in zip(took[ours], took[other], strict=True)]
    return (
        f"{middle(took[ours]) / middle(took[other]):.2f} × ({min(rounds):.2f} to {max(rounds):.2f})"
    )


def test_a_training_step_beside_lightgbm_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    normal, of_company, every = "normal values", company()[::2], list(range(FEATURES))
    for name, (data, columns), changed, trials in (
        ("simulated company", of_company, {}, DEFAULT_TRIALS),
        ("simulated company", of_company, {}, 0),
        (normal, (training_set(125, 24), every), {}, DEFAULT_TRIALS),
        (normal, (training_set(125, 24), every), LARGE, 0),
        (normal, (training_set(250, 24), every), {}, 0),
    ):
        parameters = {**LIGHTGBM.parameters, **changed}

        def step(data=data, columns=columns, parameters=parameters, trials=trials) -> None:
            a_step(data, columns, parameters, trials=trials)

        calls = what_is_grown(step, monkeypatch)  # compiled
        took = in_turn({"LightGBM": lambda calls=calls: alone(calls), "Keepwell": step})
        lines.append(
            f"| {name} | {len(data.outcome):,} × {len(columns)} | {size(parameters)} | "
            f"{trials} | {len(calls)} | {shown(took['LightGBM'])} | "
            f"{shown(took['Keepwell'])} | {ratio(took)} |"
        )
        write_section(
            "A training step",
            "\n".join(
                [
                    f"{ROUNDS} interleaved rounds. A training has a study of {DEFAULT_TRIALS} trials "
                    f"unless somebody asks for another. Keepwell does all that LightGBM has a part in when "
                    f"a model is trained: it bins the rows before the test, then come the study, the folds "
                    f"that calibrate and the calibration, the fit that is judged, two refits for the "
                    f"stability of its explanations; then it bins every row, calibrates, and fits the one "
                    f"that is released. Trees are taken out and rows are scored. LightGBM alone grows the "
                    f"same trees on Datasets that are ready, its boosters set free of them as `lgb.train` "
                    f"does. Whole numbers of few values, as most features of a company are, bin faster "
                    f"than normal values. Goal: at most 1.10 ×.",
                    "",
                    "| values | rows × features | trees × leaves | trials | fits | LightGBM alone, cpu s | "
                    "Keepwell, cpu s | ratio |",
                    "|---|---|---|---|---|---|---|---|",
                    *lines,
                ]
            ),
        )


Raw = tuple[np.ndarray, np.ndarray, GrowthRules]


class RawRows:
    """The rows of a study as they are, to be binned anew whenever something is grown."""

    def __init__(self, data: TrainingSet, columns: list[int]) -> None:
        self.data, self.columns = data, columns

    @classmethod
    def of(cls, data: TrainingSet, rows: object, columns: list[int]) -> RawRows:
        return cls(data, columns)

    def part(self, rows: np.ndarray) -> tuple[Raw, RenewalStep | None]:
        matrix, outcome = self.data.matrix[rows][:, self.columns], self.data.outcome[rows]
        rules = rules_of(self.data, self.columns)
        return (matrix, outcome, rules), rules.step(matrix, outcome)


def binned_anew(raw: Raw, *given, seed: int, step: RenewalStep | None):
    dataset = bin_rows(*raw)
    if step is not None:
        dataset.set_init_score(step.scores(raw[0]))
    return staged_scores(dataset, *given, seed=seed, step=step)


Studied = tuple[TrainingSet, tuple[Fold, ...], list[int]]


def smooth() -> Studied:
    data = training_set(accounts=250, cutoffs=24)
    folds = rolling_folds(data.cutoffs, data.cutoffs[12:], reach=timedelta(days=104))
    return data, folds, list(range(FEATURES))


def company() -> Studied:
    prepared = simulated().prepared("churn", horizons=(90,))
    columns = usable_columns(prepared.training, prepared.before_test, LIGHTGBM)
    return prepared.training, prepared.tuning_folds, columns


def test_a_study_beside_one_that_bins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    for name, (data, folds, columns) in (
        (name, made()) for name, made in (("normal values", smooth), ("simulated company", company))
    ):

        def study(data=data, folds=folds, columns=columns) -> object:
            return tune(LIGHTGBM, data, folds, columns, trials=TRIALS, seed=0)

        def anew(study=study) -> object:
            with monkeypatch.context() as patched:
                patched.setattr(tuning, "BinnedRows", RawRows)
                patched.setattr(tuning, "staged_scores", binned_anew)
                return study()

        took = in_turn({"once": study, "anew": anew})
        lines.append(
            f"| {name} | {len(data.outcome):,} × {len(columns)} | {len(folds)} | "
            f"{shown(took['once'])} | {shown(took['anew'])} | "
            f"{ratio(took, 'once', 'anew')} |"
        )
        write_section(
            f"A study of {TRIALS} trials",
            "\n".join(
                [
                    f"The same trials, folds, pruning and judging, {ROUNDS} interleaved rounds: binned "
                    f"once for the study, or whenever a trial grows on a fold. Goal: at most 0.6 ×. Whole "
                    f"numbers of few values, as most features of a company are, bin faster than normal "
                    f"values.",
                    "",
                    "| values | rows × features | folds | binned once, cpu s | anew, cpu s | ratio |",
                    "|---|---|---|---|---|---|",
                    *lines,
                ]
            ),
        )
