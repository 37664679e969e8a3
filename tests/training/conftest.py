"""Contract timelines for the tests: small ones by hand, and the CRM sample's."""

from __future__ import annotations

import fcntl
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.compute.backfill import backfill, month_starts
from features.events.schema import EVENT_SCHEMA, Event, events_frame, properties_text
from features.ingest.run import ingest
from features.workspace import Workspace
from registry.store.store import MemoryModelStore, TrainingRun

ROOT = Path(__file__).resolve().parents[2]
CRM_FOLDERS = (ROOT / "examples" / "crm", ROOT.parent / "shared" / "data" / "crm")


def at(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


class Timelines:
    """Builds event frames from short rows: (account, kind, day, mrr, properties)."""

    at = staticmethod(at)

    def __call__(self, *rows: tuple[object, ...]) -> pl.DataFrame:
        return events_frame([self.event(*row) for row in rows])

    @staticmethod
    def event(
        account: str,
        kind: str,
        day: str,
        mrr: float | None = None,
        *,
        recorded: str | None = None,
        **properties: str | float,
    ) -> Event:
        return Event(
            account_id=account,
            kind=kind,
            occurred_at=at(day),
            recorded_at=at(recorded or day),
            quantity=mrr,
            properties=properties_text(properties),
        )


@pytest.fixture(scope="session")
def timelines() -> Timelines:
    return Timelines()


@pytest.fixture(scope="session")
def crm_contracts() -> pl.DataFrame:
    """The contract events of the CRM sample, straight from its plan rows."""
    folder = next((f for f in CRM_FOLDERS if (f / "subscriptions.csv.gz").exists()), None)
    if folder is None:
        pytest.skip("the CRM sample is not here: neither examples/crm nor ../shared/data/crm")
    return contracts_of(folder / "subscriptions.csv.gz")


@pytest.fixture(scope="session")
def crm_workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The CRM sample that ships, with a snapshot a month to April 2023; only to be read.

    One worker makes it while the others wait, and then copy it.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen-") else base
    made, being_made = shared / "crm", shared / "crm-being-made"
    with (shared / "crm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            crm = ROOT / "examples" / "crm"
            workspace = Workspace(being_made, environment={})
            ingest(workspace, [crm], crm / "mapping.toml")
            backfill(workspace, month_starts(at("2022-02-01"), at("2023-04-01")))
            being_made.rename(made)
    own = tmp_path_factory.mktemp("crm") / "own"
    shutil.copytree(made, own)
    return Workspace(own, environment={})


def contracts_of(file: Path) -> pl.DataFrame:
    midnight = pl.Datetime("us", "UTC")
    plans = pl.read_csv(file, try_parse_dates=True).filter(pl.col("units") == "users")
    plans = plans.sort("account_id", "start_date").with_columns(
        starts=pl.col("start_date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        ends=pl.col("end_date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        account_id=pl.col("account_id").cast(pl.String),
    )
    before = [
        pl.col(c).shift(1).over("account_id") for c in ("plan", "quantity", "mrr", "bill_period")
    ]
    changed = pl.any_horizontal(
        pl.col(c).ne_missing(b)
        for c, b in zip(("plan", "quantity", "mrr", "bill_period"), before, strict=True)
    )
    kind = (
        pl.when(before[0].is_null())
        .then(pl.lit("contract.started"))
        .when(changed)
        .then(pl.lit("contract.changed"))
        .otherwise(pl.lit("contract.renewed"))
    )
    terms = plans.with_columns(
        kind=kind,
        occurred_at="starts",
        quantity=pl.col("mrr").cast(pl.Float64),
        properties=pl.struct(
            pl.col("bill_period").alias("billing_months"), pl.col("quantity").alias("seats")
        ).struct.json_encode(),
    )
    gone = (
        plans.group_by("account_id")
        .agg(pl.col("ends").max())
        .filter(pl.col("ends") <= at("2023-04-01"))
        .with_columns(
            kind=pl.lit("contract.cancelled"),
            occurred_at="ends",
            quantity=pl.lit(None, pl.Float64),
            properties=pl.lit("{}"),
        )
    )
    columns = ["account_id", "kind", "occurred_at", "quantity", "properties"]
    both = pl.concat([terms.select(columns), gone.select(columns)])
    return both.with_columns(
        event_id=pl.concat_str("account_id", "kind", "occurred_at", separator="|"),
        user_id=pl.lit(None, pl.String),
        recorded_at="occurred_at",
        event_count=pl.lit(1, pl.Int64),
        user_count=pl.lit(1, pl.Int64),
        occurred_at=pl.col("occurred_at").cast(midnight),
    ).select(pl.col(name).cast(kind) for name, kind in EVENT_SCHEMA.items())


class SmallCompany:
    """Accounts whose leaving is drawn from a known risk; a few features know of it.

    The world of the training tests: contract events, and a reader of features as of a moment.
    ``told`` is how much the features know, from 0 to 1.
    """

    digests = dict.fromkeys(
        (
            "signal_28d",
            "other_28d",
            "seldom_90d",
            "constant",
            "never",
            "feature_uses_28d",
            "health_score",
        ),
        "1",
    )

    def __init__(
        self,
        *,
        n_accounts: int = 220,
        months: int = 17,
        seed: int = 0,
        told: float = 1.0,
        leaves: float = 0.035,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.rng_seed = seed
        self.risk = rng.normal(0, 1.3, n_accounts)
        self.told = told
        self.cutoffs = tuple(
            datetime(2022 + m // 12, m % 12 + 1, 1, tzinfo=UTC) for m in range(1, months + 1)
        )
        self.known_until = datetime(2022 + (months + 1) // 12, (months + 1) % 12 + 1, 1, tzinfo=UTC)
        base = datetime(2022, 1, 1, tzinfo=UTC)
        rows = []
        for i, risk in enumerate(self.risk):
            day = int(rng.integers(0, 60))
            rows.append(self._event(i, "contract.started", base, day, 100.0))
            monthly = leaves * np.exp(risk - 0.5)
            for month in range(months):
                day += int(rng.integers(25, 35))
                if rng.random() < monthly:
                    rows.append(self._event(i, "contract.cancelled", base, day, None))
                    break
                if rng.random() < 0.01 * np.exp(-risk):
                    rows.append(self._event(i, "contract.changed", base, day, 150.0 + month))
        self.events = events_frame(rows)

    @staticmethod
    def _event(i: int, kind: str, base: datetime, day: int, mrr: float | None) -> Event:
        moment = base + timedelta(days=day)
        return Event(
            account_id=f"a{i:03}",
            kind=kind,
            occurred_at=moment,
            recorded_at=moment,
            quantity=mrr,
            event_id=f"{i}-{kind}-{day}",
        )

    def reader(self, rows: pl.DataFrame, /) -> pl.DataFrame:
        account = rows["account_id"].str.slice(1).cast(pl.Int64).to_numpy()
        moment = rows["as_of"].dt.epoch("s").to_numpy()
        noise = np.array(
            [
                np.random.default_rng((self.rng_seed, int(a), int(t))).normal(size=4)
                for a, t in zip(account, moment, strict=True)
            ]
        ).reshape(-1, 4)
        known = self.told * self.risk[account]
        seldom = np.where(np.abs(noise[:, 2]) > 1, noise[:, 2], np.nan)
        return rows.select("account_id", "as_of").with_columns(
            signal_28d=pl.Series(20 - 4 * known + noise[:, 0]),
            other_28d=pl.Series(10 + 2 * noise[:, 1]),
            seldom_90d=pl.Series(seldom).fill_nan(None),
            constant=pl.lit(3.0),
            never=pl.lit(None, pl.Float64),
            feature_uses_28d=pl.Series(np.exp(3 - 0.3 * known + 0.5 * noise[:, 3])),
            health_score=pl.Series(np.clip(60 - 8 * known + 15 * noise[:, 1], 0, 100)),
        )

    def train(self, label: str = "churn", **changes):
        from training.dataset.labels import label_named
        from training.pipeline.train import train

        given = {
            "events": self.events,
            "reader": self.reader,
            "digests": self.digests,
            "cutoffs": self.cutoffs,
            "known_until": self.known_until,
            "store": MemoryModelStore(),
            "clock": lambda: self.known_until,
            "code_version": "test",
            "trials": 2,
            "by": "ann",
        }
        return train(label_named(label), **(given | changes))


@pytest.fixture(scope="session")
def small_company() -> type[SmallCompany]:
    return SmallCompany


class KeepingStore(MemoryModelStore):
    """A store that shows the runs it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[TrainingRun] = []

    def record_run(self, run: TrainingRun) -> str:
        self.runs.append(run)
        return super().record_run(run)


@pytest.fixture(scope="session")
def trained(small_company):
    """One training of the small company, and the store it went to."""
    store = KeepingStore()
    return small_company().train(store=store), store


@pytest.fixture(scope="session")
def back_test(small_company):
    """Plays a back-test of a small company; words change what it is given."""
    from training.backtest.run import run_backtest
    from training.dataset.labels import label_named

    def played(company: SmallCompany, label: str = "churn", **changes):
        def traits(rows: pl.DataFrame, /) -> pl.DataFrame:
            number = rows["account_id"].str.slice(1).cast(pl.Int64)
            return rows.select("account_id", "as_of").with_columns(
                segment=pl.when(number < 4)
                .then(pl.lit("large"))
                .when(number < 20)
                .then(None)
                .otherwise(pl.lit("small")),
                service_tier=pl.lit(None, pl.String),
                tenure_days=(pl.col("as_of") - company.cutoffs[0]).dt.total_days().cast(pl.Float64),
            )

        given = {
            "events": company.events,
            "reader": company.reader,
            "digests": company.digests,
            "cutoffs": company.cutoffs,
            "known_until": company.known_until,
            "n_origins": 3,
            "traits": traits,
        }
        return run_backtest(label_named(label), **(given | changes))

    return played


@pytest.fixture(scope="session")
def back_tested(small_company, back_test):
    """A back-test of the small company: what was played, and how it was judged."""
    from training.backtest.judge import judge_backtest

    played = back_test(small_company())
    return played, judge_backtest(played, capacity=10)
