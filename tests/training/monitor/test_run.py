"""One look at a champion: only what has matured judges, and what broke since is found."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from registry.bundle.feature_contract import FeatureContract, FeatureContractError
from registry.bundle.segment_gate import EVERYONE
from registry.store.store import MemoryModelStore
from training.dataset.labels import cohort_rows, label_named
from training.monitor.run import MonitorError, monitor

CHURN = label_named("churn")


@pytest.fixture(scope="module")
def world(small_company):
    """A company, its champion of half-way, and the formula that was calibrated with it."""
    company = small_company(n_accounts=900, months=21, leaves=0.04)
    store = MemoryModelStore()
    trained_at = company.cutoffs[13]
    result = company.train(
        store=store,
        known_until=trained_at,
        trials=0,
        events=company.events.filter(pl.col("recorded_at") < trained_at),
    )
    return company, result.bundle, store.champion("churn-formula")


def segments(rows: pl.DataFrame) -> pl.DataFrame:
    number = rows["account_id"].str.slice(1).cast(pl.Int64)
    return rows.with_columns(
        segment=pl.when(number % 3 == 0)
        .then(None)
        .when(number % 2 == 0)
        .then(pl.lit("small"))
        .otherwise(pl.lit("mid"))
    )


def look(world, **changes):
    company, champion, formula = world
    as_of = changes.get("as_of", company.cutoffs[-1])
    given = {
        "formula": formula,
        "reader": lambda rows: segments(company.reader(rows)),
        "events": company.events.filter(pl.col("recorded_at") < as_of),
        "digests": company.digests,
        "cutoffs": company.cutoffs,
        "as_of": as_of,
    }
    return monitor(CHURN, champion, **(given | changes))


@pytest.fixture(scope="module")
def seen(world):
    return look(world)


def test_only_windows_that_opened_after_the_training_and_have_closed_judge(world, seen):
    company, champion, _ = world
    for one in seen.matured:
        may = tuple(
            at
            for at in company.cutoffs
            if at >= champion.metadata.as_of
            and at + timedelta(days=one.horizon) <= company.cutoffs[-1]
        )
        assert one.n_rows == cohort_rows(CHURN, company.events, may).height
        assert one.left_out["immature"] > 0
    assert [one.horizon for one in seen.matured][:3] == [30, 60, 90]
    assert seen.matured[0].n_rows > seen.matured[2].n_rows > 0


def test_what_was_not_known_changes_nothing(world, seen):
    company, *_ = world
    as_of = company.cutoffs[-3]
    told = look(world, as_of=as_of)
    later = look(world, as_of=as_of, events=company.events)
    assert told.matured == later.matured
    assert told.estimate == later.estimate
    assert told.matured[0].n_rows < seen.matured[0].n_rows


def test_a_model_that_goes_on_as_promised_is_not_found_worse(seen):
    assert {one.finding for one in seen.segments} <= {"better", "unclear"}
    assert EVERYONE in {one.key for one in seen.segments}
    ninety = seen.matured[2]
    assert not ninety.is_off
    assert ninety.ratio.low < 1 < ninety.ratio.high


def test_looks_carry_how_far_outcomes_are_known(world, seen):
    company, *_ = world
    known = {one.known_to for one in seen.looks.values()}
    assert len(known) == 1
    assert company.cutoffs[-1] - timedelta(days=31) < known.pop() <= company.cutoffs[-1]


@pytest.mark.parametrize("of_segment", [None, "small"], ids=["everyone", "one segment"])
def test_a_source_that_turned_round_after_the_training_is_found(world, of_segment):
    company, champion, _ = world

    def turned(rows: pl.DataFrame) -> pl.DataFrame:
        told = segments(company.reader(rows))
        broken = pl.col("as_of") >= champion.metadata.as_of
        if of_segment is not None:
            broken &= pl.col("segment").eq_missing(of_segment)
        return told.with_columns(
            pl.when(broken)
            .then(-pl.col(name) + 2 * pl.col(name).mean())
            .otherwise(pl.col(name))
            .alias(name)
            for name in ("signal_28d", "feature_uses_28d")
        )

    found = {one.key: one.finding for one in look(world, reader=turned).segments}
    if of_segment is None:
        assert found[EVERYONE] == "worse"
    else:
        assert found["segment small"] == "worse"
        assert found["segment mid"] != "worse"


def test_a_feature_that_broke_in_the_newest_snapshot_is_an_alarm_before_any_label(world, seen):
    company, *_ = world

    def broken(rows: pl.DataFrame) -> pl.DataFrame:
        newest = pl.col("as_of") == company.cutoffs[-1]
        return segments(company.reader(rows)).with_columns(
            signal_28d=pl.when(newest).then(None).otherwise(pl.col("signal_28d"))
        )

    told = look(world, reader=broken)
    assert told.features.is_alarm
    assert told.features.features[0].name == "signal_28d"
    assert told.features.features[0].unknown_now == 1.0
    assert told.estimate.trust == "not reliable"
    assert "features" in told.alarms
    assert told.features.distance > 2 * seen.features.distance
    assert told.matured == seen.matured  # it was as it should be while those were scored


def test_right_after_the_training_it_says_when_the_first_labels_come(world):
    _, champion, _ = world
    told = look(world, as_of=champion.metadata.as_of)
    assert {one.n_rows for one in told.matured} == {0}
    assert (told.segments, dict(told.looks)) == ((), {})
    assert told.next_outcomes_at == champion.metadata.as_of + timedelta(days=30)
    assert told.estimate.trust != "reliable"


def test_without_a_formula_the_base_rate_is_what_it_is_held_against(world):
    told = look(world, formula=None)
    assert told.instead == "the base rate"
    assert {one.key: one.finding for one in told.segments}[EVERYONE] == "better"


def test_a_formula_that_reads_another_health_score_judges_no_segment(world):
    company, champion, formula = world
    other = replace(formula.contract.features[0], digest="of another formula")
    told = look(world, formula=replace(formula, contract=FeatureContract((other,))))
    assert {one.finding for one in told.segments} == {"unclear"}
    assert "so no segment is judged: The model was trained on another definition" in told.unknown[0]
    with pytest.raises(FeatureContractError, match="another definition of signal_28d"):
        look(world, digests={**company.digests, "signal_28d": "another"})
    assert "signal_28d" in champion.contract.names


def test_without_the_snapshots_of_the_training_the_drift_is_not_known(world):
    company, champion, _ = world
    told = look(world, cutoffs=tuple(at for at in company.cutoffs if at >= champion.metadata.as_of))
    assert told.features is None
    assert "no snapshots of the cutoffs that the model learned from" in told.unknown[0]
    assert told.matured[0].n_rows > 0
    assert "the drift of its features is not known" in told.estimate.doubts


def test_of_few_accounts_the_drift_is_not_known(world):
    company, *_ = world
    few = [f"a{n:03}" for n in range(20)]
    told = look(world, events=company.events.filter(pl.col("account_id").is_in(few)))
    assert (told.features, told.scores) == (None, None)
    assert "too few to tell, 30 are needed" in told.unknown[0]


def test_a_moment_before_the_training_is_refused(world):
    company, *_ = world
    with pytest.raises(
        MonitorError,
        match="was trained on what was known on 2023-03-01, which is later than 2023-02-01",
    ):
        look(world, as_of=company.cutoffs[12])


@pytest.mark.parametrize("changes", [{"cutoffs": ()}, {"events": None}], ids=["snapshot", "events"])
def test_without_anybody_there_is_nothing_to_look_at(world, changes):
    company, *_ = world
    if "events" in changes:
        changes = {"events": company.events.clear()}
    with pytest.raises(MonitorError, match="No account is in the cohort of 'churn'"):
        look(world, **changes)


def test_a_feature_that_is_gone_is_refused(world):
    company, champion, _ = world
    gone = champion.contract.names[0]
    with pytest.raises(FeatureContractError, match=gone):
        look(world, digests={n: d for n, d in company.digests.items() if n != gone})


def test_shares_are_of_what_the_model_reads(world, seen):
    _, champion, _ = world
    assert {one.name for one in seen.features.features} == set(champion.contract.names)
    assert np.isclose(sum(one.share for one in seen.features.features), 1.0)
