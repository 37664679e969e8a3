"""A shop without contracts: no order in 90 days, beside recency, frequency, RFM and BG/NBD.

CDNOW, all customers: every contender is fitted to monthly cutoffs whose windows close before the test
opens, and judged on the cutoffs after. BG/NBD sees every order up to the first test cutoff, which
is more than the contenders see of outcomes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from buy_till_you_die import PUBLISHED, BgNbd, logistic
from interleaved import ROOT, write_section
from numpy.typing import NDArray
from scipy.special import expit
from threadpoolctl import threadpool_limits

from features.catalogue.catalogue import HEALTH_SCORE, load_catalogue
from features.compute.backfill import backfill, month_starts
from features.ingest.run import ingest
from features.lake.lake import Lake
from features.leaving import Leaving
from features.workspace import Workspace
from registry.outcomes import churn_of
from training.dataset.labels import ROW, label_of
from training.metrics import account_draws, auc, log_loss, row_log_loss
from training.models.model_selection import run_contender
from training.models.specs import BASE_RATE, LIGHTGBM, LOGISTIC
from training.pipeline.prepare import PreparedData, prepare

pytestmark = pytest.mark.bench

SAMPLE = ROOT / "examples" / "cdnow"
WHOLE = ROOT.parent / "shared" / "data" / "cdnow"
UNTIL = datetime(1998, 7, 1, tzinfo=UTC)
DRAWS, HORIZON, WEEK = 1000, 90, 7.0
RECENCY, FREQUENCY, MONEY, TENURE = (
    "days_since_order",
    "order_days_count",
    "order_amount_mean",
    "days_since_first_order",
)
OURS = (LOGISTIC, LIGHTGBM)

Vector = NDArray[np.float64]


def prepared(folder: Path) -> PreparedData:
    """Orders of a folder with monthly snapshots, as ``keepwell train churn`` prepares them."""
    with TemporaryDirectory() as place:
        workspace = Workspace(place, environment={})
        ingest(workspace, [folder], SAMPLE / "mapping.toml")
        snapshots = backfill(workspace, month_starts(datetime(1997, 4, 1, tzinfo=UTC), UNTIL))
        events = Lake(workspace.events_dir, workspace.quarantine_dir).scan().collect()
    names = [f.name for f in load_catalogue().features if f.is_model_input] + [HEALTH_SCORE]
    return prepare(
        label_of(churn_of(Leaving(means="no_use"))),
        events=events,
        reader=lambda rows: rows.join(snapshots, on=ROW, how="left"),
        digests=dict.fromkeys(names, ""),
        cutoffs=tuple(snapshots["as_of"].unique().sort()),
        known_until=UNTIL,
    )


class Rows:
    """What the rivals read of rows of a training set."""

    def __init__(self, data: PreparedData, rows: NDArray[np.bool_]) -> None:
        training = data.training
        self.y = training.outcome[rows]
        self.account = training.account[rows]
        self._values = {
            name: training.part(rows, training.columns((name,)))[:, 0]
            for name in (RECENCY, FREQUENCY, MONEY, TENURE)
        }

    def logs(self, *names: str) -> Vector:
        """Logarithms, a column each."""
        return np.column_stack([np.log1p(self._values[name]) for name in names])

    @property
    def history(self) -> tuple[Vector, Vector, Vector]:
        """What BG/NBD reads: repeats, weeks to the last order, weeks to the moment."""
        age = self._values[TENURE] / WEEK
        x = self._values[FREQUENCY] - 1
        last = np.where(x > 0, age - self._values[RECENCY] / WEEK, 0.0)
        return x, np.maximum(last, 0.0), age


def rivals(data: PreparedData) -> dict[str, Vector]:
    """The chance of no order in 90 days of each test row, by each rival."""
    known, test = Rows(data, data.before_test), Rows(data, data.test)
    found = {}
    for title, names in (
        ("recency alone (logistic)", (RECENCY,)),
        ("frequency alone (logistic)", (FREQUENCY,)),
        ("recency, frequency, money (logistic)", (RECENCY, FREQUENCY, MONEY)),
    ):
        beta = logistic(known.logs(*names), known.y)
        found[title] = expit(beta[0] + test.logs(*names) @ beta[1:])
    first = data.training.cutoffs.index(data.split.test[0])
    everybody = Rows(data, data.training.cutoff == first)
    model = BgNbd.fit(*everybody.history)
    found["BG/NBD"] = model.no_purchase(*test.history, HORIZON / WEEK)
    said = np.log(model.no_purchase(*known.history, HORIZON / WEEK))
    odds = said - np.log1p(-np.exp(np.minimum(said, -1e-9)))
    beta = logistic(odds[:, None], known.y)
    now = np.clip(found["BG/NBD"], 1e-6, 1 - 1e-6)
    found["BG/NBD, calibrated as ours are"] = expit(beta[0] + beta[1] * np.log(now / (1 - now)))
    return found


def contenders(data: PreparedData) -> dict[str, Vector]:
    """The same of our contenders, with their default parameters."""
    rng = np.random.default_rng(1)
    draws = account_draws(data.training.account[data.test], 20, rng)
    with threadpool_limits(limits=1, user_api="blas"):
        return {
            spec.title: run_contender(
                spec,
                data.training,
                data.before_test,
                data.test,
                spec.parameters,
                draws,
                at=data.split.test[0],
                seed=1,
            ).probabilities[HORIZON]
            for spec in (*OURS, BASE_RATE)
        }


def table(data: PreparedData) -> tuple[str, dict[tuple[str, str], float]]:
    """The section, and how much less each of ours loses than each other, at least."""
    test = Rows(data, data.test)
    p = {**contenders(data), **rivals(data)}
    draws = account_draws(test.account, DRAWS, np.random.default_rng(7))
    rows = draws @ np.bincount(test.account, minlength=draws.shape[1])
    once = np.ones((1, len(test.y)))
    loss = {
        name: draws
        @ np.bincount(test.account, row_log_loss(test.y, one), minlength=draws.shape[1])
        / rows
        for name, one in p.items()
    }
    plain = {name: float(log_loss(test.y, one, once)[0]) for name, one in p.items()}
    lines = [
        "| | log loss | AUC | less with ours, logistic | less with ours, LightGBM |",
        "|---|---|---|---|---|",
    ]
    least = {}
    for name in sorted(p, key=lambda name: plain[name]):
        cells = []
        for ours in OURS:
            low, high = np.quantile(loss[name] - loss[ours.title], [0.025, 0.975])
            least[ours.title, name] = float(low)
            gain = plain[name] - plain[ours.title]
            cells.append("" if name == ours.title else f"{gain:+.4f} ({low:+.4f} to {high:+.4f})")
        area = float(auc(test.y, p[name], once)[0])
        lines.append(f"| {name} | {plain[name]:.4f} | {area:.4f} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines), least


def test_bgnbd_finds_what_was_published() -> None:
    """On one customer in ten, as of the end of week 39, in weeks."""
    orders = pl.read_csv(
        "\n".join(
            ",".join(line.split())
            for line in (SAMPLE / "orders.txt").read_text(encoding="utf-8").splitlines()
        ).encode(),
        schema_overrides={"date": pl.String},
    ).with_columns(pl.col("date").str.to_date("%Y%m%d"))
    end = datetime(1997, 9, 30).date()  # noqa: DTZ001 - a day
    seen = (
        orders.filter(pl.col("date") <= end)
        .group_by("customer_id")
        .agg(
            pl.col("date").min().alias("first"),
            pl.col("date").max().alias("last"),
            x=pl.col("date").n_unique() - 1,
        )
    )
    age = (pl.lit(end) - pl.col("first")).dt.total_days() / WEEK
    last = (pl.col("last") - pl.col("first")).dt.total_days() / WEEK
    columns = seen.select(x=pl.col("x").cast(pl.Float64), last=last, age=age)
    model = BgNbd.fit(*(columns[name].to_numpy() for name in ("x", "last", "age")))
    assert (model.r, model.alpha, model.a, model.b) == pytest.approx(PUBLISHED, rel=0.02)


def test_no_order_in_ninety_days_on_cdnow() -> None:
    if not WHOLE.exists():
        pytest.skip("The data set cdnow is not in shared/data beside the checkout.")
    data = prepared(WHOLE)
    lines, found = table(data)
    counts = data.counts
    text = (
        f"No order in {HORIZON} days, CDNOW: {counts['fitted']:,} rows at "
        f"{len(data.split.before_test)} monthly cutoffs before the test, judged on "
        f"{counts['test']:,} rows at {len(data.split.test)} later cutoffs "
        f"({data.split.test[0]:%Y-%m-%d} to {data.split.test[-1]:%Y-%m-%d}), of which "
        f"{counts['test_outcomes'] / counts['test']:.1%} ordered nothing. Intervals by {DRAWS:,} "
        f"draws of accounts, paired. BG/NBD saw all orders up to the first test cutoff; its code finds "
        f"the published parameters of the one in ten.\n\n{lines}"
    )
    print(text)
    write_section("A shop without contracts", text)
    ours = {spec.title for spec in OURS}
    for name in {name for _, name in found} - ours:
        assert max(found[one, name] for one in ours) > 0, name
