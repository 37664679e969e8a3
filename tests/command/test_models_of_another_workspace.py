"""A workspace scores its accounts with the models of another one: KEEPWELL_TRACKING_URI."""

from __future__ import annotations

import subprocess
from pathlib import Path

import polars as pl
import pytest
from keepwell_command import run_keepwell
from small_company import READS, add_model, make_bundle, make_workspace

from features.workspace import Workspace
from registry.store.mlflow import MlflowModelStore

ROOT = Path(__file__).parents[2]
OWN_USE = "use_search_count_28d"


@pytest.fixture(scope="module")
def companies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Workspace]:
    """One company with models, and one with accounts only."""
    folder = tmp_path_factory.mktemp("companies")
    trained = make_workspace(folder / "trained")
    add_model(
        MlflowModelStore(trained.tracking_uri),
        "churn",
        make_bundle(trained, READS, [0.9, -0.7, -0.2, 0.1, -0.3]),
    )
    return trained, make_workspace(folder / "scored")


def score(place: Workspace, tracking_uri: str, out: Path) -> subprocess.CompletedProcess[str]:
    return run_keepwell(
        "score",
        "--out",
        str(out),
        "-w",
        str(place.root),
        cwd=out.parent,
        columns=400,
        KEEPWELL_TRACKING_URI=tracking_uri,
    )


def test_the_models_of_one_company_score_the_accounts_of_another(
    companies: tuple[Workspace, Workspace],
    tmp_path: Path,
) -> None:
    trained, scored = companies
    uri = trained.tracking_uri
    done = score(scored, uri, tmp_path / "scores.parquet")
    assert done.returncode == 0, done.stderr
    there = pl.read_parquet(tmp_path / "scores.parquet")
    own = score(trained, uri, tmp_path / "own.parquet")
    assert own.returncode == 0, own.stderr
    scores = there.filter(pl.col("churn_probability_90d").is_not_null())
    assert scores["score_source"].to_list() == ["model"] * 47  # the 48th account has left
    assert there["churn_probability_90d"].equals(
        pl.read_parquet(tmp_path / "own.parquet")["churn_probability_90d"]
    )
    assert not (scored.root / "mlflow.db").exists()


def test_a_model_of_features_that_are_not_counted_here_says_how_to_count_them(
    companies: tuple[Workspace, Workspace],
    tmp_path: Path,
) -> None:
    _, scored = companies
    trained = make_workspace(tmp_path / "trained", use_names=("search",))
    bundle = make_bundle(trained, (*READS, OWN_USE), [0.9, -0.7, -0.2, 0.1, -0.3, 0.5])
    add_model(MlflowModelStore(trained.tracking_uri), "churn", bundle)
    done = score(scored, trained.tracking_uri, tmp_path / "scores.parquet")
    assert done.returncode == 0, done.stderr
    assert f"lacks: {OWN_USE}" in done.stdout
    assert "use_names" in done.stdout
    assert "47 accounts" in done.stdout
    assert "model" not in pl.read_parquet(tmp_path / "scores.parquet")["score_source"].to_list()


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite:///nowhere/mlflow.db", "nowhere/mlflow.db, and there is no such file"),
        ("mlflow.db", "'mlflow.db', which is no address"),
    ],
)
def test_a_tracking_store_that_is_not_there_is_not_made(
    companies: tuple[Workspace, Workspace],
    uri: str,
    said: str,
    tmp_path: Path,
) -> None:
    done = score(companies[1], uri, tmp_path / "scores.parquet")
    assert done.returncode == 3
    assert said in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())
