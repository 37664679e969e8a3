"""Contract timelines for the tests: small ones by hand, and the CRM sample's."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from features.telemetry import EVENT_SCHEMA, Event, events_frame, properties_text

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
    def event(account: str, kind: str, day: str, mrr: float | None = None,
              *, recorded: str | None = None, **properties: str | float) -> Event:
        return Event(account_id=account, kind=kind, occurred_at=at(day),
                     recorded_at=at(recorded or day), quantity=mrr,
                     properties=properties_text(properties))


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


def contracts_of(file: Path) -> pl.DataFrame:
    midnight = pl.Datetime("us", "UTC")
    plans = pl.read_csv(file, try_parse_dates=True).filter(pl.col("units") == "users")
    plans = plans.sort("account_id", "start_date").with_columns(
        starts=pl.col("start_date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        ends=pl.col("end_date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        account_id=pl.col("account_id").cast(pl.String),
    )
    before = [pl.col(c).shift(1).over("account_id") for c in
              ("plan", "quantity", "mrr", "bill_period")]
    changed = pl.any_horizontal(
        pl.col(c).ne_missing(b)
        for c, b in zip(("plan", "quantity", "mrr", "bill_period"), before, strict=True))
    kind = (pl.when(before[0].is_null()).then(pl.lit("contract.started"))
            .when(changed).then(pl.lit("contract.changed")).otherwise(pl.lit("contract.renewed")))
    terms = plans.with_columns(
        kind=kind, occurred_at="starts", quantity=pl.col("mrr").cast(pl.Float64),
        properties=pl.struct(pl.col("bill_period").alias("billing_months"),
                             pl.col("quantity").alias("seats")).struct.json_encode())
    gone = plans.group_by("account_id").agg(pl.col("ends").max()).filter(
        pl.col("ends") <= at("2023-04-01")
    ).with_columns(kind=pl.lit("contract.cancelled"), occurred_at="ends",
                   quantity=pl.lit(None, pl.Float64), properties=pl.lit("{}"))
    columns = ["account_id", "kind", "occurred_at", "quantity", "properties"]
    both = pl.concat([terms.select(columns), gone.select(columns)])
    return both.with_columns(
        event_id=pl.concat_str("account_id", "kind", "occurred_at", separator="|"),
        user_id=pl.lit(None, pl.String), recorded_at="occurred_at",
        event_count=pl.lit(1, pl.Int64), user_count=pl.lit(1, pl.Int64),
        occurred_at=pl.col("occurred_at").cast(midnight),
    ).select(pl.col(name).cast(kind) for name, kind in EVENT_SCHEMA.items())
