"""Bad input, by docs/reference/bad-input.md: each is answered in words, none by a traceback."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from registry.bundle.bundle import ModelBundle
from registry.bundle.feature_contract import ContractFeature, FeatureContract
from registry.store.pending_uploads import PendingUploads
from registry.store.store import MemoryModelStore, TrackingError, TrainingRun
from training.dataset.errors import (
    FeatureMatrixError,
    HorizonTooLongError,
    NoAccountsError,
    OneClassError,
)
from training.pipeline.evidence import promotion_of_version


@pytest.fixture(scope="module")
def company(small_company):
    return small_company(n_accounts=120)


def reading(company, **columns: pl.Expr):
    """The company's reader with other values in these features."""
    return lambda rows: company.reader(rows).with_columns(**columns)


def everywhere(company, value: float | None) -> dict[str, pl.Expr]:
    return {name: pl.lit(value, pl.Float64) for name in company.digests}


def stayed(company) -> pl.DataFrame:
    return company.events.filter(pl.col("kind") != "contract.cancelled")


def one_account(company) -> pl.DataFrame:
    return company.events.filter(pl.col("account_id") == company.events["account_id"][0])


def left_before_the_test_only(company) -> pl.DataFrame:
    """Everybody who would leave in the test's label windows stays."""
    return company.events.filter(
        (pl.col("kind") != "contract.cancelled") | (pl.col("occurred_at") < company.cutoffs[-6])
    )


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        pytest.param(
            lambda c: {"events": c.events.clear()},
            NoAccountsError,
            r"No account is in the cohort of 'churn'.*keepwell ingest",
            id="no events",
        ),
        pytest.param(
            lambda c: {"cutoffs": ()},
            NoAccountsError,
            r"any of 0 snapshot\(s\).*keepwell snapshot",
            id="no snapshots",
        ),
        pytest.param(
            lambda c: {"events": stayed(c)},
            OneClassError,
            r"No account has the outcome 'churn' within 90 days in the training window",
            id="one class",
        ),
        pytest.param(
            lambda c: {"events": left_before_the_test_only(c)},
            OneClassError,
            r"No account has the outcome 'churn' within 90 days in the test window",
            id="one class in the test",
        ),
        pytest.param(
            lambda c: {"events": one_account(c)},
            OneClassError,
            r"\(\d+ rows at \d+ cutoffs .*the health formula serves meanwhile",
            id="one account",
        ),
        pytest.param(
            lambda c: {"reader": reading(c, **everywhere(c, 3.0))},
            FeatureMatrixError,
            r"None of the 7 features takes two known values",
            id="constant features",
        ),
        pytest.param(
            lambda c: {"reader": reading(c, **everywhere(c, None))},
            FeatureMatrixError,
            r"None of the 7 features takes two known values.*keepwell ingest",
            id="features that nobody knows",
        ),
        pytest.param(
            lambda c: {"reader": reading(c, **everywhere(c, float("nan")))},
            FeatureMatrixError,
            r"None of the 7 features takes two known values",
            id="features that are not a number",
        ),
        pytest.param(
            lambda c: {"reader": reading(c, signal_28d=pl.lit(float("-inf")))},
            FeatureMatrixError,
            r"Infinite values in signal_28d.*keepwell snapshot",
            id="infinite values",
        ),
        pytest.param(
            lambda c: {"horizons": (720,)},
            HorizonTooLongError,
            r"within 720 days is not estimable.*at most 515 days \(keepwell train churn --horizon 515\)",
            id="a label window beyond the data",
        ),
        pytest.param(
            lambda c: {"known_until": c.cutoffs[0]},
            NoAccountsError,
            r"any of 0 snapshot\(s\) before 2022-02-01",
            id="a training before the data",
        ),
    ],
)
def test_input_that_can_not_train_is_refused_in_words_and_stores_nothing(
    company, changes, error, said
) -> None:
    store = MemoryModelStore()
    with pytest.raises(error, match=said):
        company.train(store=store, **changes(company))
    assert store.versions("churn") == ()
    assert store.versions("churn-formula") == ()


