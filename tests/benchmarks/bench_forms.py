"""The form of many horizons: today's beside what else gives five probabilities that never fall.

At one moment every form is fitted to what had happened by then and judges the same later rows: the
score of the near with its calibration and a chance of its own after it (today's, from LightGBM and
from the refined health formula), one LightGBM with the horizon as a monotone feature, a
discrete-time hazard on account-period rows, a LightGBM for each horizon, a logistic landmark model
for each, and the blend of the three with the logistic. The
horizon as a feature is also fitted to the cutoffs that are closed at every horizon alone: where the
newest cutoffs know short windows only, a drifting rate could pass for the horizon.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
from interleaved import ROOT, write_section
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from training_worlds import TrainingWorld, crm, simulated

from features.events.schema import Event, events_frame
from registry.bundle.calibration import sigmoid
from training.backtest.groups import mean_over_accounts
from training.dataset.cutoffs import reach_of
from training.dataset.labels import Label
from training.dataset.splits import closed_by
from training.dataset.training_set import TrainingSet
from training.metrics import account_draws, evaluate, row_log_loss
from training.models.fit import fit_linear
from training.models.fitting.fit_rows import fit_rows, usable_columns
from training.models.fitting.held_out import score_held_out
from training.models.fitting.shares import shared_probability
from training.models.long_horizons import long_horizon_probability
from training.models.specs import FORMULA_PRIOR, LIGHTGBM, ModelSpec
from training.pipeline.prepare import prepare

pytestmark = pytest.mark.bench

ACCOUNTS = int(os.environ.get("KEEPWELL_BENCH_ACCOUNTS", "700"))
DRAWS, SEED = 500, 1
CDNOW = ROOT.parent / "shared" / "data" / "cdnow"
TODAY, REFINED = "today's, from LightGBM", "today's, from the refined health formula"

Matrix = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Task:
    """Rows with outcomes at five horizons, the moment of the fit, and the rows that judge."""

    training: TrainingSet  # at the near horizons
    horizons: tuple[int, ...]
    outcomes: Matrix  # rows × all horizons
    at: datetime
    test: Bools
    columns: list[int]

    @property
    def x(self) -> Matrix:
        return self.training.matrix[:, self.columns]

    def known(self, position: int) -> Bools:
        """Rows whose outcome at this horizon had been decided at the moment."""
        reach = reach_of(self.horizons[position], lead_days=self.training.label.lead_days)
        closed = [
            self.training.cutoffs.index(one)
            for one in closed_by(self.training.cutoffs, self.at, reach=reach)
        ]
        return np.isin(self.training.cutoff, closed) & ~np.isnan(self.outcomes[:, position])


def task_of(world: TrainingWorld, horizons: tuple[int, ...]) -> Task:
    prepared = world.prepared("churn", horizons)
    training, later = prepared.training, prepared.long_horizons
    at, rows = prepared.split.test[0], prepared.test
    if later.horizons:
        at = later.test[later.horizons[-1]][0]
        rows = training.rows_at(later.test[later.horizons[-1]])
    outcomes = np.column_stack((training.outcomes, *(later.outcomes[h] for h in later.horizons)))
    before = training.rows_at(
        closed_by(training.cutoffs, at, reach=timedelta(days=training.horizons[-1]))
    )
    return Task(
        training,
        (*training.horizons, *later.horizons),
        outcomes,
        at,
        rows & ~np.isnan(outcomes).any(axis=1),
        usable_columns(training, before, LIGHTGBM),
    )


def cdnow() -> Task:
    """Real purchases: 90 days without one is silence; recency, frequency and amounts tell."""
    bought = (
        pl.read_csv(
            next(CDNOW.glob("*")),
            has_header=False,
            skip_rows=1,
            new_columns=["line"],
            separator="\t",
        )
        .select(part=pl.col("line").str.extract_all(r"\S+"))
        .select(
            account_id=pl.col("part").list.get(0),
            day=pl.col("part").list.get(1).str.to_date("%Y%m%d"),
            amount=pl.col("part").list.get(3).cast(pl.Float64),
        )
    )
    kept = bought["account_id"].unique().sort().gather_every(8)
    bought = bought.filter(pl.col("account_id").is_in(kept.implode()))
    events = events_frame(
        [
            Event(
                account_id=account,
                kind="feature.used",
                quantity=amount,
                occurred_at=datetime(day.year, day.month, day.day, tzinfo=UTC),
                recorded_at=datetime(day.year, day.month, day.day, tzinfo=UTC),
                event_id=str(number),
            )
            for number, (account, day, amount) in enumerate(bought.iter_rows())
        ]
    )
    label = Label(
        name="silent_churn",
        description="",
        rule="use_stops",
        cohort="in_use",
        horizons=(30, 45, 60, 75, 90),
        silence_days=90,
    )
    names = [f"{what}_{days}d" for days in (30, 90, 365) for what in ("n", "sum")]
    names += ["recency", "tenure", "gap", "health_score", "feature_uses_28d"]

    def reader(rows: pl.DataFrame, /) -> pl.DataFrame:
        both = rows.join(events.select("account_id", "occurred_at", "quantity"), on="account_id")
        ago = (pl.col("as_of") - pl.col("occurred_at")).dt.total_days()
        both = both.filter(pl.col("occurred_at") < pl.col("as_of")).with_columns(ago=ago)
        made = both.group_by("account_id", "as_of").agg(
            *(
                expression.alias(f"{what}_{days}d")
                for days in (30, 90, 365)
                for what, expression in (
                    ("n", (pl.col("ago") <= days).sum()),
                    ("sum", pl.col("quantity").filter(pl.col("ago") <= days).sum()),
                )
            ),
            recency=pl.col("ago").min(),
            tenure=pl.col("ago").max(),
            gap=(pl.col("ago").max() - pl.col("ago").min()) / pl.len(),
            health_score=-pl.col("ago").min(),
            feature_uses_28d=(pl.col("ago") <= 28).sum(),
        )
        return rows.select("account_id", "as_of").join(made, on=["account_id", "as_of"], how="left")

    cutoffs = tuple(datetime(1997 + m // 12, m % 12 + 1, 1, tzinfo=UTC) for m in range(3, 18))
    prepared = prepare(
        label,
        events=events,
        reader=reader,
        digests=dict.fromkeys(names, ""),
        cutoffs=cutoffs,
        known_until=datetime(1998, 7, 1, tzinfo=UTC),
    )
    training = prepared.training
    return Task(
        training,
        training.horizons,
        training.outcomes,
        prepared.split.test[0],
        prepared.test & ~np.isnan(training.outcomes).any(axis=1),
        usable_columns(training, prepared.before_test, LIGHTGBM),
    )


def grown(x: Matrix, y: NDArray[np.float64], **more: object) -> lgb.Booster:
    settings = {
        **LIGHTGBM.parameters,
        "objective": "binary",
        "verbosity": -1,
        "num_threads": 1,
        "bagging_freq": 1,
        "seed": SEED,
        "deterministic": True,
        **more,
    }
    rounds = int(settings.pop("rounds"))  # type: ignore[call-overload]
    for name in ("num_leaves", "min_data_in_leaf"):
        settings[name] = int(settings[name])  # type: ignore[call-overload]
    return lgb.train(settings, lgb.Dataset(x, y), rounds)


def today(task: Task, spec: ModelSpec = LIGHTGBM) -> Matrix:
    training = task.training
    before = training.rows_at(
        closed_by(training.cutoffs, task.at, reach=timedelta(days=training.horizons[-1]))
    )
    columns = usable_columns(training, before, spec)
    held = score_held_out(spec, training, before, columns, spec.parameters, at=task.at, seed=SEED)
    fitted = fit_rows(spec, training, before, columns, spec.parameters, seed=SEED)
    matrix = training.matrix[task.test][:, columns]
    f = fitted.score(matrix)
    near = [
        shared_probability(held.calibration, held.shares, f, matrix, place)
        for place in range(len(training.horizons))
    ]
    later = {
        h: task.outcomes[:, place]
        for place, h in enumerate(task.horizons)
        if h not in training.horizons
    }
    far = (
        long_horizon_probability(
            spec, training, later, task.test, spec.parameters, at=task.at, seed=SEED
        )
        if later
        else {}
    )
    return np.column_stack((*near, *(far[h] for h in sorted(far))))


def horizon_as_feature(task: Task, *, all_closed: bool = False) -> Matrix:
    parts = []
    for place, horizon in enumerate(task.horizons):
        rows = task.known(-1 if all_closed else place) & ~np.isnan(task.outcomes[:, place])
        parts.append(
            (
                np.column_stack((task.x[rows], np.full(rows.sum(), np.log(horizon)))),
                task.outcomes[rows, place],
            )
        )
    x, y = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    model = grown(x, y, monotone_constraints=[0] * len(task.columns) + [1], feature_fraction=1.0)
    new = task.x[task.test]
    return np.column_stack(
        [model.predict(np.column_stack((new, np.full(len(new), np.log(h))))) for h in task.horizons]
    )


def hazard(task: Task) -> Matrix:
    parts = []
    there = np.ones(len(task.x), dtype=np.bool_)
    for place in range(len(task.horizons)):
        rows = task.known(place) & there
        parts.append(
            (
                np.column_stack((task.x[rows], np.full(rows.sum(), float(place)))),
                task.outcomes[rows, place],
            )
        )
        there = task.outcomes[:, place] == 0
    x, y = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    model = grown(x, y, feature_fraction=1.0)
    new = task.x[task.test]
    stays: list[Matrix] = []
    for place in range(len(task.horizons)):
        chance = model.predict(np.column_stack((new, np.full(len(new), float(place)))))
        stays.append((stays[-1] if stays else 1.0) * (1 - np.asarray(chance)))
    return 1 - np.column_stack(stays)


def separate(task: Task) -> Matrix:
    new = task.x[task.test]
    said = [
        np.asarray(grown(task.x[rows], task.outcomes[rows, place]).predict(new))
        for place in range(len(task.horizons))
        for rows in (task.known(place),)
    ]
    return np.maximum.accumulate(np.column_stack(said), axis=1)


def landmark(task: Task) -> Matrix:
    new = task.x[task.test]
    said = [
        sigmoid(fit_linear(task.x[rows], task.outcomes[rows, place], strength=0.001).score(new))
        for place in range(len(task.horizons))
        for rows in (task.known(place),)
    ]
    return np.maximum.accumulate(np.column_stack(said), axis=1)


FORMS: Mapping[str, Callable[[Task], Matrix]] = {
    TODAY: today,
    REFINED: lambda task: today(task, FORMULA_PRIOR),
    "the horizon as a monotone feature": horizon_as_feature,
    "the same, cutoffs closed at every horizon alone": lambda task: horizon_as_feature(
        task, all_closed=True
    ),
    "hazard of account-periods": hazard,
    "a LightGBM for each horizon": separate,
    "logistic landmark": landmark,
}
BLENDED = (
    "the horizon as a monotone feature",
    "hazard of account-periods",
    "a LightGBM for each horizon",
    "logistic landmark",
)


def race(task: Task) -> dict[str, Matrix]:
    said = {}
    for name, form in FORMS.items():
        try:
            said[name] = np.clip(form(task), 1e-4, 1 - 1e-4)
        except (lgb.basic.LightGBMError, ValueError) as error:  # nothing closed at every horizon
            print(f"{name}: {error}")
    odds = [np.log(said[name] / (1 - said[name])) for name in BLENDED]
    said["blend of the feature, the hazard, each and the landmark"] = sigmoid(np.mean(odds, axis=0))
    for name, p in said.items():
        assert (np.diff(p, axis=1) >= -1e-12).all(), f"{name}: a probability falls"
    return said


def table(task: Task) -> tuple[str, dict[str, float]]:
    """Every form's numbers, and the upper end of its difference in log loss to today's."""
    said = race(task)
    y = task.outcomes[task.test]
    account = np.unique(task.training.account[task.test], return_inverse=True)[1]
    draws = account_draws(account, DRAWS, np.random.default_rng(SEED))
    losses = {
        name: np.mean([row_log_loss(y[:, k], p[:, k]) for k in range(y.shape[1])], axis=0)
        for name, p in said.items()
    }
    lines = [
        "| | log loss, mean of the horizons | minus today's, LightGBM | AUC "
        "| average precision | Brier | log loss | calibration error "
        "| promised minus observed, shortest and longest |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    upper = {}
    for name, p in sorted(said.items(), key=lambda item: losses[item[0]].mean()):
        gap = mean_over_accounts(losses[name] - losses[TODAY], account, draws)
        upper[name] = gap.high
        found = evaluate(y[:, -1], p[:, -1], account, draws)
        beside = "–" if name == TODAY else (f"{gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})")
        cells = [
            str(found[m])
            for m in ("auc", "average_precision", "brier", "log_loss", "calibration_error")
        ]
        off = [f"{(p[:, k] - y[:, k]).mean():+.3f}" for k in (0, -1)]
        lines.append(
            f"| {name} | {losses[name].mean():.4f} | {beside} | {' | '.join(cells)} | "
            f"{', '.join(off)} |"
        )
    opening = (
        f"horizons {', '.join(map(str, task.horizons))} days, fitted as of "
        f"{task.at:%Y-%m-%d}, {len(y):,} judged rows of {account.max() + 1:,} accounts, "
        f"{int(y[:, -1].sum())} with the outcome by the longest; metrics at the longest"
    )
    return f"{opening}\n\n" + "\n".join(lines), upper


WORLDS: Mapping[str, Callable[[], Task]] = {
    "CRM sample, churn": lambda: task_of(crm(), (15, 30, 45, 60, 90)),
    "CDNOW, 90 days without a purchase": cdnow,
    "simulated company, 48 months, churn": lambda: task_of(
        simulated(accounts=ACCOUNTS, months=48), (30, 60, 90)
    ),
}


def test_every_form_of_many_horizons_side_by_side() -> None:
    parts, better = [], []
    with threadpool_limits(limits=1):
        for name, make in WORLDS.items():
            if name.startswith("CDNOW") and not CDNOW.exists():
                parts.append(f"**{name}**: not run, ../shared/data/cdnow is not here.\n")
                continue
            text, upper = table(make())
            parts.append(f"**{name}**: {text}\n")
            better += [f"{form} ({name})" for form, high in upper.items() if high < 0]
            print(parts[-1], flush=True)
    parts.append(
        "Clearly better than today's, by the interval: " + ("; ".join(better) or "none") + "."
    )
    write_section("Forms of many horizons", "\n".join(parts))
