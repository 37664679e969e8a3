"""Which direction imports point: the contracts of pyproject.toml, and the list of pure modules."""

from __future__ import annotations

import fnmatch
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

PACKAGES = ("features", "training", "serving", "experiments", "registry")

HEAVY = (
    "confluent_kafka",
    "dask",
    "duckdb",
    "fastapi",
    "feast",
    "lightgbm",
    "mlflow",
    "optuna",
    "pyspark",
    "redis",
    "shap",
    "sqlalchemy",
    "starlette",
    "uvicorn",
)

PURE = (
    "experiments.causal.checks.*",
    "experiments.causal.design",
    "experiments.causal.estimates",
    "experiments.causal.interventions",
    "experiments.policy.candidates.deadlines",
    "experiments.policy.candidates.sequence_steps",
    "experiments.policy.conditions",
    "experiments.policy.recommend",
    "experiments.policy.recommendation",
    "experiments.policy.account_state",
    "experiments.policy.value",
    "experiments.policy.withholding",
    "experiments.randomisation.assignment",
    "features.alerts.alert",
    "features.alerts.rules",
    "features.catalogue.catalogue",
    "features.catalogue.definitions.*",
    "features.catalogue.feature",
    "features.compute.encode",
    "features.events.schema",
    "features.health.formula",
    "features.health.score",
    "features.kernel.windows",
    "features.toml_table",
    "registry.bundle.bundle",
    "registry.bundle.feature_contract",
    "registry.bundle.segment_gate",
    "registry.playbook.actions",
    "registry.playbook.condition_grammar",
    "registry.playbook.playbook",
    "registry.playbook.sequences",
    "registry.promotion.promotion",
    "registry.toml_table",
    "registry.trees._interleaved",
    "registry.trees._simd",
    "registry.trees._threshold_codes",
    "registry.trees.arrays",
    "registry.trees.batch_scoring",
    "registry.trees.shap",
    "registry.trees.shap_batch",
    "serving.scoring.explanations",
    "serving.scoring.score",
    "training.dataset.cutoffs",
    "training.dataset.labels",
    "training.dataset.splits",
    "training.models.specs",
    "training.monitor.drift",
    "training.monitor.estimate",
    "training.monitor.matured",
)
"""Functions of values to values; a pattern that matches no module yet is skipped by name."""


@pytest.fixture(scope="session")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(
        *PACKAGES,
        include_external_packages=True,
        exclude_type_checking_imports=True,
        cache_dir=None,
    )


def test_the_import_contracts_are_kept(pytestconfig):
    lint = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [lint, "--no-cache"], cwd=pytestconfig.rootpath, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("pattern", PURE)
def test_a_pure_module_reaches_no_heavy_library(graph, pattern):
    modules = fnmatch.filter(graph.modules, pattern)
    assert modules, f"no module is named {pattern}; the list PURE is out of date"
    chains = [
        graph.find_shortest_chain(importer=module, imported=library)
        for module in modules
        for library in HEAVY
        if library in graph.modules
    ]
    assert [" → ".join(chain) for chain in chains if chain] == []


def test_serving_reaches_no_training_by_any_way(graph):
    chain = graph.find_shortest_chain(importer="serving", imported="training", as_packages=True)
    assert chain is None, " → ".join(chain or ())


def test_the_contracts_see_every_package(graph):
    assert set(PACKAGES) <= graph.modules