def test_features_that_are_constant_or_unknown_beside_good_ones_are_left_out(company) -> None:
    bundle = company.train(trials=0).bundle
    assert not {"constant", "never"} & set(bundle.contract.names)


def test_a_window_that_only_reaches_beyond_the_data_is_named_and_the_others_are_trained(
    company,
) -> None:
    result = company.train(horizons=(30, 720), trials=0)
    assert (result.bundle.horizons, result.bundle.extended_from) == ((30, 60, 90), 30)
    assert "720 days: not estimable" in result.summary


def test_a_tuning_budget_of_zero_trains_with_the_defaults(company) -> None:
    result = company.train(trials=0)
    for study in result.studies.values():
        assert study.kept_defaults
        assert study.trials == 0


def test_a_number_never_seen_scores_as_a_probability(company) -> None:
    bundle = company.train(trials=0).bundle
    far = company.reader(
        pl.DataFrame({"account_id": ["a000"]}).with_columns(
            as_of=pl.lit(company.known_until + timedelta(days=1)).cast(pl.Datetime("us", "UTC"))
        )
    )
    for value in (-1e300, 0.0, 1e300, None):
        p = bundle.probability(far.with_columns(pl.lit(value, pl.Float64).alias("signal_28d")), 90)
        assert np.isfinite(p).all()
        assert ((p > 0) & (p < 1)).all()


def test_a_category_never_seen_is_unknown_to_the_model() -> None:
    contract = FeatureContract(
        features=(ContractFeature(name="region", digest="r1", categories=("emea", "amer")),)
    )
    rows = pl.DataFrame({"region": ["amer", "never seen", None]})
    np.testing.assert_array_equal(contract.matrix(rows)[:, 0], [1.0, np.nan, np.nan])


class AwayStore(MemoryModelStore):
    """A store whose server answers nothing, or only the question for the champion."""

    def __init__(self, *, knows_champion: bool) -> None:
        super().__init__()
        self.knows_champion = knows_champion

    def champion(self, label: str) -> ModelBundle:
        if not self.knows_champion:
            raise TrackingError("The tracking store could not read the champion.")
        return super().champion(label)

    def record_run(self, run: TrainingRun) -> str:
        raise TrackingError("The tracking store could not keep the run.")


@pytest.mark.parametrize("knows_champion", [False, True], ids=["away", "away at the end"])
def test_while_the_tracking_server_is_away_the_run_is_kept_and_uploaded_later(
    company, tmp_path, knows_champion
) -> None:
    waiting = PendingUploads(folder=tmp_path / "waiting-runs")
    result = company.train(
        store=AwayStore(knows_champion=knows_champion), trials=0, waiting=waiting
    )
    assert result.version is None
    assert not result.promoted
    assert "its run waits to be uploaded" in result.summary
    assert "once the store is back: keepwell models upload" in result.summary
    assert ("The champion could not be asked" in result.summary) is not knows_champion
    store = MemoryModelStore()
    done = list(waiting.upload(store, by="ann", clock=lambda: company.known_until))
    assert [(one.label, one.version) for one in done] == [("churn", 1), ("churn-formula", 1)]
    assert store.load("churn", 1).fingerprint == result.bundle.fingerprint
    assert store.champion("churn-formula").contract.names == ("health_score",)
    promotion, _ = promotion_of_version(store, "churn", 1)
    assert promotion == result.promotion


def test_a_server_that_is_away_at_the_first_question_only_promotes_nothing(company) -> None:
    class Absent(MemoryModelStore):
        def champion(self, label: str) -> ModelBundle:
            raise TrackingError("The tracking store could not read the champion.")

    result = company.train(store=Absent(), trials=0)
    assert result.promotion.approved
    assert not result.promoted
    assert "not compared with it and was not promoted" in result.summary


def test_without_a_place_to_wait_the_store_that_is_away_is_the_answer(company) -> None:
    with pytest.raises(TrackingError, match="could not keep the run"):
        company.train(store=AwayStore(knows_champion=True), trials=0)
