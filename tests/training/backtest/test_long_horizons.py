"""Half a year and a year, judged at every origin of 48 simulated months that can."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from experiments.simulation.settings import WorldSettings
from experiments.simulation.world import simulate
from features.catalogue.catalogue import HEALTH_SCORE, load_catalogue
from features.compute.backfill import month_starts
from features.compute.snapshots import build_snapshots
from features.events.schema import UTC_INSTANT
from training.backtest import long_horizons
from training.backtest.judge import best_of, compare_with, judge_backtest
from training.backtest.long_horizons import backtest_long_horizons
from training.backtest.report import as_json, remarks, report_tables
from training.backtest.run import run_backtest
from training.dataset.labels import CONTRACT_KINDS, ROW, USE_KINDS, cohort_rows, label_named
from training.models.specs import BASE_RATE, FORMULA, RENEWAL_RISK, SPECS

DRAWS = 60

QUARTER = timedelta(days=91)


@pytest.fixture(scope="module")
def simulated():
    """What a back-test is given of 48 months of a simulated company."""
    settings = WorldSettings(accounts=200, months=48)
    events = simulate(settings, np.random.default_rng(5)).events.with_columns(
        superseded_at=pl.lit(None, UTC_INSTANT)
    )
    starts = settings.calendar.starts_at
    until = starts.replace(year=starts.year + 4)
    first = dict(events.group_by("kind").agg(pl.col("recorded_at").min()).iter_rows())
    snapshots = build_snapshots(
        events,
        month_starts(starts.replace(month=2), until),
        load_catalogue(),
        first_recorded=first,
        threads=2,
    )
    names = [f.name for f in load_catalogue().features if f.is_model_input] + [HEALTH_SCORE]
    return {
        "events": events.filter(pl.col("kind").is_in((*CONTRACT_KINDS, *USE_KINDS))),
        "reader": lambda rows: rows.join(snapshots, on=ROW, how="left"),
        "traits": lambda rows: rows.join(snapshots.select(*ROW, "tenure_days"), on=ROW, how="left"),
        "digests": dict.fromkeys(names, ""),
        "known_until": until,
        "cutoffs": tuple(snapshots["as_of"].unique().sort()),
    }


@pytest.fixture(scope="module")
def played(simulated):
    return run_backtest(label_named("churn"), **simulated, n_origins=4)


@pytest.fixture(scope="module")
def later(played, simulated):
    return backtest_long_horizons(
        played, simulated["events"], compare_with(best_of(played), played)
    )


@pytest.fixture(scope="module")
def result(played, later):
    return judge_backtest(played, later, capacity=10, n_draws=DRAWS)


def test_a_year_is_judged_on_48_months_beside_the_baselines(result) -> None:
    assert [far.horizon for far in result.long_horizons] == [180, 365]
    year = result.long_horizons[1]
    assert year.why_not is None
    assert year.pooled is not None
    assert year.pooled.verdict is not None
    assert set(year.pooled.verdict.metrics) == {
        result.best.name,
        "formula",
        "usage",
        "logistic",
        "base_rate",
    }
    assert year.pooled.n_rows == sum(origin.n_rows for origin in year.origins) > 200
    assert sum(origin.n_rows > 0 for origin in year.origins) >= 2
    assert "365 days: " in remarks(result)[-1]
    assert "the base rate: log loss" in remarks(result)[-1]


def test_an_origin_judges_only_what_it_could_learn_and_what_has_passed(
    played,
    later,
    simulated,
) -> None:
    cutoffs = np.array([at.timestamp() for at in played.prepared.training.cutoffs])
    for far in later:
        as_of, rows = cutoffs[far.rows.cutoff], far.rows
        ends = as_of + far.horizon * 86_400
        assert (ends <= simulated["known_until"].timestamp()).all()
        assert not np.isnan(rows.outcomes).any()
        for number, origin in enumerate(far.origins):
            assert (rows.origin == number).sum() == origin.n_rows
            assert (as_of[rows.origin == number] >= origin.moment.timestamp()).all()
            closed = cutoffs + far.horizon * 86_400 <= origin.moment.timestamp()
            assert origin.n_cutoffs == closed.sum()
            assert (origin.n_rows > 0) == (origin.why_not is None)
            assert origin.n_rows == 0 or origin.n_cutoffs >= 6


def test_no_far_probability_lies_below_the_nearer_one(played, later) -> None:
    half, year = later
    near = played.rows
    for name in year.rows.probabilities:
        said = {}
        for rows, position in ((near, -1), (half.rows, 0), (year.rows, 0)):
            for key, p in zip(
                zip(rows.account, rows.cutoff, strict=True),
                rows.probabilities[name][:, position],
                strict=True,
            ):
                said.setdefault(key, []).append(p)
        whole = np.array([p for p in said.values() if len(p) == 3])
        assert len(whole) == len(year.rows.account)
        assert (np.diff(whole, axis=1) >= 0).all()


def test_what_was_recorded_after_an_origin_changes_nothing_that_it_says_of_a_year(
    played,
    later,
    simulated,
) -> None:
    far = later[1]
    number = next(n for n, origin in enumerate(far.origins) if origin.n_rows)
    moment = far.origins[number].moment
    gone = (
        (pl.col("kind") == "contract.cancelled")
        & (pl.col("recorded_at") >= moment)
        & (pl.col("account_id").hash(1) % 2 == 0)
    )
    events = simulated["events"].filter(~gone)
    assert len(events) < len(simulated["events"])
    other = backtest_long_horizons(played, events, (FORMULA, BASE_RATE))[1]

    def said(rows, name: str) -> dict[tuple[int, int], float]:
        mine = rows.origin == number
        return dict(
            zip(
                zip(rows.account[mine], rows.cutoff[mine], strict=True),
                rows.probabilities[name][mine, 0],
                strict=True,
            )
        )

    for name in ("formula", "base_rate"):
        assert said(far.rows, name) == said(other.rows, name)
    assert far.rows.outcomes.sum() > other.rows.outcomes.sum()


def test_every_sheet_and_the_json_tell_the_far(result) -> None:
    told = {sheet.title: sheet for sheet in report_tables(result)}
    by_origin = told["churn at long horizons, by origin"]
    assert len(by_origin.rows) == 2 * len(result.origins)
    assert {len(row) for row in by_origin.rows} == {len(by_origin.columns)}
    assert any("365 days that had closed, and 6 are needed" in row[-1] for row in by_origin.rows)
    assert any(title.startswith("churn within 365 days: ") for title in told)
    assert any(
        row[:2] == ("a year and more", "365") for row in told[f"{result.best.title} by tenure"].rows
    )
    report = json.loads(json.dumps(as_json(result), allow_nan=False))
    year = report["later"]["365"]
    assert year["verdict"] == "judged"
    assert year["pooled"]["rows"] == result.long_horizons[1].pooled.n_rows
    assert set(year["differences_in_log_loss"]["base_rate"]) == {
        result.best.name,
        "formula",
        "usage",
        "logistic",
    }
    assert [len(origin["log_loss"]) > 0 for origin in year["origins"]] == [
        origin["rows"] > 0 for origin in year["origins"]
    ]


def test_horizons_of_a_group_stand_beside_each_other(result) -> None:
    days = [
        group.horizon
        for group in result.groups
        if (group.dimension, group.name) == ("tenure", "a year and more")
    ]
    places = [
        place
        for place, group in enumerate(result.groups)
        if (group.dimension, group.name) == ("tenure", "a year and more")
    ]
    assert days == [30, 60, 90, 180, 365]
    assert places == list(range(places[0], places[0] + 5))


@pytest.fixture(scope="module")
def short(simulated):
    """The same company after 16 months."""
    until = datetime(2025, 5, 1, tzinfo=simulated["known_until"].tzinfo)
    given = {
        **simulated,
        "known_until": until,
        "events": simulated["events"].filter(pl.col("recorded_at") < until),
    }
    played = run_backtest(replace(label_named("churn"), horizons=(30, 60)), **given, n_origins=2)
    return played, backtest_long_horizons(played, given["events"], (FORMULA, BASE_RATE))


def test_sixteen_months_can_not_tell_a_year_and_say_so_with_counts(short) -> None:
    _, far = short
    year = next(one for one in far if one.horizon == 365)
    assert year.rows is None
    assert year.reason.startswith("2 of 2 origins know too little to learn it (the newest of them")
    assert "cutoffs had windows of 365 days that had closed, and 6 are needed" in year.reason


def test_a_model_that_knows_dates_needs_no_windows_of_that_length(simulated) -> None:
    newest = {**simulated, "cutoffs": simulated["cutoffs"][-18:]}
    played = run_backtest(
        replace(label_named("churn"), long_horizons=(180,)),
        **newest,
        n_origins=2,
    )
    half = next(
        one
        for one in backtest_long_horizons(
            played, simulated["events"], (RENEWAL_RISK, FORMULA, BASE_RATE)
        )
        if one.horizon == 180
    )
    assert half.origins[0].by_date
    assert half.origins[0].n_cutoffs < 6
    assert half.rows is not None
    p = half.rows.probabilities[RENEWAL_RISK.name][:, 0]
    came = half.rows.outcomes[:, 0]
    assert ((p > 0) & (p < 1)).all()
    assert roc_auc_score(came, p) > 0.6
    assert 0.6 < came.sum() / p.sum() < 1.6


def test_an_origin_that_knows_enough_but_has_nothing_to_judge_says_that(
    played, later, simulated
) -> None:
    year, origin = later[1], played.origins[-1]
    assert year.origins[-1].could_learn
    events, training = simulated["events"], origin.known
    cohort = cohort_rows(training.label, events, training.cutoffs)
    known = long_horizons._outcomes(training, events, cohort, (180, 365), origin.moment)
    newest = long_horizons._seen(origin, known[365], known[180], 365, np.empty(0))
    assert newest.why_not == "none of the 365 days that it would judge has passed"
    alone = replace(year, rows=None, origins=(newest,))
    assert alone.reason == (
        "1 of 1 could have learned it, but none of the 365 days that they would judge has passed."
    )


def test_a_label_without_later_horizons_has_none(played, simulated) -> None:
    near = replace(
        played.prepared.training, label=replace(played.prepared.training.label, long_horizons=())
    )
    without = replace(played, prepared=replace(played.prepared, training=near))
    assert backtest_long_horizons(without, simulated["events"], SPECS) == ()


@pytest.mark.parametrize(("label", "months"), [("contraction", 48), ("silent_churn", 16)])
def test_contraction_and_silence_are_back_tested_too_and_have_no_later_horizon(
    simulated, label, months
) -> None:
    cutoffs = simulated["cutoffs"][-months:]
    events = simulated["events"].filter(
        pl.col("kind").is_in(CONTRACT_KINDS) | (pl.col("occurred_at") > cutoffs[0] - QUARTER)
    )
    newest = {**simulated, "cutoffs": cutoffs, "events": events}
    played = run_backtest(label_named(label), **newest, n_origins=2)
    result = judge_backtest(
        played,
        backtest_long_horizons(played, simulated["events"], SPECS),
        capacity=10,
        n_draws=DRAWS,
    )
    assert (result.label, result.horizons, result.long_horizons) == (label, (90,), ())
    assert result.learned == "yes", result.summary
    pooled = result.by_horizon[-1].verdict
    assert pooled.ranking[result.best.name].low > 0.6
    assert (result.capacity is None) == (label == "silent_churn")  # silence takes no MRR along


def test_progress_is_told(short, simulated) -> None:
    played, _ = short
    heard: list[tuple[str, int, int]] = []
    backtest_long_horizons(
        played,
        simulated["events"],
        (BASE_RATE,),
        progress=lambda step, done, total: heard.append((step, done, total)),
    )
    assert [(done, total) for _, done, total in heard] == [(0, 2), (1, 2)]
    assert [step for step, _, _ in heard] == [
        f"long horizons, origin {origin.moment:%Y-%m-%d}" for origin in played.origins
    ]
