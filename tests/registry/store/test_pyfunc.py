"""MLflow's own tools load a registered model and give the probabilities that are served."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest

from registry.bundle.bundle import BundleError
from registry.bundle.feature_contract import FeatureContractError
from registry.integrity.signing import KEY_VARIABLE
from registry.store.mlflow import MlflowModelStore
from registry.store.pyfunc import BundleModel, UnknownHorizonError, example_rows
from registry.store.store import TrainingRun

AT = datetime(2026, 2, 1, 9, 30, tzinfo=UTC)
# mlflow 3.17 warns of its own types when its pyfunc is imported
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")

ADDRESS = "models:/keepwell-churn@champion"


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pyfunc")
    MlflowModelStore(f"sqlite:///{folder / 'mlflow.db'}")._client.search_experiments()
    return folder


@pytest.fixture
def store(empty_home, tmp_path):
    shutil.copy(empty_home / "mlflow.db", tmp_path / "mlflow.db")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    yield MlflowModelStore(f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.set_tracking_uri(before)


def champion_of(store, bundle):
    run = TrainingRun(
        label="churn", name="a run", bundle=bundle, started_at=AT - timedelta(minutes=5), ended_at=AT,
        params={}, metrics={}, tags={}, plots={}, documents={},
    )  # fmt: skip
    store.promote(
        "churn", store.register("churn", store.record_run(run)), evidence={}, by="ann", at=AT
    )
    return store.champion("churn")


def frame_of(bundle):
    example = example_rows(bundle)
    return pd.DataFrame(example["data"], columns=example["columns"])


@pytest.mark.parametrize("form", ["make_linear_bundle", "make_tree_bundle"])
def test_a_champion_that_mlflow_loads_gives_the_served_probabilities(store, request, form):
    bundle = champion_of(store, request.getfixturevalue(form)())
    model = mlflow.pyfunc.load_model(ADDRESS)
    rows = frame_of(bundle).assign(account_id="acme")  # what the model does not read is ignored
    served = pl.from_pandas(rows)
    assert model.predict(rows).tolist() == bundle.probability(served, 90).tolist()
    for horizon in bundle.horizons:
        told = model.predict(rows, params={"horizon_days": horizon})
        assert told.tolist() == bundle.probability(served, horizon).tolist()


def test_a_model_has_a_signature_and_an_example_that_it_answers(store, make_linear_bundle):
    bundle = champion_of(store, make_linear_bundle())
    model = mlflow.pyfunc.load_model(ADDRESS)
    assert model.metadata.signature.inputs.input_names() == list(bundle.contract.names)
    assert [one.name for one in model.metadata.signature.params] == ["horizon_days"]
    example = model.input_example
    assert len(model.predict(example)) == len(example) > 0
    assert model.metadata.flavors["python_function"]["loader_module"] == "registry.store.pyfunc"


def test_mlflow_evaluates_a_champion(store, make_linear_bundle):
    bundle = champion_of(store, make_linear_bundle())
    rows = frame_of(bundle)
    left = np.arange(len(rows)) % 2.0
    probability = bundle.probability(pl.from_pandas(rows), 90)
    found = mlflow.models.evaluate(
        ADDRESS, rows.assign(left=left), targets="left", model_type="regressor",
        evaluator_config={"log_model_explainability": False},
    )  # fmt: skip
    assert found.metrics["mean_squared_error"] == pytest.approx(((probability - left) ** 2).mean())


def test_what_the_model_cannot_answer_is_refused(store, make_linear_bundle):
    bundle = champion_of(store, make_linear_bundle())
    rows = frame_of(bundle)
    model = BundleModel(bundle)
    with pytest.raises(UnknownHorizonError, match="gives no probability for 91 days"):
        model.predict(rows, {"horizon_days": 91})
    with pytest.raises(FeatureContractError, match=bundle.contract.names[0]):
        model.predict(rows.drop(columns=bundle.contract.names[0]))


def test_categories_are_texts_and_unknown_stays_unknown(make_linear_bundle):
    bundle = make_linear_bundle()
    features = tuple(json.loads(json.dumps(example_rows(bundle)["columns"])))
    assert features == bundle.contract.names
    again = bundle.contract.matrix(pl.from_pandas(frame_of(bundle)))
    np.testing.assert_array_equal(again, bundle.golden.matrix[: len(again)])


def test_a_bundle_that_was_altered_or_not_signed_is_not_loaded(
    store, make_linear_bundle, monkeypatch
):
    champion_of(store, make_linear_bundle())
    monkeypatch.setenv(KEY_VARIABLE, "a key that nobody signed with, long enough for anybody")
    with pytest.raises(BundleError, match="is not signed"):
        mlflow.pyfunc.load_model(ADDRESS)


def test_a_program_that_only_knows_mlflow_loads_it(store, make_linear_bundle, tmp_path):
    bundle = champion_of(store, make_linear_bundle())
    frame_of(bundle).to_parquet(tmp_path / "rows.parquet")
    program = (
        "import mlflow, pandas, sys\n"
        "mlflow.set_tracking_uri(sys.argv[1])\n"
        f"model = mlflow.pyfunc.load_model({ADDRESS!r})\n"
        "rows = pandas.read_parquet(sys.argv[2])\n"
        "print(*[float(p).hex() for p in model.predict(rows)])\n"
    )
    done = subprocess.run(
        [
            sys.executable, "-W", "ignore", "-c", program,
            f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path / "rows.parquet"),
        ],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    served = bundle.probability(pl.from_pandas(frame_of(bundle)), 90)
    assert done.stdout.split() == [float(p).hex() for p in served]
