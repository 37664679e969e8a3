from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from registry.promotion.promotion import EvidenceError, Gain
from registry.store.store import MemoryModelStore, NoChampionError
from training.dataset.errors import HorizonTooLongError, NoAccountsError, OneClassError
from training.dataset.labels import LabelError
from training.models.specs import FORMULA_PRIOR, RENEWAL_RISK, SPECS
from training.pipeline.evidence import promotion_of_version
from training.pipeline.train import is_worth_contradictions


def test_a_model_that_is_better_serves(trained) -> None:
    result, store = trained
    assert result.promoted
    assert store.champion("churn").fingerprint == result.bundle.fingerprint
    assert "serves, as version 1" in result.summary
    assert result.bundle.horizons == (30, 60, 90)
    for other in ("base_rate", "formula"):
        assert result.differences[other].value < 0


def test_every_contender_is_judged_at_every_horizon_on_the_same_rows(trained) -> None:
    result, _ = trained
    # this company has no dates of renewal, and says so
    assert set(result.metrics) == {spec.name for spec in SPECS if spec is not RENEWAL_RISK}
    assert any("no date of renewal is known" in note for note in result.notes)
    for by_horizon in result.metrics.values():
        assert set(by_horizon) == {30, 60, 90}
    assert result.metrics["base_rate"][90]["auc"].value == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("mean", "confidence", "serves"),
    [(0.003, 0.95, True), (0.003, 0.7, False), (0.001, 0.99, False), (-0.01, 0.1, False)],
)
def test_another_model_serves_in_place_of_the_renewal_model_if_it_is_clearly_better(
    mean, confidence, serves
) -> None:
    ahead = Gain(mean=mean, low=mean - 0.002, high=mean + 0.002, confidence=confidence)
    assert is_worth_contradictions(ahead) is serves


def test_the_bundle_reads_only_features_that_vary(trained) -> None:
    result, _ = trained
    assert set(result.bundle.contract.names) == {
        "signal_28d",
        "other_28d",
        "seldom_90d",
        "feature_uses_28d",
        "health_score",
    }


def test_probabilities_rise_with_risk_and_never_fall_with_the_horizon(trained, small_company):
    result, _ = trained
    company = small_company()
    rows = pl.DataFrame({"account_id": [f"a{i:03}" for i in range(220)]}).with_columns(
        as_of=pl.lit(company.known_until).cast(pl.Datetime("us", "UTC"))
    )
    features = company.reader(rows)
    p = [result.bundle.probability(features, h) for h in (30, 60, 90)]
    assert (p[0] <= p[1]).all()
    assert (p[1] <= p[2]).all()
    assert np.corrcoef(p[2], company.risk)[0, 1] > 0.6


def test_the_probabilities_of_the_bundle_are_near_the_observed_rate(trained, small_company):
    result, _ = trained
    company = small_company()
    fitted = result.bundle.base_rate(90)
    rows = pl.DataFrame({"account_id": [f"a{i:03}" for i in range(220)]}).with_columns(
        as_of=pl.lit(company.cutoffs[-6]).cast(pl.Datetime("us", "UTC"))
    )
    still_here = company.events.filter(pl.col("kind") == "contract.cancelled").filter(
        pl.col("occurred_at") < company.cutoffs[-6]
    )["account_id"]
    rows = rows.filter(~pl.col("account_id").is_in(still_here.implode()))
    mean = result.bundle.probability(company.reader(rows), 90).mean()
    assert 0.5 * fitted < mean < 2 * fitted  # about 20 outcomes among the rows


def test_the_health_formula_is_kept_with_a_calibration_of_its_own(trained) -> None:
    result, store = trained
    formula = store.champion("churn-formula")
    assert result.formula_version == 1
    assert formula.contract.names == ("health_score",)
    sick, well = (formula.probability({"health_score": score}, 90)[0] for score in (10.0, 95.0))
    assert sick > well


