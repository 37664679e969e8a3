from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from features.events.schema import events_frame
from training.backtest.run import BacktestError, find_origins, known_at_origin, run_backtest
from training.dataset.labels import cohort_rows, label_named, label_rows
from training.dataset.training_set import build_training_set
from training.models.specs import SPECS
from training.pipeline.prepare import prepare

DAYS_90 = timedelta(days=90)


def test_no_judged_row_is_known_to_the_fit_of_its_origin(back_tested) -> None:
    played, _ = back_tested
    training = played.prepared.training
    as_of = np.array([at.timestamp() for at in training.cutoffs])[training.cutoff]
    for origin in played.origins:
        assert all(at + DAYS_90 <= origin.moment for at in origin.fitted)
        assert all(at >= origin.moment for at in origin.judged)
        for position, horizon in enumerate(training.horizons):
            is_open = as_of + horizon * 86_400 > origin.moment.timestamp()
            assert np.isnan(origin.known.outcomes[is_open, position]).all()
            assert not np.isnan(origin.known.outcomes[~is_open, position]).all()


def test_cutoffs_whose_windows_are_open_at_the_origin_are_embargoed(back_tested) -> None:
    played, _ = back_tested
    for origin in played.origins:
        assert origin.embargoed
        assert all(origin.moment - DAYS_90 < at < origin.moment for at in origin.embargoed)


def test_what_was_recorded_after_an_origin_changes_nothing_that_it_says(
    small_company,
    back_test,
) -> None:
    company = small_company(n_accounts=120, leaves=0.06)
    first = back_test(company)
    moment = first.origins[1].moment
    later = (
        (pl.col("kind") == "contract.cancelled")
        & (pl.col("recorded_at") >= moment)
        & pl.col("account_id").str.slice(1).cast(pl.Int64).mod(2).eq(0)
    )
    second = back_test(company, events=company.events.filter(~later))

    def said(played) -> dict[tuple[str, int], list[float]]:
        rows, training = played.rows, played.prepared.training
        known_by = [at for at in training.cutoffs if at <= moment]
        return {
            (name, at): p[rows.cutoff == training.cutoffs.index(at)].tolist()
            for name, p in rows.probabilities.items()
            for at in known_by
        }

    assert said(first) == said(second)
    assert any(p for (_, at), p in said(first).items() if at == moment)
    assert np.nansum(first.rows.outcomes) > np.nansum(second.rows.outcomes)
    assert (
        first.rows.probabilities["lightgbm"][-1] != second.rows.probabilities["lightgbm"][-1]
    ).any()


def test_every_mature_row_since_the_first_origin_is_judged_once(back_tested) -> None:
    played, _ = back_tested
    training, rows = played.prepared.training, played.rows
    judged = [at for origin in played.origins for at in origin.judged]
    assert judged == sorted(set(judged))
    assert judged == [
        at
        for at in training.cutoffs
        if judged[0] <= at and at + DAYS_90 <= played.prepared.known_until
    ]
    assert len(rows.account) == training.rows_at(tuple(judged)).sum()
    assert set(rows.probabilities) <= {spec.name for spec in SPECS}
    assert {"lightgbm", "logistic", "formula", "usage", "base_rate"} <= set(rows.probabilities)
    for p in rows.probabilities.values():
        assert p.shape == rows.outcomes.shape
        assert ((p > 0) & (p < 1)).all()
        assert (np.diff(p, axis=1) >= 0).all()


def test_a_row_stands_beside_its_own_mrr_and_traits(back_tested) -> None:
    played, _ = back_tested
    rows = played.rows
    assert set(rows.mrr) >= {100.0}
    assert (rows.mrr == rows.value).all()  # whoever leaves takes all of it
    tenure = np.array(rows.traits["tenure_days"])
    expected = [
        (at - played.prepared.training.cutoffs[0]).days for at in played.prepared.training.cutoffs
    ]
    assert (tenure == np.array(expected)[rows.cutoff]).all()


def test_growth_is_worth_what_it_adds(small_company, back_test) -> None:
    rows = back_test(small_company(n_accounts=150), "expansion").rows
    grown = rows.outcomes[:, -1] == 1
    assert (rows.value[grown] < rows.mrr[grown]).all()
    assert rows.value[grown].min() >= 0.10 * rows.mrr[grown].min()


