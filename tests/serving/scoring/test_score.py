from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from scores_one_by_one import score_frame_for_file

from features.catalogue.catalogue import load_catalogue
from features.health.formula import FORMULAS
from features.health.score import score_health
from features.store.feast import WorkspaceFeatures
from registry.bundle.feature_contract import ContractFeature, FeatureContract
from registry.store.store import MemoryModelStore, ModelVersion
from serving.scoring.models_served import champion_stamp, champions, model_rows
from serving.scoring.score import (
    NONE,
    RISK_TIERS,
    Models,
    ServedModel,
    risk_tiers,
)
from serving.scoring.scored_columns import score_accounts
from serving.scoring.scores_file.file_columns import UNTOUCHED_COLUMNS


@pytest.fixture(scope="module")
def frame(shared_workspace):
    return WorkspaceFeatures(shared_workspace).online([f"acct-{n:02d}" for n in range(48)])


@pytest.fixture(scope="module")
def score(frame):
    as_of = frame["as_of"][0]

    def score(models: Models, rows: pl.DataFrame = frame, *, days_later: float = 0):
        return score_accounts(
            rows,
            models,
            catalogue=load_catalogue(),
            formula=FORMULAS["balanced"],
            now=as_of + timedelta(days=days_later),
            max_age=timedelta(days=35),
            currency="USD",
        )

    return score


@pytest.fixture(scope="module")
def all_models(store):
    return champions(store)


def with_other_digest(bundle_contract: FeatureContract) -> FeatureContract:
    return FeatureContract(
        tuple(ContractFeature(name=f.name, digest="other") for f in bundle_contract.features)
    )


class AnotherContract:
    """A bundle whose contract is replaced by another."""

    def __init__(self, bundle, contract):
        self.bundle, self.contract = bundle, contract
        self.horizons, self.amount_ratio = bundle.horizons, bundle.amount_ratio
        self.metrics, self.usual = bundle.metrics, bundle.usual
        self.reason_evidence = bundle.reason_evidence

    def raw(self, matrix):
        return self.bundle.raw(matrix)

    def probability(self, matrix, horizon_days, *, raw=None):
        return self.bundle.probability(matrix, horizon_days, raw=raw)

    def probability_interval(self, matrix, horizon_days, *, raw=None):
        return self.bundle.probability_interval(matrix, horizon_days, raw=raw)

    def points(self, matrix, horizon_days, *, raw=None, within=None):
        return self.bundle.points(matrix, horizon_days, raw=raw, within=within)

    def zero_at(self, name):
        return self.bundle.zero_at(name)

    def base_rate(self, horizon_days):
        return self.bundle.base_rate(horizon_days)


def test_tiers_start_at_zero_and_rise():
    multiples = [tier.from_multiple for tier in RISK_TIERS]
    assert [tier.name for tier in RISK_TIERS] == ["low", "medium", "high", "critical"]
    assert multiples == [0, 1, 2, 4]


@pytest.mark.parametrize(
    ("probability", "tier"),
    [
        (0.0, "low"),
        (0.0999, "low"),
        (0.1, "medium"),
        (0.1999, "medium"),
        (0.2, "high"),
        (0.4, "critical"),
        (1.0, "critical"),
        (None, None),
    ],
)
def test_the_lower_edge_belongs_to_the_tier(probability, tier):
    [code] = risk_tiers(np.array([probability], float), np.array([0.1]))
    assert (None if code == NONE else RISK_TIERS[code].name) == tier


def test_without_a_base_rate_there_is_no_tier():
    assert risk_tiers(np.array([0.4]), np.array([np.nan])).tolist() == [NONE]


def test_the_model_answers_with_what_the_bundle_says(score, all_models, frame, churn_bundle):
    scores = score(all_models)
    matrix = churn_bundle.contract.matrix(frame)
    for horizon in (30, 60, 90):
        expected = churn_bundle.probability(matrix, horizon)
        got = [s.churn_at(horizon).probability for s in scores if not s.has_left]
        kept = np.array([not s.has_left for s in scores])
        np.testing.assert_array_equal(got, expected[kept])
    assert {s.source for s in scores if not s.has_left} == {"model"}
    assert {s.degraded for s in scores if not s.has_left} == {None}
    assert scores[0].model_version == "churn version 1"


def test_scores_come_in_the_order_of_the_frame_and_need_no_other_row(score, all_models, frame):
    every = score(all_models)
    backwards = score(all_models, frame.reverse())
    assert [s.account_id for s in backwards] == [s.account_id for s in every][::-1]
    assert [s.churn for s in backwards] == [s.churn for s in every][::-1]


