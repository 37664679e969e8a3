"""File and accounts are read from the same columns, which say what follows from each account."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scores_one_by_one import rows_one_by_one, score_frame_for_file
from small_company import AS_OF, BEFORE, contract_of

from features.catalogue.catalogue import load_catalogue
from features.compute.snapshot_store import SnapshotStore
from features.health.formula import FORMULAS
from registry.bundle.bundle import BundleMetadata, GoldenRows, ModelBundle, ReferenceDistribution
from registry.bundle.calibration import Calibration
from registry.bundle.linear import LinearForm
from registry.bundle.long_horizons import LongHorizonChance
from registry.bundle.metadata import AMOUNT_ERROR
from registry.bundle.model_forms import TreeForm
from registry.bundle.segment_gate import EVERYONE, segment_key
from registry.bundle.untreated_risk import TreatedShare, UntreatedRisk, UntreatedShift
from registry.trees.arrays import TreeArrays
from serving.scoring.explanations import peers_of
from serving.scoring.models_served import champions
from serving.scoring.score import Models, ServedModel
from serving.scoring.scored_columns import Scoring
from serving.scoring.scores_file.file_columns import UNTOUCHED_COLUMNS, FileColumns

CATALOGUE = {feature.name: feature for feature in load_catalogue().features}
MANY_READS = tuple(
    name for name, feature in CATALOGUE.items() if feature.is_model_input and name != "mrr"
)[::3]
AGE = timedelta(days=35)


@pytest.fixture(scope="module")
def small(shared_workspace) -> pl.DataFrame:
    return SnapshotStore(shared_workspace.snapshots_dir).read(AS_OF)


@pytest.fixture(scope="module")
def frame(small) -> pl.DataFrame:
    """Many accounts of all kinds: ended, of unknown segment, with values that are not known."""
    rng = np.random.default_rng(5)
    many = small[rng.integers(0, small.height, 700)]
    changed = {}
    for name in (*MANY_READS, "mrr", *FORMULAS["balanced"].inputs):
        values = many[name].cast(pl.Float64).fill_null(np.nan).to_numpy().copy()
        values += rng.integers(0, 4, len(values)) * rng.choice([1.0, 0.25], len(values))
        values[rng.random(len(values)) < 0.2] = np.nan
        changed[name] = pl.Series(values).fill_nan(None)
    words = rng.random(many.height)
    return many.with_columns(
        account_id=pl.Series([f"account-{n:04d}" for n in range(many.height)]),
        segment=pl.when(pl.Series(words) < 0.8).then("segment"),
        price_plan=pl.when(pl.Series(words) > 0.1).then("price_plan"),
        **changed,
    )


def calibration(*horizons: int) -> Calibration:
    rng = np.random.default_rng(3)
    rising = np.linspace(-2.5, -1.5, len(horizons))
    return Calibration(
        horizons=horizons,
        slope=0.8,
        intercepts=tuple(rising),
        draws=np.column_stack(
            [rng.uniform(0.6, 1.0, 60), np.sort(rng.normal(rising, 0.1, (60, len(rising))))]
        ),
    )


@pytest.fixture(scope="module")
def trees(frame, shared_workspace) -> ModelBundle:
    contract = contract_of(MANY_READS, shared_workspace)
    matrix = contract.matrix(frame)
    rng = np.random.default_rng(1)
    known = np.isfinite(matrix)
    ranks = np.where(known, matrix.argsort(axis=0).argsort(axis=0) / len(matrix) - 0.5, 0.0)
    effect = rng.normal(size=matrix.shape[1])
    outcome = ranks @ effect + 0.3 * rng.normal(size=len(matrix)) > 0.5
    booster = lgb.train(
        {
            "objective": "binary",
            "verbose": -1,
            "num_threads": 1,
            "min_data_in_leaf": 5,
            "seed": 1,
            "learning_rate": 0.05,
        },
        lgb.Dataset(matrix, outcome.astype(float)),
        40,
    )
    form = TreeForm(trees=TreeArrays.from_dump(booster.dump_model()))
    horizons = (30, 60, 90, 180)
    return ModelBundle(
        label="churn",
        contract=contract,
        form=form,
        calibration=calibration(30, 60, 90),
        long_horizons=(LongHorizonChance(slope=0.5, form=None, calibration=calibration(180)),),
        base_rates=dict(zip(horizons, (0.03, 0.06, 0.09, 0.15), strict=True)),
        metadata=BundleMetadata(
            as_of=BEFORE,
            data_fingerprint="hand",
            code_version="0.1.0",
            label_policy={"outcome": "churn"},
        ),
        reference=ReferenceDistribution.of(matrix),
        golden=GoldenRows(matrix=matrix[:20], raw=form.score(matrix[:20])),
    )


@pytest.fixture(scope="module")
def linear(store) -> Models:
    """All models that are there, the amount of the expansion with an error."""
    models = champions(store)
    expansion = replace(models.expansion.model, metrics={AMOUNT_ERROR: 0.05})
    return replace(models, expansion=ServedModel(model=expansion, version="expansion version 1"))


@pytest.fixture(scope="module")
def full(linear, trees) -> Models:
    return replace(linear, churn=ServedModel(model=trees, version="churn version 7"))


def knows_of_untouched(models: Models, *horizons: int) -> Models:
    """The same churn model, that also says what accounts do if nobody acts."""
    model = models.churn.model
    n = len(model.contract.names)
    touch = LinearForm.plain(
        intercept=0.1,
        fill=np.zeros(n),
        center=np.zeros(n),
        scale=np.ones(n),
        coefficient=0.2 * np.eye(n)[0],
    )
    shift = UntreatedShift(
        horizons=horizons,
        shift=0.4,
        weight=0.3,
        centre=0.0,
        bounds=(-2.0, 2.0),
        covariance=((0.01, 0.001), (0.001, 0.02)),
        treatment=touch,
    )
    told = UntreatedRisk(
        shares=dict.fromkeys(
            model.horizons,
            TreatedShare(rows=40, treated=10, with_outcome=4, treated_with_outcome=1),
        ),
        not_known={h: "Too few." for h in model.horizons if h not in horizons},
        shift=shift,
        drawn_share=0.0,
        effective_accounts=30.0,
    )
    return replace(models, churn=replace(models.churn, model=replace(model, untreated_risk=told)))


CASES = {
    "trees": lambda m: m["full"],
    "what nobody acts on": lambda m: knows_of_untouched(m["full"], 30, 60, 90, 180),
    "what nobody acts on, of the near alone": lambda m: knows_of_untouched(m["full"], 30, 60),
    "refined formula": lambda m: m["linear"],
    "withheld from a segment": lambda m: replace(
        m["full"],
        withheld={
            "churn": {segment_key("small"): "it was worse"},
            "expansion": {segment_key("mid"): "it was worse."},
        },
    ),
    "withheld where the segment is not known": lambda m: replace(
        m["full"], withheld={"churn": {segment_key(None): "for an unknown segment"}}
    ),
    "withheld from everyone": lambda m: replace(
        m["full"],
        withheld={"churn": {EVERYONE: "it was worse"}, "expansion": {EVERYONE: "as well"}},
    ),
    "no model": lambda m: replace(m["full"], churn=None, refusals={"churn": "it was refused"}),
    "no formula": lambda m: replace(
        m["full"], churn_formula=None, withheld={"churn": {segment_key("small"): "worse"}}
    ),
    "no expansion": lambda m: replace(m["full"], expansion=None),
    "nothing": lambda m: Models(),
}


def told(frame, models, now=AS_OF):
    return {
        "models": models,
        "catalogue": load_catalogue(),
        "formula": FORMULAS["balanced"],
        "now": now,
        "max_age": AGE,
        "currency": "EUR",
        "peers": peers_of(frame, CATALOGUE),
    }


def file_columns(frame, models, *, most=5, now=AS_OF):
    columns = FileColumns(scoring=Scoring(**told(frame, models, now)), most_reasons=most)
    return columns.of(frame.select(n for n in frame.columns if n in columns.reads))


def check(frame, models, *, most=5, now=AS_OF):
    """File and accounts say what follows from each account by itself; an age, in words."""
    expected = rows_one_by_one(frame, **told(frame, models, now), most_reasons=most)
    of_file = file_columns(frame, models, most=most, now=now)
    of_accounts = score_frame_for_file(
        Scoring(**told(frame, models, now)).accounts(frame), most_reasons=most
    )
    for found, columns in (
        (of_file, expected.columns),
        (of_accounts, [n for n in of_accounts.columns if n not in UNTOUCHED_COLUMNS]),
    ):
        plain = found.with_columns(
            degraded=pl.when(pl.col("degraded").str.starts_with("The features are of"))
            .then(pl.lit("old"))
            .otherwise("degraded")
        )
        assert_frame_equal(
            plain.select(columns), expected.select(columns), rel_tol=1e-12, abs_tol=1e-12
        )
    return of_file


@pytest.mark.parametrize("case", CASES)
def test_file_and_accounts_are_what_follows_from_each_account_by_itself(frame, full, linear, case):
    columns = check(frame, CASES[case]({"full": full, "linear": linear}))
    assert columns["account_id"].to_list() == frame["account_id"].to_list()


def test_a_single_account_is_a_frame_of_one_row(frame, full):
    """But for contributions, which a model makes of few rows in another way, equal to 1e-6."""
    scoring = Scoring(**told(frame, full))
    for row, score in enumerate(scoring.accounts(frame)[:40]):
        [alone] = scoring.accounts(frame[row])
        assert alone == score
        assert alone.health == score.health
        assert [(r.feature, r.also) for r in alone.reasons.top(9)] == [
            (r.feature, r.also) for r in score.reasons.top(9)
        ]


def test_the_cases_are_different_from_each_other(frame, full, linear):
    said = {
        case: file_columns(frame, make({"full": full, "linear": linear}))
        for case, make in CASES.items()
    }
    assert {n: s["degraded"].n_unique() for n, s in said.items()} == {
        "trees": 2,
        "what nobody acts on": 2,
        "what nobody acts on, of the near alone": 2,
        "refined formula": 2,
        "withheld from a segment": 3,
        "withheld where the segment is not known": 3,
        "withheld from everyone": 2,
        "no model": 2,
        "no formula": 3,
        "no expansion": 2,
        "nothing": 2,
    }
    alone = "churn_probability_90d_if_untouched"
    assert {n for n, s in said.items() if s[alone].is_not_null().any()} == {"what nobody acts on"}
    risks = said["what nobody acts on"].drop_nulls(alone)
    assert (risks[alone] > risks["churn_probability_90d"]).mean() > 0.9
    assert (risks[alone] < risks[f"{alone}_high"]).all()
    with_trees = said["trees"]
    assert with_trees["reason_2"].null_count() < with_trees.height
    assert with_trees["reason_1"].str.contains("is usual").any()
    assert not with_trees["reason_1"].str.contains("Not known").any()
    assert with_trees["risk_tier"].n_unique() == 5
    assert with_trees["health_band"].n_unique() > 2
    assert (with_trees["reason_2_points"] < 0).any()


@pytest.mark.parametrize("most", [0, 1, 3])
def test_fewer_reasons_are_the_first_ones(frame, full, most):
    check(frame, full, most=most)


def test_features_of_several_ages_are_judged_row_by_row(frame, full):
    old = frame.with_columns(
        as_of=pl.when(pl.int_range(pl.len()) % 3 == 0)
        .then(pl.col("as_of") - pl.duration(days=20))
        .otherwise("as_of")
    )
    columns = check(old, full, now=AS_OF + timedelta(days=20))
    assert columns["degraded"].n_unique() == 3


def test_a_snapshot_without_attributes_money_or_health_is_scored(frame, full):
    bare = frame.select("account_id", "as_of", *MANY_READS).drop("mrr", strict=False)
    columns = check(bare, replace(full, expansion=None, churn_formula=None))
    assert columns["revenue_at_risk"].null_count() == columns.height


def test_a_part_of_the_accounts_is_scored_as_among_all(frame, full):
    columns = FileColumns(scoring=Scoring(**told(frame, full)))
    together = columns.of(frame)
    apart = pl.concat([columns.of(frame[:20]), columns.of(frame[20:333]), columns.of(frame[333:])])
    assert_frame_equal(apart, together, check_exact=True)