def small_set(timelines, *rows, recorded=None):
    """Two accounts at one cutoff, labelled with all that came to be known."""
    label = label_named("churn")
    events = events_frame(
        [
            timelines.event(account, kind, day, mrr, recorded=(recorded or {}).get(kind))
            for account, kind, day, mrr in (
                ("stays", "contract.started", "2022-01-01", 10.0),
                *rows,
            )
        ]
    )
    cutoffs = (timelines.at("2022-06-01"),)
    asked = cohort_rows(label, events, cutoffs)
    labelled = label_rows(label, events, asked, known_until=timelines.at("2023-06-01"))
    training = build_training_set(
        labelled, lambda keys: keys.with_columns(one=pl.lit(1.0)), {"one": ""}
    )
    return training, events, asked


def test_an_ending_that_is_recorded_after_the_origin_is_not_seen_there(timelines) -> None:
    training, events, asked = small_set(
        timelines,
        ("gone", "contract.started", "2022-01-01", 10.0),
        ("gone", "contract.cancelled", "2022-07-10", None),
        recorded={"contract.cancelled": "2022-12-01"},
    )
    assert training.outcomes[0].tolist() == [0, 1, 1]
    known = known_at_origin(training, events, asked, timelines.at("2022-10-01"))
    assert known.outcomes[0].tolist() == [0, 0, 0]
    known = known_at_origin(training, events, asked, timelines.at("2022-08-05"))
    assert known.outcomes[0, :2].tolist() == [0, 0]
    assert np.isnan(known.outcomes[0, 2])


def test_a_renewal_after_the_origin_does_not_take_the_ending_back_there(timelines) -> None:
    training, events, asked = small_set(
        timelines,
        ("back", "contract.started", "2022-01-01", 10.0),
        ("back", "contract.cancelled", "2022-08-20", None),
        ("back", "contract.started", "2022-09-05", 10.0),
    )
    assert training.outcomes[0].tolist() == [0, 0, 0]
    known = known_at_origin(training, events, asked, timelines.at("2022-09-01"))
    assert known.outcomes[0].tolist() == [0, 0, 1]


def test_fewer_origins_than_asked_for_is_said(small_company, back_test) -> None:
    played = back_test(small_company(n_accounts=120, months=14), n_origins=50)
    assert 2 <= len(played.origins) < 50
    assert any("and not 50" in note for note in played.notes)


def test_a_horizon_that_can_not_be_judged_is_named(small_company, back_test) -> None:
    short = small_company(n_accounts=220, months=8, leaves=0.08)
    played = back_test(short, n_origins=2)
    assert played.rows.horizons == (30, 60)
    assert any(note.startswith("90 days: not estimable") for note in played.notes)


def test_a_contender_that_reads_nothing_takes_no_part(small_company, back_test) -> None:
    company = small_company(n_accounts=120)

    def without_use(rows: pl.DataFrame, /) -> pl.DataFrame:
        return company.reader(rows).with_columns(feature_uses_28d=pl.lit(None, pl.Float64))

    played = back_test(company, reader=without_use)
    assert "usage" not in played.rows.probabilities
    assert any("usage in the last month takes no part" in note for note in played.notes)


def test_progress_is_told(small_company, back_test) -> None:
    heard: list[tuple[str, int, int]] = []
    back_test(
        small_company(n_accounts=120),
        n_origins=2,
        progress=lambda step, done, total: heard.append((step, done, total)),
    )
    assert heard[0] == ("labels and features", 0, 2)
    assert [done for _, done, _ in heard[1:]] == [0, 1]


def test_one_origin_is_refused(small_company) -> None:
    company = small_company(n_accounts=10)
    with pytest.raises(BacktestError, match="at least 2 origins; 1 asked for"):
        run_backtest(
            label_named("churn"),
            events=company.events,
            reader=company.reader,
            digests=company.digests,
            cutoffs=company.cutoffs,
            known_until=company.known_until,
            n_origins=1,
        )


def test_too_few_cutoffs_are_refused(small_company) -> None:
    company = small_company(n_accounts=200, months=4, leaves=0.06)
    prepared = prepare(
        replace(label_named("churn"), horizons=(30,)),
        events=company.events,
        reader=company.reader,
        digests=company.digests,
        cutoffs=company.cutoffs,
        known_until=company.known_until,
    )
    with pytest.raises(BacktestError, match=r"4 mature cutoffs .* give 1 origin\(s\)"):
        find_origins(prepared, company.events, 4)