def test_revenue_at_risk_is_the_probability_at_90_days_of_a_year_of_revenue(score, all_models):
    one = score(all_models)[0]
    at_90 = one.churn_at(90)
    assert one.revenue_at_risk == at_90.probability * one.mrr * 12
    assert one.revenue_at_risk_low == at_90.low * one.mrr * 12
    assert one.revenue_at_risk_high == at_90.high * one.mrr * 12
    assert one.currency == "USD"


def test_expected_growth_is_the_chance_times_the_usual_rise_of_a_year(score, all_models):
    one = score(all_models)[0]
    assert one.expected_expansion == pytest.approx(
        one.expansion.probability * one.mrr * 0.3 * 12, rel=1e-12
    )  # one rounding
    assert one.expansion_amount == one.mrr * 0.3
    assert one.expected_expansion_low < one.expected_expansion < one.expected_expansion_high


def test_no_probability_falls_as_the_horizon_grows(score, all_models):
    for one in score(all_models):
        shown = [h.probability for h in one.churn if h.probability is not None]
        assert shown == sorted(shown)


def test_start_rest_and_all_points_sum_to_the_probability(score, all_models):
    for one in score(all_models):
        if one.has_left:
            continue
        reasons = one.reasons
        points = [r.points for r in (*reasons.signals, *reasons.levers, *reasons.context)]
        total = reasons.start + reasons.rest + sum(points)
        assert total == pytest.approx(100 * one.churn_probability_90d, abs=1e-7)  # of percent


FALLBACKS = {
    "no champion": (
        Models(refusals={"churn": "no churn model has been promoted"}),
        0,
        "No churn model has been promoted.",
    ),
    "nothing known of models": (Models(), 0, "There is no churn model."),
}


@pytest.mark.parametrize("case", FALLBACKS)
@pytest.mark.parametrize("calibrated", [True, False])
def test_without_a_model_the_formula_answers_in_the_same_shape(score, all_models, case, calibrated):
    models, later, why = FALLBACKS[case]
    if calibrated:
        models = Models(churn_formula=all_models.churn_formula, refusals=models.refusals)
    with_model = {s.account_id: s for s in score(all_models)}
    for one in score(models, days_later=later):
        assert one.source == "health_formula"
        assert [h.horizon_days for h in one.churn] == [30, 60, 90]
        assert one.health == with_model[one.account_id].health
        if one.has_left:
            continue
        assert one.degraded == why
        assert (one.churn_probability_90d is not None) == calibrated
        assert (one.revenue_at_risk is not None) == calibrated
        assert (one.risk_tier is not None) == calibrated
        assert one.model_version == ("churn-formula version 1" if calibrated else None)


def test_old_features_are_not_given_to_the_model(score, all_models):
    fresh, old = score(all_models, days_later=35), score(all_models, days_later=35.01)
    assert fresh[0].source == "model"
    assert old[0].source == "health_formula"
    assert "35 days old, and may be at most 35 days old" in old[0].degraded
    assert old[0].churn_probability_90d is not None  # the calibrated formula
    assert old[0].expansion is None
    assert old[0].degraded == old[0].expansion_note


def test_age_is_judged_row_by_row(score, all_models, frame):
    older = frame.with_columns(
        pl.when(pl.col("account_id") == "acct-03")
        .then(pl.col("as_of") - pl.duration(days=60))
        .otherwise(pl.col("as_of"))
        .alias("as_of")
    )
    sources = {s.account_id: s.source for s in score(all_models, older)}
    assert sources["acct-03"] == "health_formula"
    assert sources["acct-04"] == "model"


def test_a_feature_that_the_snapshot_lacks_degrades_to_the_formula(score, all_models, frame):
    lacking = frame.drop("errors_28d")
    one = score(all_models, lacking)[0]
    assert one.source == "health_formula"
    assert "Churn version 1 cannot read these features" in one.degraded
    assert "errors_28d" in one.degraded
    assert one.churn_probability_90d is not None


def test_a_feature_defined_otherwise_than_in_training_degrades_to_the_formula(
    score, all_models, churn_bundle
):
    other = AnotherContract(churn_bundle, with_other_digest(churn_bundle.contract))
    models = Models(
        churn=ServedModel(model=other, version="churn version 7"),
        churn_formula=all_models.churn_formula,
    )
    one = score(models)[0]
    assert one.source == "health_formula"
    assert "another definition" in one.degraded


def test_a_formula_calibrated_on_another_formula_version_gives_no_probability(
    score, all_models, formula_bundle
):
    other = AnotherContract(formula_bundle, with_other_digest(formula_bundle.contract))
    one = score(Models(churn_formula=ServedModel(model=other, version="old")))[0]
    assert one.churn_probability_90d is None
    assert one.health.score is not None


def test_what_is_not_known_stays_unknown(score, all_models, frame):
    unknown = frame.with_columns(pl.lit(None, pl.Float64).alias("mrr"))
    one = score(all_models, unknown)[0]
    assert one.churn_probability_90d is not None
    assert (one.mrr, one.revenue_at_risk, one.expected_expansion) == (None, None, None)