def test_features_that_know_nothing_are_not_promoted(small_company) -> None:
    store = MemoryModelStore()
    # in one of eight such worlds chance is better than base rate and formula in 80 % of the draws
    result = small_company(told=0.0, n_accounts=150, seed=3).train(store=store)
    assert not result.promoted
    assert "no model is shown to be good enough" in result.summary
    assert [v.version for v in store.versions("churn")] == [1]
    with pytest.raises(NoChampionError, match="No version of 'churn'"):
        store.champion("churn")
    assert store.champion("churn-formula").horizons == (30, 60, 90)


def test_nobody_stands_for_it_so_it_waits(small_company) -> None:
    store = MemoryModelStore()
    result = small_company().train(store=store, by=None, trials=0)
    assert result.promotion.approved
    assert not result.promoted
    assert "waits as version 1" in result.summary
    decision, evidence = promotion_of_version(store, "churn", 1)
    assert decision == result.promotion
    assert evidence["n_rows"] == result.rows["test"]


def test_a_version_without_evidence_is_not_judged(trained) -> None:
    _, store = trained
    with pytest.raises(EvidenceError, match="carries no evidence"):
        promotion_of_version(store, "churn-formula", 1)


def test_the_same_data_and_seed_give_the_same_bytes(small_company) -> None:
    company = small_company(n_accounts=120)
    one, two = (company.train(seed=5).bundle for _ in range(2))
    assert one.fingerprint == two.fingerprint


def test_another_order_of_events_gives_the_same_bytes(small_company) -> None:
    company = small_company(n_accounts=120)
    shuffled = company.events.sample(fraction=1, shuffle=True, seed=3)
    assert (
        company.train(trials=0).bundle.fingerprint
        == company.train(trials=0, events=shuffled).bundle.fingerprint
    )


def test_what_became_known_after_the_end_changes_nothing(small_company) -> None:
    company = small_company(n_accounts=120)
    earlier = company.cutoffs[-3]
    unseen = company.events.filter(pl.col("recorded_at") < earlier)
    one, two = (
        company.train(trials=0, known_until=earlier, events=events).bundle.fingerprint
        for events in (company.events, unseen)
    )
    assert one == two


def test_snapshots_after_the_end_are_neither_read_nor_counted(small_company) -> None:
    company = small_company(n_accounts=120)
    earlier = company.cutoffs[-3]
    all_of_them, those_before = (
        company.train(trials=0, known_until=earlier, cutoffs=cutoffs)
        for cutoffs in (company.cutoffs, company.cutoffs[:-3])
    )
    assert all_of_them.excluded == those_before.excluded


def test_the_study_never_sees_a_test_row(small_company) -> None:
    company = small_company(n_accounts=120)

    def spoiled(rows: pl.DataFrame, /) -> pl.DataFrame:
        newest = pl.col("as_of") >= result.split.test[0]
        return company.reader(rows).with_columns(
            pl.when(newest).then(-pl.col("signal_28d")).otherwise(pl.col("signal_28d"))
        )

    result = company.train()
    other = company.train(reader=spoiled)
    assert other.studies == result.studies
    assert other.metrics["lightgbm"] != result.metrics["lightgbm"]


def test_where_few_have_left_only_the_refined_formula_may_serve_and_the_summary_says_so(
    trained,
) -> None:
    result, _ = trained
    assert result.rows["fitted_accounts_with_outcome"] < 150
    assert result.best is FORMULA_PRIOR
    assert set(result.studies) == {"formula_prior"}
    few = result.rows["fitted_accounts_with_outcome"]
    assert f"Only {few} distinct accounts left in the training part, fewer than 150" in (
        result.summary
    )
    assert "only the refined health formula may serve" in result.summary


def test_where_enough_have_left_every_model_may_serve(small_company) -> None:
    result = small_company(n_accounts=420, leaves=0.06).train(trials=0)
    assert result.rows["fitted_accounts_with_outcome"] >= 150
    assert set(result.studies) == {"lightgbm", "logistic", "formula_prior"}
    assert "fewer than 150" not in result.summary


@pytest.fixture(scope="module")
def expansion(small_company):
    return small_company().train("expansion", trials=0)


def test_the_formula_is_no_prior_of_expansion(expansion) -> None:
    result = expansion
    assert result.rows["fitted_accounts_with_outcome"] < 150
    assert "fewer than 150" not in result.summary
    assert "lightgbm" in result.studies


