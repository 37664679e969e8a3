"""The CRM sample, exactly: what its description says must come out of its mapping."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from features.events.schema import CONTRACT_TERMS
from features.ingest.mapping import load_mapping
from features.ingest.run import ingest
from features.lake.lake import Lake
from features.workspace import Workspace
from registry.playbook.prices import read_prices

CRM = Path(__file__).parents[3] / "examples" / "crm"
END = datetime(2023, 4, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("crm"), environment={})
    summary = ingest(workspace, [CRM], CRM / "mapping.toml")
    return workspace, summary


@pytest.fixture(scope="module")
def lake(ingested):
    return Lake(ingested[0].events_dir)


@pytest.fixture(scope="module")
def events(lake):
    return lake.scan().collect()


@pytest.fixture(scope="module")
def contracts(events):
    rows = events.filter(pl.col("kind").str.starts_with("contract."))
    return rows.with_columns(
        pl.col("properties")
        .str.json_path_match("$.renewal_on")
        .str.to_datetime("%Y-%m-%d", time_zone="UTC")
        .alias("renewal_on"),
        pl.col("properties").str.json_path_match("$.seats").cast(pl.Int64).alias("seats"),
    )


def test_194_accounts_cancel_and_614_are_running(contracts):
    last = contracts.sort("occurred_at").group_by("account_id").agg(pl.col("kind").last())
    cancelled = last.filter(pl.col("kind") == "contract.cancelled").height
    assert (cancelled, last.height - cancelled) == (194, 614)


def test_one_of_the_contracts_ends_at_the_very_moment_the_data_do(contracts):
    ended = contracts.filter(kind="contract.cancelled")["occurred_at"]
    assert int((ended < END).sum()) == 193
    assert int((ended == END).sum()) == 1


def test_every_period_is_one_start_change_or_renewal(contracts):
    assert dict(contracts["kind"].value_counts().iter_rows()) == {
        "contract.started": 808,
        "contract.renewed": 4639,
        "contract.changed": 547,
        "contract.cancelled": 194,
    }


def test_cancellations_are_recorded_at_the_end_and_none_after_the_data(contracts):
    cancelled = contracts.filter(pl.col("kind") == "contract.cancelled")
    assert (cancelled["recorded_at"] == cancelled["occurred_at"]).all()
    assert cancelled["recorded_at"].max() == END
    terms = contracts.filter(pl.col("kind").is_in(CONTRACT_TERMS)).sort("occurred_at")
    last = terms.group_by("account_id").agg(pl.col("renewal_on").last())
    both = cancelled.join(last, on="account_id")
    assert (both["occurred_at"] == both["renewal_on_right"]).all()


def test_an_end_in_the_future_of_a_row_is_its_renewal_date(contracts):
    terms = contracts.filter(pl.col("kind").is_in(CONTRACT_TERMS))
    assert terms["renewal_on"].null_count() == 0
    assert (terms["renewal_on"] > terms["recorded_at"]).all()
    assert terms["renewal_on"].max() > END  # undecided ends are there, as renewal dates only


def test_a_plan_row_is_known_from_its_start(contracts):
    terms = contracts.filter(pl.col("kind").is_in(CONTRACT_TERMS))
    assert (terms["recorded_at"] == terms["occurred_at"]).all()
    assert terms["occurred_at"].max() == END


def test_add_ons_are_no_revenue(contracts):
    raw = pl.read_csv(CRM / "subscriptions.csv.gz")
    plans = raw.filter(pl.col("units") == "users")
    assert contracts["quantity"].sum() == pytest.approx(plans["mrr"].sum(), rel=1e-12)  # sums
    assert contracts["quantity"].sum() < 0.7 * raw["mrr"].sum()
    assert set(contracts["seats"].drop_nulls()) == {5, 10, 25, 50, 100}


def test_mrr_rises_400_times_and_falls_87_times_by_a_tenth(contracts):
    terms = contracts.filter(pl.col("kind").is_in(CONTRACT_TERMS)).sort("account_id", "occurred_at")
    before = pl.col("quantity").shift(1).over("account_id")
    moves = terms.select(
        (pl.col("quantity") >= 1.1 * before).sum().alias("rises"),
        (pl.col("quantity") <= 0.9 * before).sum().alias("falls"),
    )
    assert moves.row(0) == (400, 87)


def test_usage_before_the_end_lands_and_later_usage_is_left_out(ingested, events):
    usage = events.filter(pl.col("kind") == "feature.used")
    assert usage.height == 578_310
    assert usage["event_count"].sum() == 14_183_575
    assert usage["occurred_at"].max() == END - timedelta(days=1)
    [file] = [file for file in ingested[1].files if file.table == "usage"]
    assert file.read == 603_198
    assert file.left_out == {"after complete_until": 24_888}
    raw = pl.read_parquet(CRM / "events_daily.parquet")
    assert raw["n_events"].cast(pl.Int64).sum() == 14_803_902


def test_a_daily_row_is_known_when_its_day_is_over(events):
    usage = events.filter(pl.col("kind") == "feature.used")
    delay = (usage["recorded_at"] - usage["occurred_at"]).unique()
    assert delay.to_list() == [timedelta(days=1) - timedelta(microseconds=1)]


def test_all_25_event_types_arrive_under_their_own_name(events, ingested):
    usage = events.filter(pl.col("kind") == "feature.used")
    names = {json.loads(text)["name"] for text in usage["properties"].unique()}
    assert names == set(load_mapping(CRM / "mapping.toml").use_names)
    assert len(names) == 25
    assert set(ingested[0].settings.use_names) == names


def test_only_won_and_lost_opportunities_have_a_value(events):
    valued = events.filter((pl.col("kind") == "feature.used") & pl.col("quantity").is_not_null())
    assert valued["properties"].unique().sort().to_list() == [
        '{"name":"lose_opportunity"}',
        '{"name":"win_opportunity"}',
    ]


def test_what_is_private_to_the_simulator_is_never_read(events, ingested):
    properties = events.filter(pl.col("kind") == "account.updated")["properties"]
    assert {key for text in properties for key in json.loads(text)} == {
        "channel",
        "region",
        "segment",
    }
    [file] = [file for file in ingested[1].files if file.table == "accounts"]
    assert file.ignored_columns == ("date_of_birth", "max_bill_period")


def test_nothing_is_recorded_before_it_happened_or_after_the_end(events):
    assert (events["recorded_at"] >= events["occurred_at"]).all()
    assert events["recorded_at"].max() == END
    assert events["superseded_at"].null_count() == events.height


def test_no_account_is_seen_before_its_first_plan_row(events):
    first = events.group_by("account_id").agg(
        pl.col("recorded_at").min(),
        pl.col("recorded_at").filter(pl.col("kind") == "contract.started").min().alias("start"),
    )
    assert (first["recorded_at"] == first["start"]).all()


def test_the_settings_say_until_when_the_data_are_complete(ingested, lake):
    assert ingested[0].settings.complete_until == END == lake.complete_until
    assert ingested[0].settings.currency == "USD"


def test_the_counts_add_up_and_no_row_is_refused(ingested):
    summary = ingested[1]
    assert all(file.is_balanced for file in summary.files)
    assert (summary.read, summary.derived, summary.landed) == (621_988, 194, 585_306)
    assert summary.quarantined == {}
    assert summary.unmapped_files == ("README.md", "prices.toml")


def test_the_same_files_twice_change_nothing(ingested, lake):
    before = lake.manifest
    again = ingest(ingested[0], [CRM], CRM / "mapping.toml")
    assert (again.landed, again.duplicates) == (0, 585_306)
    assert lake.manifest == before


@pytest.mark.parametrize(
    ("as_of", "churned"),
    [
        (datetime(2022, month, 1, tzinfo=UTC), n)
        for month, n in zip(range(2, 13), (49, 56, 44, 31, 24, 32, 35, 30, 35, 40, 41), strict=True)
    ]
    + [(datetime(2023, 1, 1, tzinfo=UTC), 41)],
)
def test_churn_within_90_days_by_cutoff(contracts, as_of, churned):
    known = contracts.filter(pl.col("recorded_at") < as_of).sort("occurred_at")
    latest = known.group_by("account_id").agg(pl.col("kind").last(), pl.col("renewal_on").last())
    active = latest.filter(
        (pl.col("kind") != "contract.cancelled") & (pl.col("renewal_on") >= as_of)
    )
    over = contracts.filter(
        (pl.col("kind") == "contract.cancelled")
        & (pl.col("occurred_at") >= as_of)
        & (pl.col("occurred_at") < as_of + timedelta(days=90))
    )
    assert active.join(over, on="account_id", how="semi").height == churned


def test_the_price_list_is_what_contracts_without_a_discount_pay():
    prices = read_prices(CRM)
    paid = (
        pl.read_csv(CRM / "subscriptions.csv.gz")
        .filter(pl.col("plan").is_in(list(prices.plans)), pl.col("discount") == 0)
        .group_by("plan")
        .agg(pl.col("mrr").max())
    )
    assert dict(paid.iter_rows()) == {name: price.month for name, price in prices.plans.items()}
    highest = {name for name, price in prices.plans.items() if price.next is None}
    assert highest == {"premier_mthly", "premier_biann", "premier_annual"}