def test_nan_in_a_feature_is_unknown(score, all_models, frame):
    broken = frame.with_columns(pl.lit(float("nan")).alias("mrr"))
    assert score(all_models, broken)[0].features["mrr"] is None


def test_an_account_that_has_left_has_nothing_left_to_predict(score, all_models):
    left = [s for s in score(all_models) if s.has_left]
    assert [s.account_id for s in left] == ["acct-47"]
    assert left[0].churn_probability_90d is None
    assert left[0].revenue_at_risk is None
    assert left[0].degraded == "The contract has ended, so there is nothing left to predict."


def test_an_account_without_a_contract_is_scored_for_no_churn(score, all_models, frame):
    """No training row is about such an account, so neither model nor formula answers for it."""
    first = frame["account_id"][0]
    prospect = frame.with_columns(
        contract_status=pl.when(pl.col("account_id") == first)
        .then(pl.lit("none"))
        .otherwise("contract_status")
    )
    one = next(s for s in score(all_models, prospect) if s.account_id == first)
    assert (one.churn_probability_90d, one.risk_tier, one.revenue_at_risk) == (None, None, None)
    assert one.degraded == "No contract has begun, so there is none that could end."
    assert (one.expansion, one.expansion_note) == (None, "No contract has begun.")
    assert one.score_source == "none"
    assert not one.has_left
    assert one.health.score is not None
    others = {s.account_id: s for s in score(all_models) if s.account_id != first}
    after = {s.account_id: s for s in score(all_models, prospect) if s.account_id != first}
    assert {a: s.churn for a, s in after.items()} == {a: s.churn for a, s in others.items()}
    table = score_frame_for_file(score(all_models, prospect))
    [row] = table.filter(pl.col("account_id") == first).to_dicts()
    assert (row["risk_tier"], row["score_source"]) == (None, "none")


def test_an_empty_frame_has_no_scores(score, all_models, frame):
    assert score(all_models, frame.head(0)) == []


def test_health_is_the_formulas(score, all_models):
    one = score(all_models)[0]
    assert one.health == score_health(FORMULAS["balanced"], one.features)


def test_the_file_has_one_row_per_account_with_unknown_as_null(score, all_models):
    scores = score(all_models)
    table = score_frame_for_file(scores)
    assert table.height == len(scores) == table["account_id"].n_unique()
    assert table.columns[:13] == [
        "account_id",
        "as_of",
        "churn_probability_30d",
        "churn_probability_60d",
        "churn_probability_90d",
        "churn_probability_90d_low",
        "churn_probability_90d_high",
        *UNTOUCHED_COLUMNS,
        "expansion_probability_30d",
        "expansion_probability_60d",
        "expansion_probability_90d",
    ]
    row = table.row(by_predicate=pl.col("account_id") == "acct-00", named=True)
    assert row["score_source"] == "model"
    assert row["reason_1"].startswith("Reliability: 40 errors in the last 28 days; 2 is usual")
    left = table.row(by_predicate=pl.col("account_id") == "acct-47", named=True)
    assert left["churn_probability_90d"] is None
    assert left["health_score"] is None or left["health_score"] >= 0


def test_the_file_of_the_formula_has_the_same_columns(score, all_models):
    assert (
        score_frame_for_file(score(Models())).schema
        == score_frame_for_file(score(all_models)).schema
    )


class Refused(MemoryModelStore):
    """A store whose churn champion fails its own test."""

    def load(self, label, version):
        from registry.bundle.bundle import BundleError

        if label == "churn":
            raise BundleError("The churn model misses a golden row by 0.3.")
        return super().load(label, version)


class Unreachable(MemoryModelStore):
    """A store that does not answer."""

    def champion_version(self, label: str) -> ModelVersion:
        from registry.store.store import TrackingError

        raise TrackingError("mlflow.db does not answer.")

    versions = champion_version


def test_a_refused_bundle_is_a_sentence_and_the_formula_answers(score, store):
    refusing = Refused()
    refusing.__dict__.update(store.__dict__)
    models = champions(refusing)
    assert models.churn is None
    one = score(models)[0]
    assert one.source == "health_formula"
    assert "misses a golden row" in one.degraded
    assert one.expansion is not None  # each label for itself


def test_a_store_that_does_not_answer_is_a_sentence_too(score):
    models = champions(Unreachable())
    assert "mlflow.db does not answer" in score(models)[0].degraded
    assert model_rows(Unreachable())[1]["churn"] == "mlflow.db does not answer."
    assert champion_stamp(Unreachable()) == champion_stamp(Unreachable())


def test_an_empty_store_says_what_was_not_promoted():
    assert champions(MemoryModelStore()).refusals["churn"] == "no churn model has been promoted"
