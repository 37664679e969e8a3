"""Models of all shapes, as LightGBM trains them, and bundles made of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import lightgbm
import numpy as np
import pytest

from registry.bundle.bundle import BundleMetadata, GoldenRows, ModelBundle, ReferenceDistribution
from registry.bundle.calibration import Calibration
from registry.bundle.feature_contract import ContractFeature, FeatureContract
from registry.bundle.linear import LinearForm
from registry.bundle.model_forms import TreeForm
from registry.trees.arrays import TreeArrays

SHAPES = {
    "plain": {},
    "NaN is missing": {"nan": 0.4},
    "zero is missing": {"zero_as_missing": True, "zeros": 0.3, "nan": 0.2},
    "missing is not used": {"use_missing": False, "nan": 0.3},
    "NaN only where it is scored": {"nan_later": 0.5},
    "categorical": {"categorical": True, "nan": 0.2},
    "one-hot categorical": {"categorical": True, "max_cat_to_onehot": 64},
    "many categories": {"categorical": True, "levels": 200, "min_data_per_group": 1,
                        "cat_smooth": 1.0, "max_cat_threshold": 64},
    "deep": {"num_leaves": 120, "min_data_in_leaf": 1, "nan": 0.2, "chain": True},
    "one feature, again and again": {"n_features": 1, "num_leaves": 40, "nan": 0.1},
    "stumps": {"num_leaves": 2},
    "bagged": {"bagging_fraction": 0.5, "bagging_freq": 1, "feature_fraction": 0.5, "nan": 0.3},
    "single leaves": {"min_data_in_leaf": 10_000},
}  # fmt: skip


def train(shape: dict[str, object], seed: int = 0, rows: int = 600, rounds: int = 12):
    """A booster and rows to score, some with values that training never saw."""
    shape = dict(shape)
    rng = np.random.default_rng(seed)
    n_features = int(shape.pop("n_features", 7))
    nan, zeros = float(shape.pop("nan", 0.0)), float(shape.pop("zeros", 0.0))
    nan_later, levels = float(shape.pop("nan_later", 0.0)), int(shape.pop("levels", 12))
    matrix = rng.normal(size=(rows, n_features)).round(2)
    categorical = [0, 3] if shape.pop("categorical", False) else []
    for column in categorical:
        matrix[:, column] = rng.integers(0, levels, rows)
    signal = matrix[:, 0] * (matrix[:, -1] > 0) + np.sin(3 * matrix[:, n_features // 2])
    if shape.pop("chain", False):
        signal = np.round(4 * matrix[:, 0]) % 3 + np.round(3 * matrix[:, 1]) % 2
    matrix[rng.random(matrix.shape) < zeros] = 0.0
    matrix[rng.random(matrix.shape) < nan] = np.nan
    outcome = (signal % 2 + rng.normal(size=rows) > 0.7).astype(float)
    params = {"objective": "binary", "verbose": -1, "num_threads": 1, "seed": 1,
              "min_data_in_leaf": 5, "deterministic": True, **shape}  # fmt: skip
    data = lightgbm.Dataset(matrix, outcome, categorical_feature=categorical)
    booster = lightgbm.train(params, data, rounds)
    scored = matrix[:200].copy()
    scored[rng.random(scored.shape) < nan_later] = np.nan
    scored[:20] = rng.normal(size=(20, n_features)) * 100
    scored[20:25] = [[0.0], [-0.0], [1e-36], [-3.0], [1e300]] * np.ones(n_features)
    scored[25] = np.nan
    for column in categorical:
        scored[26:30, column] = [levels + 40, -1, 3.7, 1e12]
    return booster, scored


@pytest.fixture(params=SHAPES, scope="session")
def trained(request: pytest.FixtureRequest):
    return train(SHAPES[request.param])


def calibration(seed: int = 0, horizons: tuple[int, ...] = (30, 60, 90)) -> Calibration:
    rng = np.random.default_rng(seed)
    intercepts = np.cumsum(np.abs(rng.normal(size=len(horizons)))) - 1
    steps = np.abs(rng.normal(size=(40, len(horizons))))
    return Calibration(
        horizons=horizons, slope=0.8, intercepts=tuple(intercepts.tolist()),
        draws=np.column_stack([0.6 + 0.4 * rng.random(40), np.cumsum(steps, axis=1) - 1]),
    )  # fmt: skip


def contract(n_features: int) -> FeatureContract:
    return FeatureContract(
        tuple(ContractFeature(name=f"f{j}", digest=f"d{j}") for j in range(n_features))
    )


def metadata() -> BundleMetadata:
    return BundleMetadata(
        as_of=datetime(2026, 1, 31, tzinfo=UTC), data_fingerprint="abc", code_version="0.1.0",
        label_policy={"outcome": "churn", "grace_days": 30}, seeds={"split": 7},
        notes={"candidate": "lightgbm"},
    )  # fmt: skip


def tree_bundle(seed: int = 0, label: str = "churn", rounds: int = 8) -> ModelBundle:
    booster, scored = train({"nan": 0.3, "categorical": True}, seed=seed, rounds=rounds)
    return ModelBundle(
        label=label, contract=contract(7), form=TreeForm(trees=TreeArrays.from_dump(booster.dump_model())),
        calibration=calibration(seed), base_rates={30: 0.02, 60: 0.04, 90: 0.06},
        metadata=metadata(), reference=ReferenceDistribution.of(scored),
        golden=GoldenRows(matrix=scored[:40], raw=booster.predict(scored[:40], raw_score=True)),
        metrics={"log_loss_90d": 0.2, "log_loss_90d_low": 0.1, "log_loss_90d_high": 0.3},
        not_estimable={365: "The data end 200 days after the last row."},
        model_text=booster.model_to_string(),
    )  # fmt: skip


def linear_form(seed: int = 0, n_features: int = 5) -> LinearForm:
    rng = np.random.default_rng(seed)
    return LinearForm.plain(
        intercept=-0.5, fill=rng.normal(size=n_features), center=rng.normal(size=n_features),
        scale=0.5 + rng.random(n_features), coefficient=rng.normal(size=n_features),
        missing_coefficient=rng.normal(size=n_features), missing_rate=rng.random(n_features),
        lower=np.full(n_features, -2.0), signed_log=(rng.random(n_features) < 0.5).astype(float),
    )  # fmt: skip


def linear_bundle(seed: int = 0, label: str = "churn") -> ModelBundle:
    form = linear_form(seed)
    rng = np.random.default_rng(seed)
    scored = rng.normal(size=(60, 5))
    scored[rng.random(scored.shape) < 0.3] = np.nan
    return ModelBundle(
        label=label, contract=contract(5), form=form, calibration=calibration(seed),
        base_rates={30: 0.02, 60: 0.04, 90: 0.06}, metadata=metadata(),
        reference=ReferenceDistribution.of(scored),
        golden=GoldenRows(matrix=scored[:20], raw=form.score(scored[:20])), amount_ratio=0.25,
    )  # fmt: skip


@pytest.fixture(scope="session")
def make_tree_bundle() -> Callable[..., ModelBundle]:
    return tree_bundle


@pytest.fixture(scope="session")
def make_linear_bundle() -> Callable[..., ModelBundle]:
    return linear_bundle


@pytest.fixture(scope="session")
def make_linear_form() -> Callable[..., LinearForm]:
    return linear_form


@pytest.fixture(scope="session")
def shapes():
    return SHAPES


@pytest.fixture(scope="session")
def train_booster():
    return train


@pytest.fixture(scope="session")
def tree_model() -> ModelBundle:
    return tree_bundle()


@pytest.fixture(scope="session")
def linear_model() -> ModelBundle:
    return linear_bundle()
