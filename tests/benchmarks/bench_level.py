"""Level and order on companies that no training has seen, beside what a user would pick instead.

A simulated company trains; accounts of other companies, with seeds that nothing was chosen on, are
scored at their own cutoffs and judged by what came. Peers fit the same features, each horizon for
itself: LightGBM with early stopping by folds of accounts, a logistic regression with a step at
the renewal, CatBoost where it is installed, and the mean of their probabilities. Differences are
paired, with 95 % intervals that draw whole accounts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec

import lightgbm as lgb
import numpy as np
import pytest
from interleaved import write_section
from threadpoolctl import threadpool_limits
from training_worlds import simulated

from registry.bundle.bundle import ModelBundle
from training.backtest.groups import mean_over_accounts
from training.dataset.training_set import TrainingSet
from training.metrics import (
    account_draws,
    auc,
    calibration_slope,
    came_over_promised,
    groups_covered,
    metrics_by_draw,
    row_log_loss,
)
from training.models.fitting.fit_rows import usable_columns
from training.models.model_selection import run_contender
from training.models.specs import FORMULA_PRIOR, HEALTH_SCORE, RENEWAL, SPECS
from training.models.tuning.tune import tune
from training.pipeline.prepare import PreparedData
from training.pipeline.release import release

pytestmark = pytest.mark.bench

ACCOUNTS = int(os.environ.get("KEEPWELL_BENCH_ACCOUNTS", "700"))
MONTHS = 20
TRAINED = (901, 902)
JUDGED = (951, 952, 953)
FIRST_MONTH = 5  # of a judged company: its accounts have come by then
LABELS = ("churn", "expansion")
SEED, DRAWS, FOLDS = 1, 500, 5
OURS = "Keepwell"

Floats = np.ndarray
Predict = Callable[[Floats], Floats]


def ours_of(prepared: PreparedData) -> tuple[str, ModelBundle]:
    """The spec that a training chooses, released."""
    training, losses, parameters = prepared.training, {}, {}
    candidates = [s for s in SPECS if s.may_serve and (s.for_few or not prepared.has_few_outcomes)]
    for spec in candidates:
        columns = usable_columns(training, prepared.before_test, spec)
        found = tune(spec, training, prepared.tuning_folds, columns, trials=0, seed=SEED).parameters
        contender = run_contender(
            spec,
            training,
            prepared.before_test,
            prepared.test,
            found,
            np.ones((1, len(training.accounts))),
            at=prepared.split.test[0],
            seed=SEED,
        )
        losses[spec.name] = contender.metrics[training.horizons[-1]]["log_loss"].value
        parameters[spec.name] = contender.parameters
    best = min(candidates, key=lambda spec: losses[spec.name])
    bundle = release(
        best, prepared, parameters[best.name], code_version="bench", seed=SEED, metrics={}
    )
    return best.title, bundle


def early_stopped(x: Floats, y: Floats, fold: Floats, names: tuple[str, ...]) -> Predict:
    given = {"objective": "binary", "verbosity": -1, "num_threads": 1, "seed": SEED,
             "learning_rate": 0.05, "num_leaves": 15, "deterministic": True,
             "force_col_wise": True}  # fmt: skip
    rounds = []
    for out in range(FOLDS):
        fitted = lgb.Dataset(x[fold != out], y[fold != out])
        held = lgb.Dataset(x[fold == out], y[fold == out], reference=fitted)
        stop = lgb.early_stopping(30, verbose=False)
        rounds.append(lgb.train(given, fitted, 500, valid_sets=[held], callbacks=[stop]))
    best = max(5, round(np.mean([one.best_iteration for one in rounds])))
    model = lgb.train(given, lgb.Dataset(x, y), best)
    return lambda new: np.asarray(model.predict(new, num_threads=1))


def logistic_with_step(x: Floats, y: Floats, fold: Floats, names: tuple[str, ...]) -> Predict:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    renewal = names.index(RENEWAL)

    def stepped(rows: Floats) -> Floats:
        steps = [np.nan_to_num(rows[:, renewal]) < days for days in (30, 60, 90)]
        logged = np.sign(rows) * np.log1p(np.abs(rows))
        return np.column_stack((logged, *steps))

    model = make_pipeline(
        SimpleImputer(strategy="median"),
        StandardScaler(),
        LogisticRegression(C=0.003, max_iter=2000),
    ).fit(stepped(x), y)
    return lambda new: np.asarray(model.predict_proba(stepped(new))[:, 1])


def catboost(x: Floats, y: Floats, fold: Floats, names: tuple[str, ...]) -> Predict:
    from catboost import CatBoostClassifier

    model = CatBoostClassifier(
        random_seed=SEED, thread_count=1, verbose=False, allow_writing_files=False
    ).fit(x, y)
    return lambda new: np.asarray(model.predict_proba(new)[:, 1])


PEERS: Mapping[str, Callable[[Floats, Floats, Floats, tuple[str, ...]], Predict]] = {
    "LightGBM, early stopping": early_stopped,
    "logistic with renewal step": logistic_with_step,
    **({"CatBoost": catboost} if find_spec("catboost") else {}),
}


@pytest.mark.parametrize("seed", TRAINED)
def test_level_and_order_on_companies_that_nobody_has_seen(seed: int) -> None:
    others = [simulated(accounts=ACCOUNTS, months=MONTHS, seed=other) for other in JUDGED]
    world, parts = simulated(accounts=ACCOUNTS, months=MONTHS, seed=seed), []
    for label in LABELS:
        judged = [other.prepared(label).training for other in others]
        with threadpool_limits(limits=1):
            parts.append(beside_peers(world.prepared(label), judged, label, seed))
        print(parts[-1], flush=True)
    said = (
        f"Trained on {ACCOUNTS} simulated accounts and {MONTHS} months, judged on "
        f"the accounts of seeds {JUDGED} from their month {FIRST_MONTH + 1} on. The difference is "
        f"Keepwell's minus the peer's: below 0 is better in log loss, above 0 in AUC. An interval "
        f"covers where the rate of a twentieth of the rows, in the order of their probability, lies "
        f"within it but for the error of that rate."
    )
    title = f"Level and order on other companies, trained on seed {seed}"
    write_section(title, "\n\n".join((said, *parts)))


def beside_peers(prepared: PreparedData, judged: list[TrainingSet], label: str, seed: int) -> str:
    training = prepared.training
    title, bundle = ours_of(prepared)
    columns = usable_columns(training, ~np.isnan(training.outcome), FORMULA_PRIOR)
    columns = [column for column in columns if training.names[column] != HEALTH_SCORE]
    names = tuple(training.names[column] for column in columns)
    masks = [(one.cutoff >= FIRST_MONTH) & ~np.isnan(one.outcome) for one in judged]
    starts = np.cumsum([0, *(len(one.accounts) for one in judged)])
    account = np.concatenate(
        [one.account[mask] + start for one, mask, start in zip(judged, masks, starts, strict=False)]
    )
    account = np.unique(account, return_inverse=True)[1]
    draws = account_draws(account, DRAWS, np.random.default_rng(SEED))

    def rows(wanted: tuple[str, ...]) -> Floats:
        return np.concatenate(
            [one.part(mask, one.columns(wanted)) for one, mask in zip(judged, masks, strict=True)]
        )

    mine, new = rows(tuple(bundle.contract.names)), rows(names)
    lines = [
        f"**{label}, trained on seed {seed}**: {len(account):,} rows of {account.max() + 1:,} "
        f"accounts; Keepwell chose the {title}.",
        "",
        "| days | | came over promised | calibration error | slope | log loss | difference | AUC | "
        "difference |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    covers = []
    before = np.zeros(len(account))
    for position, horizon in enumerate(training.horizons):
        y = np.concatenate(
            [one.outcomes[m, position] for one, m in zip(judged, masks, strict=True)]
        )
        fitted = ~np.isnan(training.outcomes[:, position])
        x, outcome = training.part(fitted, columns), training.outcomes[fitted, position]
        fold = training.account[fitted] % FOLDS
        found = {OURS: bundle.probability(mine, horizon)}
        assert (found[OURS] >= before).all(), "a probability falls as the horizon grows"
        before = found[OURS]
        low, high = bundle.probability_interval(mine, horizon)
        covered = groups_covered(y, found[OURS], low, high, account)
        covers.append(f"{covered.sum()} of {len(covered)} at {horizon} days")
        peers = {name: fit(x, outcome, fold, names)(new) for name, fit in PEERS.items()}
        found |= {**peers, "their blend": np.mean([*peers.values()], axis=0)}
        lines += [
            f"| {horizon} | {name} | {measured(y, p, found[OURS], account, draws)} |"
            for name, p in found.items()
        ]
    return "\n".join((*lines, "", f"Keepwell's 95 % intervals cover: {', '.join(covers)}."))


def measured(y: Floats, p: Floats, ours: Floats, account: Floats, draws: Floats) -> str:
    level = came_over_promised(y, p, account, draws)
    found = metrics_by_draw(y, p, np.ones((1, len(y))))
    weights = np.concatenate((np.ones((1, draws.shape[1])), draws))[:, account]
    beside = ("–", "–")
    if p is not ours:
        loss = mean_over_accounts(row_log_loss(y, ours) - row_log_loss(y, p), account, draws)
        order = auc(y, ours, weights) - auc(y, p, weights)
        low, high = np.nanquantile(order[1:], [0.025, 0.975])
        beside = (
            f"{loss.value:+.4f} ({loss.low:+.4f} to {loss.high:+.4f})",
            f"{order[0]:+.3f} ({low:+.3f} to {high:+.3f})",
        )
    return (
        f"{level.value:.2f} ({level.low:.2f} to {level.high:.2f}) | "
        f"{found['calibration_error'][0]:.4f} | {calibration_slope(y, p, account)} | "
        f"{row_log_loss(y, p).mean():.4f} | {beside[0]} | {found['auc'][0]:.3f} | {beside[1]}"
    )
