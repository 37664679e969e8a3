"""Importing does nothing: no files, no work, no heavy library for nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PACKAGES = ("features", "training", "serving", "experiments", "registry")
HEAVY = ("duckdb", "fastapi", "feast", "lightgbm", "mlflow", "optuna", "pyspark", "shap")


def modules_after(statement: str, root: str, cwd: os.PathLike[str]) -> set[str]:
    """The names of all modules that are loaded after the statement, in a fresh interpreter."""
    run = subprocess.run(
        [sys.executable, "-B", "-c", f"{statement}\nimport sys\nprint(*sorted(sys.modules))"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stdout.split())


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_loads_nothing_heavy_and_writes_nothing(
    package, pytestconfig, tmp_path
):
    loaded = modules_after(f"import {package}", str(pytestconfig.rootpath), tmp_path)
    assert package in loaded
    assert loaded.isdisjoint(HEAVY)
    assert list(tmp_path.iterdir()) == []


def test_the_service_starts_without_training_in_memory(pytestconfig, tmp_path):
    loaded = modules_after("import serving.api.app", str(pytestconfig.rootpath), tmp_path)
    assert {name for name in loaded if name.split(".")[0] == "training"} == set()
    assert list(tmp_path.iterdir()) == []


def test_the_command_starts_light(pytestconfig, tmp_path):
    loaded = modules_after("import keepwell", str(pytestconfig.rootpath), tmp_path)
    assert loaded.isdisjoint(HEAVY)
    assert list(tmp_path.iterdir()) == []
