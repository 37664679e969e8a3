"""Keepwell's model beside what a user would pick instead, on the same rows.

The rows are those of a back-test: at every origin all learners fit the same matrix with the
outcomes known then, and judge the same later rows. Keepwell tunes, chooses its spec and calibrates
on rows before the origin; the others are given everything before the origin with their defaults,
and FLAML the wall time that Keepwell took, at least ten seconds. All on one thread.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pandas as pd
import polars as pl
import pytest
from interleaved import DATA, ROOT, write_section
from threadpoolctl import threadpool_limits

from experiments.simulation.settings import PRESETS
from experiments.simulation.world import simulate, write_world
from features.catalogue.catalogue import HEALTH_SCORE
from features.compute.backfill import backfill, month_starts
from features.compute.snapshot_store import SnapshotStore
from features.ingest.run import ingest
from features.lake.lake import Lake
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace
from training.backtest.groups import auc_at_a_cutoff, mean_over_accounts
from training.backtest.run import Origin, find_origins
from training.dataset.cutoffs import reach_of
from training.dataset.labels import label_named
from training.dataset.splits import newest, rolling_folds
from training.metrics import Interval, account_draws, auc, row_log_loss
from training.models.binned_rows import BinnedRows
from training.models.fit import fitting_of
from training.models.fitting.fit_rows import usable_columns
from training.models.fitting.held_out import score_held_out
from training.models.fitting.taking_part import is_made_for
from training.models.model_selection import run_contender
from training.models.specs import FEW_ACCOUNTS, LIGHTGBM, SPECS, spec_named
from training.models.tuning.rounds import learn_rounds
from training.models.tuning.tune import tune
from training.pipeline.prepare import TUNING_SHARE, PreparedData, prepare, usable_folds

pytestmark = pytest.mark.bench

ORIGINS = int(os.environ.get("KEEPWELL_BENCH_ORIGINS", "4"))
TRIALS = 12
HORIZON = 90
SEED = 1
DRAWS = 1000
LEAST_BUDGET = 10.0  # seconds for FLAML, even where Keepwell took fewer
WORLDS = ("CRM sample", "simulated world, small")
LABELS = ("churn", "expansion")
KEEPWELL = "Keepwell"

Learner = Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]


def workspace_of(world: str) -> Workspace:
    """A workspace as `make run` makes it, kept between runs."""
    folder = DATA / "learners" / world.split(",")[0].replace(" ", "_")
    workspace = Workspace(folder)
    source = ROOT / "examples" / "crm"
    if world != WORLDS[0]:
        source = folder / "world" / "events"
        if not source.exists():
            write_world(simulate(PRESETS["small"], np.random.default_rng(1)), folder / "world")
    if not (folder / "workspace.toml").exists():
        ingest(workspace, [source], source / "mapping.toml")
    until = workspace.settings.complete_until
    assert until is not None
    first = Lake(workspace.events_dir).first_recorded()["contract.started"]
    backfill(workspace, month_starts(first + timedelta(days=28), until))
    return workspace


def prepared_of(workspace: Workspace, label: str) -> tuple[PreparedData, pl.DataFrame]:
    """The rows that a training of this label starts from, and the events that label them."""
    settings = workspace.settings
    declared = replace(label_named(label), horizons=(HORIZON,))
    digests = {f.name: f.digest for f in settings.catalogue.features if f.is_model_input} | {
        HEALTH_SCORE: ""
    }
    features, until = WorkspaceFeatures(workspace), settings.complete_until
    events = (
        Lake(workspace.events_dir)
        .scan()
        .filter(pl.col("kind").is_in(list(declared.reads)), pl.col("recorded_at") < until)
        .collect()
    )
    return prepare(
        declared,
        events=events,
        reader=lambda rows: features.historical(rows, list(digests)),
        digests=digests,
        cutoffs=SnapshotStore(workspace.snapshots_dir).moments(),
        known_until=until,
    ), events


def keepwell(origin: Origin, test: np.ndarray, chosen: list[str]) -> np.ndarray:
    """The spec that is best on its own out-of-time rows before the origin, tuned."""
    known = origin.known
    fitted = known.rows_at(origin.fitted)
    reach = reach_of(HORIZON, lead_days=known.label.lead_days)
    folds = usable_folds(
        known, rolling_folds(origin.fitted, newest(origin.fitted, TUNING_SHARE), reach=reach)
    )
    losses, parameters = {}, {}
    few = (
        known.label.rule == "contract_ends"
        and len(np.unique(known.account[fitted & (known.outcome == 1)])) < FEW_ACCOUNTS
    )
    for spec in SPECS:
        if not spec.may_serve or (few and not spec.for_few) or not is_made_for(spec, known):
            continue
        columns = usable_columns(known, fitted, spec)
        found = tune(spec, known, folds, columns, trials=TRIALS, seed=SEED).parameters
        if fitting_of(spec).is_grown:
            bins = BinnedRows.of(known, fitted, columns)
            found = learn_rounds(known, fitted, columns, found, seed=SEED, bins=bins)
        held = score_held_out(spec, known, fitted, columns, found, at=origin.moment, seed=SEED)
        losses[spec.name] = row_log_loss(
            known.outcome[fitted], held.calibration.probability(held.scores[fitted], 0)
        ).mean()
        parameters[spec.name] = found
    spec = spec_named(min(losses, key=losses.__getitem__))
    contender = run_contender(
        spec,
        known,
        fitted,
        test,
        parameters[spec.name],
        np.ones((1, len(known.accounts))),
        at=origin.moment,
        seed=SEED,
    )
    chosen.append(spec.title)
    return contender.probabilities[HORIZON]


def histogram(x: np.ndarray, y: np.ndarray, new: np.ndarray, budget: float) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(random_state=SEED).fit(x, y)
    return np.asarray(model.predict_proba(new)[:, 1])


def xgboost(x: np.ndarray, y: np.ndarray, new: np.ndarray, budget: float) -> np.ndarray:
    from xgboost import XGBClassifier

    model = XGBClassifier(random_state=SEED, n_jobs=1).fit(x, y)
    return np.asarray(model.predict_proba(new)[:, 1], dtype=np.float64)


def catboost(x: np.ndarray, y: np.ndarray, new: np.ndarray, budget: float) -> np.ndarray:
    from catboost import CatBoostClassifier

    model = CatBoostClassifier(
        random_seed=SEED, thread_count=1, verbose=False, allow_writing_files=False
    ).fit(x, y)
    return np.asarray(model.predict_proba(new)[:, 1])


def lightgbm(x: np.ndarray, y: np.ndarray, new: np.ndarray, budget: float) -> np.ndarray:
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(random_state=SEED, n_jobs=1, verbosity=-1).fit(x, y)
    return np.asarray(model.predict_proba(new)[:, 1])


def logistic(x: np.ndarray, y: np.ndarray, new: np.ndarray, budget: float) -> np.ndarray:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(
        SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(max_iter=2000)
    ).fit(x, y)
    return np.asarray(model.predict_proba(new)[:, 1])


def flaml(x: np.ndarray, y: np.ndarray, new: np.ndarray, budget: float) -> np.ndarray:
    sys.modules.setdefault("pyspark", None)  # type: ignore[arg-type]  # or it starts a cluster
    from flaml import AutoML

    model = AutoML()
    # a frame: FLAML fills in what is unknown in frames only, and half of its learners need it
    model.fit(
        pd.DataFrame(x),
        y,
        task="classification",
        metric="log_loss",
        time_budget=budget,
        n_jobs=1,
        seed=SEED,
        verbose=0,
    )
    return np.asarray(model.predict_proba(pd.DataFrame(new))[:, 1], dtype=np.float64)


PEERS: dict[str, tuple[str, Learner]] = {
    "scikit-learn HistGradientBoosting": ("scikit-learn", histogram),
    "XGBoost": ("xgboost-cpu", xgboost),
    "CatBoost": ("catboost", catboost),
    "LightGBM, its own defaults": ("lightgbm", lightgbm),
    "logistic regression, scikit-learn's defaults": ("scikit-learn", logistic),
    "FLAML, at least Keepwell's time": ("flaml", flaml),
}
"""Name to the package it comes from, and to probabilities from (rows, outcomes, new rows, time)."""


@dataclass(frozen=True)
class Run:
    """One learner over all origins."""

    probability: np.ndarray
    cpu: float
    wall: float


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def measured(learner: Callable[..., np.ndarray], *given: object) -> Run:
    cpu, wall = time.process_time(), time.perf_counter()
    probability = learner(*given)
    return Run(probability, time.process_time() - cpu, time.perf_counter() - wall)


def race(prepared: PreparedData, origins: tuple[Origin, ...]) -> tuple[dict[str, Run], list[str]]:
    """Every learner at every origin, in turn, and the spec that Keepwell chose at each."""
    runs: dict[str, list[Run]] = {}
    chosen: list[str] = []
    for origin in origins:
        known, test = origin.known, prepared.training.rows_at(origin.judged)
        fitted = known.rows_at(origin.fitted)
        columns = usable_columns(known, fitted, LIGHTGBM)
        x, y = known.matrix[fitted][:, columns], known.outcome[fitted].astype(int)
        new = known.matrix[test][:, columns]

        one = measured(keepwell, origin, test, chosen)
        runs.setdefault(KEEPWELL, []).append(one)
        rate = np.full(len(new), y.mean())
        runs.setdefault("base rate", []).append(Run(rate, 0.0, 0.0))
        for name, (package, learner) in PEERS.items():
            if installed(package) is None:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                runs.setdefault(name, []).append(
                    measured(learner, x, y, new, max(LEAST_BUDGET, one.wall))
                )
        print(f"{origin.moment:%Y-%m-%d}: {chosen[-1]}, {one.wall:.0f} s", flush=True)
    return {
        name: Run(
            np.concatenate([run.probability for run in parts]),
            sum(run.cpu for run in parts),
            sum(run.wall for run in parts),
        )
        for name, parts in runs.items()
    }, chosen


def auc_difference(
    y: np.ndarray, p: np.ndarray, q: np.ndarray, account: np.ndarray, draws: np.ndarray
) -> Interval:
    """AUC of p minus that of q on the same draws of accounts."""
    w = np.concatenate((np.ones((1, draws.shape[1])), draws))[:, account]
    spread = auc(y, p, w) - auc(y, q, w)
    low, high = np.nanquantile(spread[1:], [0.025, 0.975])
    return Interval(value=float(spread[0]), low=float(low), high=float(high))


def shown(interval: Interval, sign: str = "+") -> str:
    return f"{interval.value:{sign}.4f} ({interval.low:{sign}.4f} to {interval.high:{sign}.4f})"


@pytest.mark.parametrize("world", WORLDS)
def test_keepwell_beside_what_a_user_would_pick_instead(world: str) -> None:
    workspace = workspace_of(world)
    parts, worse = [], []
    for label in LABELS:
        prepared, events = prepared_of(workspace, label)
        origins = find_origins(prepared, events, ORIGINS)
        with threadpool_limits(limits=1):
            runs, chosen = race(prepared, origins)
        training = prepared.training
        place = np.concatenate([np.flatnonzero(training.rows_at(o.judged)) for o in origins])
        y, cutoff = training.outcome[place], training.cutoff[place]
        account = np.unique(training.account[place], return_inverse=True)[1]
        draws = account_draws(account, DRAWS, np.random.default_rng(SEED))
        own = runs[KEEPWELL].probability
        rows = []
        for name, run in sorted(
            runs.items(), key=lambda item: row_log_loss(y, item[1].probability).mean()
        ):
            loss = row_log_loss(y, run.probability)
            difference = mean_over_accounts(row_log_loss(y, own) - loss, account, draws)
            if difference.low > 0 and name != KEEPWELL:
                worse.append(f"{label}: {name} ({shown(difference)})")
            beside = (
                ("–", "–")
                if name == KEEPWELL
                else (
                    shown(difference),
                    shown(auc_difference(y, own, run.probability, account, draws)),
                )
            )
            at_a_cutoff = auc_at_a_cutoff(y, run.probability, cutoff, account, draws)
            rows.append(
                f"| {name} | {loss.mean():.4f} | {beside[0]} | "
                f"{auc(y, run.probability, np.ones((1, len(y))))[0]:.3f} | "
                f"{beside[1]} | {at_a_cutoff.value:.3f} | {run.cpu:.1f} |"
            )
        parts += [
            f"**{label} within {HORIZON} days**: {len(origins)} origins, {len(y):,} judged rows of "
            f"{account.max() + 1:,} accounts, {int(y.sum())} with the outcome. Keepwell chose "
            f"{', '.join(chosen)}.",
            "",
            "| | log loss | Keepwell minus it | AUC | Keepwell minus it | AUC at a cutoff | "
            "cpu seconds |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
        assert runs["base rate"].probability.shape == own.shape
    versions = ", ".join(
        f"{package} {installed(package) or 'not installed'}"
        for package in dict.fromkeys(package for package, _ in PEERS.values())
    )
    parts.append(
        "Keepwell's log loss is significantly above that of: " + ("; ".join(worse) or "none") + "."
    )
    parts.append(
        f"\nRolling origins of one back-test, rows and outcomes as known at each; paired "
        f"95 % intervals over accounts. {versions}. Tuned with {TRIALS} trials an origin."
    )
    write_section(f"Learners, {world}", "\n".join(parts))
