"""Judging, with a company whose features know, one whose features do not, and labels of noise."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.catalogue.catalogue import load_catalogue
from features.compute.backfill import month_starts
from features.compute.snapshots import build_snapshots
from features.events.schema import EVENT_SCHEMA
from registry.promotion.promotion import gain
from registry.store.store import MemoryModelStore
from training.backtest.judge import best_of, judge_backtest
from training.backtest.run import BacktestError, run_backtest
from training.dataset.cutoffs import first_of_months
from training.dataset.labels import cohort_rows, label_named
from training.metrics import row_log_loss
from training.pipeline.train import train

RAVENSTACK = Path(__file__).parents[4] / "shared" / "data" / "ravenstack"
COMPARED = {"lightgbm", "logistic", "formula", "usage", "base_rate"}


def test_every_contender_is_judged_at_every_horizon_with_intervals(back_tested) -> None:
    _, result = back_tested
    assert [group.horizon for group in result.by_horizon] == [30, 60, 90]
    for group in result.by_horizon:
        assert set(group.verdict.metrics) >= COMPARED
        for metrics in group.verdict.metrics.values():
            for name in ("auc", "average_precision", "brier", "log_loss", "calibration_error"):
                assert metrics[name].low <= metrics[name].value <= metrics[name].high


def test_features_that_know_teach_something(back_tested) -> None:
    _, result = back_tested
    assert result.learned == "yes"
    assert "has learned something" in result.summary
    assert result.differences[90][result.best.name]["base_rate"].high < 0


def test_where_few_accounts_left_the_best_is_one_that_is_made_for_it(back_tested) -> None:
    played, result = back_tested
    assert played.prepared.has_few_outcomes
    assert result.best.for_few
    assert any(note.startswith(f"Only the {result.best.title} may serve") for note in result.notes)


def test_where_many_accounts_left_the_best_has_the_lowest_log_loss(
    small_company,
    back_test,
) -> None:
    played = back_test(small_company(n_accounts=400, leaves=0.10), n_origins=2)
    result = judge_backtest(played, capacity=10, n_draws=50)
    assert not played.prepared.has_few_outcomes
    pooled = result.by_horizon[-1].verdict.metrics
    serving = ("lightgbm", "logistic", "formula_prior")
    assert result.best.name == min(serving, key=lambda name: pooled[name]["log_loss"].value)
    assert not any("may serve" in note for note in result.notes)


def test_features_that_know_nothing_teach_nothing(small_company, back_test) -> None:
    result = judge_backtest(back_test(small_company(told=0.0)), capacity=10)
    assert result.learned == "nothing"
    assert "churn: nothing was learned." in result.summary


def test_a_difference_is_that_of_the_log_losses_and_has_their_paired_interval(back_tested) -> None:
    played, result = back_tested
    rows = played.rows
    y = rows.outcomes[:, 2]
    one, two = (
        row_log_loss(y, rows.probabilities[name][:, 2]) for name in ("lightgbm", "base_rate")
    )
    found = result.differences[90]["lightgbm"]["base_rate"]
    assert found.value == pytest.approx((one - two).mean())
    other = gain(one, two, rows.account, np.random.default_rng(9))
    width = other.high - other.low
    assert -found.high == pytest.approx(other.low, abs=0.15 * width)
    assert -found.low == pytest.approx(other.high, abs=0.15 * width)
    back = result.differences[90]["base_rate"]["lightgbm"]
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_origins_say_what_they_fitted_and_judged(back_tested) -> None:
    played, result = back_tested
    assert sum(c["judged"] for c in result.counts) == len(played.rows.account)
    assert sum(c["judged_outcomes"] for c in result.counts) == played.rows.outcomes[:, -1].sum()
    assert [c["fitted"] for c in result.counts] == sorted(c["fitted"] for c in result.counts)
    pooled = result.by_horizon[-1].verdict.metrics["lightgbm"]["log_loss"].value
    weighted = sum(
        loss["lightgbm"] * c["judged"] for loss, c in zip(result.losses, result.counts, strict=True)
    )
    assert weighted / len(played.rows.account) == pytest.approx(pooled)


def test_rows_that_are_not_yet_mature_are_left_out_and_counted(
    small_company,
    back_tested,
) -> None:
    played, result = back_tested
    company = small_company()
    label = label_named("churn")
    cohort = cohort_rows(label, company.events, first_of_months(company.cutoffs))
    still_open = cohort.filter(pl.col("as_of") + pl.duration(days=90) > company.known_until)
    assert still_open.height > 0
    assert result.left_out[90]["immature"] == still_open.height
    judged = {at for origin in played.origins for at in origin.judged}
    assert judged.isdisjoint(still_open["as_of"])


def test_the_first_accounts_hold_more_of_what_leaves_than_mrr_alone_would(back_tested) -> None:
    _, result = back_tested
    capacity = result.capacity
    best, by_mrr = (capacity.contenders[name] for name in (result.best.name, "base_rate"))
    assert best.share.value > by_mrr.share.value
    assert best.lift.value > 1
    assert best.share.value <= capacity.most.share.value
    assert capacity.n_without_mrr == 0


def test_accounts_without_a_known_mrr_are_counted_and_not_ordered(back_tested) -> None:
    played, _ = back_tested
    mrr = played.rows.mrr.copy()
    mrr[::10] = np.nan
    unknown = replace(played, rows=replace(played.rows, mrr=mrr, value=mrr))
    assert judge_backtest(unknown, capacity=5, n_draws=20).capacity.n_without_mrr == len(mrr[::10])
    nothing = np.full(len(mrr), np.nan)
    assert (
        judge_backtest(
            replace(played, rows=replace(played.rows, mrr=nothing, value=nothing)),
            capacity=5,
            n_draws=20,
        ).capacity
        is None
    )


@pytest.mark.parametrize("capacity", [0, -3])
def test_a_capacity_of_nobody_is_refused(back_tested, capacity) -> None:
    played, _ = back_tested
    with pytest.raises(BacktestError, match=f"capacity of {capacity} accounts captures nothing"):
        judge_backtest(played, capacity=capacity)


def test_too_few_outcomes_in_all_are_refused(back_tested) -> None:
    played, _ = back_tested
    outcomes = np.zeros_like(played.rows.outcomes)
    outcomes[:3] = 1.0
    few = replace(played, rows=replace(played.rows, outcomes=outcomes))
    with pytest.raises(BacktestError, match=r"3 of .* accounts had the outcome 'churn' within 90"):
        judge_backtest(few, capacity=5)


def test_without_a_model_that_may_serve_there_is_no_best(back_tested) -> None:
    played, _ = back_tested
    only = {"base_rate": played.rows.probabilities["base_rate"]}
    with pytest.raises(BacktestError, match="No model that may serve has anything to read"):
        best_of(replace(played, rows=replace(played.rows, probabilities=only)))


def ravenstack_events() -> pl.DataFrame:
    """The contracts, uses and tickets of RavenStack; columns that name an outcome are not read."""
    if not RAVENSTACK.is_dir():
        pytest.skip("The data set ravenstack is not in shared/data beside the checkout.")

    def table(name: str) -> pl.DataFrame:
        return pl.read_csv(RAVENSTACK / f"ravenstack_{name}.csv")

    owners = table("subscriptions").select("subscription_id", "account_id", "mrr_amount")
    mrr = owners.group_by("account_id").agg(pl.col("mrr_amount").mean())
    signed = table("accounts").join(mrr, on="account_id", how="left")
    parts = [
        (signed, "contract.started", "signup_date", pl.col("mrr_amount")),
        (table("churn_events"), "contract.cancelled", "churn_date", pl.lit(None)),
        (
            table("feature_usage").join(owners, on="subscription_id"),
            "feature.used",
            "usage_date",
            pl.col("usage_count"),
        ),
        (table("support_tickets"), "ticket.created", "submitted_at", pl.lit(2.0)),
    ]
    frames = [
        frame.select(
            "account_id",
            kind=pl.lit(kind),
            quantity=quantity.cast(pl.Float64),
            occurred_at=pl.col(day)
            .str.slice(0, 10)
            .str.to_datetime("%Y-%m-%d", time_unit="us", time_zone="UTC"),
        )
        for frame, kind, day, quantity in parts
    ]
    return (
        pl.concat(frames)
        .with_row_index("event_id")
        .with_columns(
            recorded_at="occurred_at",
            user_id=pl.lit(None),
            properties=pl.lit("{}"),
            event_count=pl.lit(1),
            user_count=pl.lit(1),
        )
        .select(pl.col(name).cast(kind) for name, kind in EVENT_SCHEMA.items())
    )


@pytest.fixture(scope="module")
def noise() -> dict:
    """What a training or a back-test is given of RavenStack, whose labels are noise."""
    events = ravenstack_events()
    known_until = datetime(2024, 12, 1, tzinfo=UTC)
    declared = load_catalogue()
    first = dict(events.group_by("kind").agg(pl.col("recorded_at").min()).iter_rows())
    moments = month_starts(datetime(2023, 6, 1, tzinfo=UTC), known_until)
    snapshots = build_snapshots(events, moments, declared, first_recorded=first)
    names = [f.name for f in declared.features if f.is_model_input] + ["health_score"]
    return {
        "events": events.filter(pl.col("kind").is_in(label_named("churn").reads)),
        "reader": lambda rows: rows.join(
            snapshots.select("account_id", "as_of", *names), on=["account_id", "as_of"], how="left"
        ),
        "digests": dict.fromkeys(names, ""),
        "cutoffs": moments,
        "known_until": known_until,
    }


def test_a_model_of_noise_is_refused_by_more_than_one_check(noise) -> None:
    result = train(
        label_named("churn"),
        **noise,
        store=MemoryModelStore(),
        clock=lambda: datetime(2025, 1, 1, tzinfo=UTC),
        code_version="test",
        trials=0,
    )
    failed = [check.name for check in result.promotion.checks if check.outcome == "failed"]
    assert len(failed) > 1, result.promotion.reasons
    assert not result.promoted


def test_labels_of_noise_teach_nothing_and_it_is_said(noise) -> None:
    played = run_backtest(label_named("churn"), **noise, n_origins=4)
    result = judge_backtest(played, capacity=20)
    assert result.by_horizon[-1].n_accounts_with_outcome > 50
    assert result.learned == "nothing", result.summary
    assert "nothing was learned" in result.summary
