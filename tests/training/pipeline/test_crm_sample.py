"""The main job's training on the sample that ships: real files, real Feast, known figures."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from features.workspace import Workspace
from registry.store.store import MemoryModelStore
from training.backtest.report import remarks
from training.backtest.workspace import backtest_workspace, backtest_workspace_renewals
from training.dataset.errors import HorizonTooLongError
from training.models.specs import REFERENCES, RENEWAL_RISK
from training.pipeline.record.tables import metrics_table
from training.pipeline.workspace import train_workspace
from training.scikit_learn import training_arrays

AS_OF = datetime(2023, 4, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def workspace(crm_workspace) -> Workspace:
    return crm_workspace


@pytest.fixture(scope="module")
def results(workspace):
    store = MemoryModelStore()
    made = train_workspace(
        workspace,
        ("churn", "expansion"),
        store=store,
        as_of=AS_OF,
        clock=lambda: AS_OF,
        trials=0,
        seed=1,
    )
    return {result.label.name: result for result in made}


def test_rows_and_outcomes_are_those_of_the_sample(results) -> None:
    expected = {
        "fitted": 3232,
        "fitted_outcomes": 271,
        "fitted_accounts_with_outcome": 119,
        "test": 1626,
        "test_outcomes": 122,
        "test_accounts_with_outcome": 69,
        "test_outcomes_30d": 41,
        "test_outcomes_60d": 84,
        "test_outcomes_90d": 122,
    }
    assert expected.items() <= results["churn"].rows.items()
    assert results["expansion"].rows["fitted_outcomes"] == 410
    assert results["expansion"].rows["test_outcomes"] == 70


def test_the_arrays_for_scikit_learn_are_those_rows(workspace) -> None:
    found = training_arrays(workspace, "churn", horizon_days=90, as_of=AS_OF)
    X, y, groups, times = found
    assert X.shape == (len(y), len(found.names))
    assert len(groups) == len(times) == len(y)
    assert found.reach_days == 90
    cutoffs = np.unique(times)
    test = np.isin(times, cutoffs[-math.ceil(0.25 * len(cutoffs)) :])
    assert (test.sum(), y[test].sum()) == (1626, 122)
    assert cutoffs.max() + np.timedelta64(90, "D") <= np.datetime64(AS_OF.replace(tzinfo=None))
    assert len({*zip(groups, times, strict=True)}) == len(y)


@pytest.mark.parametrize(
    ("label", "contender", "metric", "low", "high"),
    [
        ("churn", "base_rate", "log_loss", 0.266, 0.268),
        ("churn", "lightgbm", "log_loss", 0.234, 0.250),
        ("churn", "lightgbm", "auc", 0.66, 0.74),
        ("churn", "logistic", "log_loss", 0.236, 0.250),
        ("churn", "logistic", "auc", 0.68, 0.75),
        ("churn", "everything_renews", "log_loss", 0.9, 1.2),
        ("churn", "tenure_rate", "log_loss", 0.26, 0.275),
        ("churn", "sbg", "log_loss", 0.245, 0.262),
        ("churn", "bdw", "log_loss", 0.245, 0.265),
        ("expansion", "base_rate", "log_loss", 0.200, 0.206),
        ("expansion", "lightgbm", "log_loss", 0.115, 0.132),
        ("expansion", "lightgbm", "auc", 0.86, 0.92),
    ],
)
def test_known_figures_at_ninety_days(results, label, contender, metric, low, high) -> None:
    assert low < results[label].metrics[contender][90][metric].value < high


def test_what_renewals_alone_say_stands_beside_churn_and_is_not_served(results) -> None:
    names = {spec.name for spec in REFERENCES}
    churn = results["churn"]
    assert names <= set(churn.metrics)
    assert not names & set(results["expansion"].metrics)
    assert all(churn.differences[name].value < 0 for name in names)  # the best is better
    assert "retention by renewals (sBG)" in metrics_table([churn])


def test_a_contract_that_ends_later_has_hardly_any_risk(results) -> None:
    bundle = results["churn"].bundle
    assert results["churn"].best is RENEWAL_RISK
    rows = bundle.golden.matrix
    days = rows[:, bundle.contract.names.index("days_to_renewal")]
    for horizon in (30, 60, 90):
        p = bundle.probability(rows, horizon)
        assert (days >= horizon).any()
        assert p[days >= horizon].max() < 0.01 < p[days < horizon].min()


def test_both_models_are_better_than_base_rate_and_formula(results) -> None:
    for result in results.values():
        assert result.promotion.approved, result.summary


def test_the_served_expansion_rate_is_that_of_the_newest_cutoffs(results) -> None:
    assert 0.04 < results["expansion"].bundle.base_rate(90) < 0.05  # 29 % in the first month


@pytest.mark.parametrize(("label", "longest"), [("churn", 180), ("expansion", 90)])
def test_fourteen_months_reach_half_a_year_by_the_dates_of_contracts(results, label, longest):
    bundle = results[label].bundle
    assert bundle.horizons[-1] == longest
    assert set(bundle.not_estimable) == {h for h in (180, 365) if h > longest}
    for days in bundle.not_estimable:
        assert f"{days} days: not estimable. " in results[label].summary


def test_half_a_year_of_decisions_is_better_than_the_base_rate_on_later_rows(results) -> None:
    judged = results["churn"].long_horizon_metrics[180]
    gap = judged["base_rate"]["log_loss"].value - judged["renewal_risk"]["log_loss"].value
    assert gap > 0.02  # .395 and .361


def test_a_back_test_judges_half_a_year_by_decisions_and_says_why_not_a_year(workspace) -> None:
    result = backtest_workspace(
        workspace, "churn", as_of=AS_OF, n_origins=2, capacity=20, n_draws=20
    )
    half, year = result.long_horizons
    assert result.best is RENEWAL_RISK
    assert (half.horizon, year.horizon, year.pooled) == (180, 365, None)
    assert half.pooled is not None
    assert half.origins[0].by_date
    assert half.losses[0]["renewal_risk"] < half.losses[0]["base_rate"] - 0.02
    said = year.sentence(result.best)
    assert said.startswith("365 days: not estimable. 2 of 2 could have learned it, but none of the")
    assert said in remarks(result)


def test_renewals_are_judged_by_the_days_to_them(workspace) -> None:
    result = backtest_workspace_renewals(workspace, as_of=AS_OF, n_origins=2)
    assert {band.low for band in result.bands} >= {0, 14, 30, 60, 90, 120}
    near = result.bands[0]
    assert near.by_count.low < 1 < near.by_count.high
    assert near.log_loss < near.log_loss_of_rate
    assert 0 < result.crossings.n_seen < result.crossings.n_left
    assert f"Of {result.crossings.n_left} accounts that left at a renewal" in result.summary


def trained_for(workspace, days: int, *, as_of=AS_OF):
    (result,) = train_workspace(
        workspace,
        ("churn",),
        store=MemoryModelStore(),
        as_of=as_of,
        clock=lambda: AS_OF,
        trials=0,
        seed=1,
        horizons=(days,),
    )
    return result


def test_a_year_alone_is_judged_on_other_accounts_and_says_what_was_left_out(workspace) -> None:
    result = trained_for(workspace, 365, as_of=datetime(2023, 6, 1, tzinfo=UTC))
    assert "nothing is known of later months" in result.summary
    assert "rows whose label window has not closed" in result.summary
    assert "rows of accounts whose contract had ended" in result.summary
    assert "complete until 2023-04-01 (complete_until)" in result.summary
    assert "2023-06-01 was asked about" in result.summary


def test_two_years_can_not_be_estimated_here(workspace) -> None:
    said = r"closes on 2024-02-01.*at most 424 days \(keepwell train churn --horizon 424\)"
    with pytest.raises(HorizonTooLongError, match=said):
        trained_for(workspace, 730)