def test_expansion_comes_with_its_expected_amount(expansion) -> None:
    result = expansion
    assert 0.4 < result.bundle.amount_ratio < 0.8  # from 100 to 150 and a little
    assert 0 < result.bundle.metrics["amount_ratio_error"] < 0.02  # by months of 0 to 16
    assert result.formula_version is None


def test_a_horizon_that_only_the_shorter_data_can_judge_is_named(small_company) -> None:
    result = small_company(n_accounts=120).train(horizons=(30, 365), trials=0)
    # tiers and money are of 90 days: the rate of the 30 that were learned is taken to go on, and marked
    assert result.bundle.horizons == (30, 60, 90)
    assert result.bundle.extended_from == 30
    assert "365 days: not estimable" in result.summary
    assert 365 in result.bundle.not_estimable


def test_a_horizon_longer_than_the_data_is_refused(small_company) -> None:
    with pytest.raises(HorizonTooLongError, match=r"within 720 days is not estimable.*reach"):
        small_company(n_accounts=40).train(horizons=(720,))


def test_a_horizon_of_no_days_is_refused(small_company) -> None:
    with pytest.raises(LabelError, match="horizons are positive"):
        small_company(n_accounts=40).train(horizons=(0,))


def test_without_any_churn_there_is_nothing_to_learn(small_company) -> None:
    company = small_company(n_accounts=60)
    stayed = company.events.filter(pl.col("kind") != "contract.cancelled")
    with pytest.raises(OneClassError, match=r"No account has the outcome 'churn' within 90 days"):
        company.train(events=stayed)


def test_too_few_outcomes_to_learn_from_are_refused(small_company) -> None:
    company = small_company(n_accounts=60)
    gone = company.events.filter(pl.col("kind") == "contract.cancelled").sort("occurred_at")
    few = pl.concat(
        [
            company.events.filter(pl.col("kind") != "contract.cancelled"),
            gone.gather_every(max(1, gone.height // 5)),
        ]
    )
    with pytest.raises(OneClassError, match=r"fewer than 10 rows have the outcome|No account"):
        company.train(events=few)


def test_without_contracts_nobody_is_in_the_cohort(small_company) -> None:
    company = small_company(n_accounts=40)
    with pytest.raises(NoAccountsError, match="No account is in the cohort of 'churn'"):
        company.train(events=company.events.clear())


def test_without_snapshots_nobody_is_in_the_cohort(small_company) -> None:
    with pytest.raises(NoAccountsError, match="keepwell snapshot"):
        small_company(n_accounts=40).train(cutoffs=())


def test_a_formula_that_knows_nothing_takes_no_part(small_company) -> None:
    company = small_company(n_accounts=120)

    def without_health(rows: pl.DataFrame, /) -> pl.DataFrame:
        return company.reader(rows).with_columns(health_score=pl.lit(None, pl.Float64))

    result = company.train(reader=without_health, trials=0)
    assert "formula" not in result.metrics
    assert result.formula_version is None
    assert "The health formula takes no part" in result.summary


def test_a_champion_that_has_seen_the_test_rows_is_no_opponent(small_company) -> None:
    company, store = small_company(), MemoryModelStore()
    company.train(store=store, trials=0)
    again = company.train(store=store, trials=0)
    assert any(
        "only one of the same kind that has learned from the held-out rows" in reason
        for reason in again.promotion.reasons
    )
    assert again.version == 2


def test_an_older_champion_is_compared_on_rows_it_has_not_seen(small_company) -> None:
    company, store = small_company(months=24), MemoryModelStore()
    first = company.train(store=store, trials=0, known_until=company.cutoffs[14])
    later = company.train(store=store, trials=0)
    assert first.promoted
    assert any(
        "the champion on " in reason and "rows that neither has learned from: log loss" in reason
        for reason in later.promotion.reasons
    )


def test_progress_is_told(small_company) -> None:
    heard: list[str] = []
    small_company(n_accounts=120).train(
        progress=lambda step, done, total: heard.append(step), trials=0
    )
    assert heard[0] == "churn: labels and features"
    assert heard[-1] == "churn: done"
