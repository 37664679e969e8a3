"""Let MLflow's own tools load a bundle: ``mlflow.pyfunc.load_model("models:/keepwell-churn@champion")``.

Beside the files of a bundle lies MLflow's ``MLmodel``, which names this module as the loader: nothing
is pickled. The model takes a frame of features and answers with the probabilities that are served.
Our own programs do not read these files; ``MlflowModelStore.load`` reads and checks the bundle.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from registry.bundle.bundle import ModelBundle
from registry.integrity.signing import signing_key

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

Floats = npt.NDArray[np.float64]

HORIZON = "horizon_days"
USUAL_HORIZON = 90
EXAMPLE_FILE = "input_example.json"
MOST_EXAMPLES = 5


class UnknownHorizonError(ValueError):
    """The model gives no probability at this horizon."""


class BundleModel:
    """A bundle in the form that MLflow calls."""

    def __init__(self, bundle: ModelBundle) -> None:
        self.bundle = bundle

    # MLflow takes a type of the rows for the signature, and warns of one that it cannot check.
    def predict(self, rows, params=None):  # type: ignore[no-untyped-def]
        """The probability of the outcome within ``horizon_days``, of each row of a pandas frame.

        Columns that the model does not read are ignored; a missing value is unknown.

        Raises:
            FeatureContractError: a feature is missing, or is no number.
            UnknownHorizonError: the model gives no probability at this horizon.
        """
        horizon = int((params or {}).get(HORIZON, default_horizon(self.bundle)))
        if horizon not in self.bundle.horizons:
            raise UnknownHorizonError(
                f"The {self.bundle.label} model gives no probability for {horizon} days; it does for "
                f"{', '.join(map(str, self.bundle.horizons))}. Name one of them in "
                f'params={{"{HORIZON}": …}}.'
            )
        wanted = [name for name in self.bundle.contract.names if name in rows.columns]
        answer: Floats = self.bundle.probability(pl.from_pandas(rows[wanted]), horizon)
        return answer


def _load_pyfunc(path: str) -> BundleModel:
    """What MLflow calls with the folder of the bundle; the key of the environment is asked for."""
    return BundleModel(ModelBundle.load(Path(path), key=signing_key(os.environ)))


def default_horizon(bundle: ModelBundle) -> int:
    """The horizon that is meant where none is named: 90 days, else the last one."""
    return USUAL_HORIZON if USUAL_HORIZON in bundle.horizons else bundle.horizons[-1]


def write_mlmodel(folder: Path, bundle: ModelBundle, *, run_id: str) -> None:
    """Put MLflow's description of the bundle beside its files."""
    from mlflow.models import Model

    rows = example_rows(bundle)
    (folder / EXAMPLE_FILE).write_text(json.dumps(rows, allow_nan=False), encoding="utf-8")
    model = Model(
        artifact_path=folder.name,
        run_id=run_id,
        signature=signature_of(bundle),
        saved_input_example_info={
            "artifact_path": EXAMPLE_FILE,
            "type": "dataframe",
            "pandas_orient": "split",
        },
        metadata={"label": bundle.label, "horizons": list(bundle.horizons)},
    )
    model.add_flavor("python_function", loader_module=__name__)
    model.save(folder / "MLmodel")


def signature_of(bundle: ModelBundle) -> ModelSignature:
    """The features that the model reads, what it answers, and the horizon as a parameter."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    features: list[Any] = [
        ColSpec(
            DataType.string if feature.categories else DataType.double, feature.name, required=True
        )
        for feature in bundle.contract.features
    ]
    return ModelSignature(
        inputs=Schema(features),
        outputs=Schema([TensorSpec(np.dtype(np.float64), (-1,))]),
        params=ParamSchema([ParamSpec(HORIZON, DataType.long, default_horizon(bundle))]),
    )


def example_rows(bundle: ModelBundle) -> dict[str, list[Any]]:
    """A few rows that the bundle brings for its own test, as features; null is unknown."""
    features = bundle.contract.features
    return {
        "columns": [feature.name for feature in features],
        "data": [
            [
                _value(number, feature.categories)
                for number, feature in zip(row, features, strict=True)
            ]
            for row in bundle.golden.matrix[:MOST_EXAMPLES].tolist()
        ],
    }


def _value(number: float, categories: tuple[str, ...]) -> float | str | None:
    if np.isnan(number):
        return None
    return categories[int(number)] if categories else number
