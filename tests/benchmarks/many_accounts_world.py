"""A workspace with the snapshot of very many accounts and a model of hundreds of trees."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import lightgbm as lgb
import numpy as np
import polars as pl
import pyarrow.parquet as pq
from bench_explanations import FEATURES, model

from features.catalogue.catalogue import load_catalogue
from features.compute.backfill import snapshot_digest
from features.compute.snapshot_store import MADE_FROM, SnapshotStore
from features.health.formula import FORMULAS
from features.lake.lake import Lake
from features.workspace import Workspace
from registry.bundle.bundle import BundleMetadata, GoldenRows, ModelBundle, ReferenceDistribution
from registry.bundle.calibration import Calibration
from registry.bundle.feature_contract import ContractFeature, FeatureContract
from registry.bundle.model_forms import TreeForm
from registry.store.mlflow import MlflowModelStore
from registry.store.store import TrainingRun
from registry.trees.arrays import TreeArrays

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
GROUP = 262_144
"""Rows of a row group, as snapshots are written."""

HORIZONS, DRAWS = (30, 60, 90), 200
CATALOGUE = load_catalogue()
READS = [feature.name for feature in CATALOGUE.features if feature.is_model_input][:FEATURES]


def trained() -> tuple[lgb.Booster, np.ndarray]:
    """The model of the benchmark of reasons, and rows like the accounts'."""
    return model(500, 31)


def bundle(booster: lgb.Booster, rows: np.ndarray) -> ModelBundle:
    """The same trees as they are served, with the intervals of as many draws as training keeps."""
    rng = np.random.default_rng(2)
    intercepts = (-3.0, -2.2, -1.6)
    digests = CATALOGUE.digests
    return ModelBundle(
        label="churn",
        form=TreeForm(trees=TreeArrays.from_dump(booster.dump_model())),
        contract=FeatureContract(
            tuple(ContractFeature(name=name, digest=digests[name]) for name in READS)
        ),
        calibration=Calibration(
            horizons=HORIZONS,
            slope=0.8,
            intercepts=intercepts,
            draws=np.column_stack(
                [
                    rng.normal(0.8, 0.05, DRAWS),
                    np.sort(rng.normal(intercepts, 0.05, (DRAWS, len(HORIZONS))), axis=1),
                ]
            ),
        ),
        base_rates=dict(zip(HORIZONS, (0.03, 0.06, 0.09), strict=True)),
        metadata=BundleMetadata(as_of=AS_OF, data_fingerprint="", code_version="", label_policy={}),
        reference=ReferenceDistribution.of(rows[:1000]),
        golden=GoldenRows(
            matrix=rows[:50], raw=np.asarray(booster.predict(rows[:50], raw_score=True))
        ),
    )


def make_workspace(root: Path, accounts: int, served: ModelBundle) -> Workspace:
    """Its snapshot is written a row group at a time; nothing of it is made from events."""
    workspace = Workspace(root, environment={})
    workspace.change_settings(tenant="Many", complete_until=AS_OF)
    store = MlflowModelStore(workspace.tracking_uri)
    run = store.record_run(
        TrainingRun(
            label="churn",
            name="by hand",
            bundle=served,
            started_at=AS_OF,
            ended_at=AS_OF,
            metrics={},
        )
    )
    store.promote("churn", store.register("churn", run), evidence={}, by="bench", at=AS_OF)
    snapshots = SnapshotStore(workspace.snapshots_dir)
    path = snapshots.path(AS_OF)
    path.parent.mkdir(parents=True)
    digest = snapshot_digest(Lake(workspace.events_dir).manifest, workspace.settings)
    rng, writer = np.random.default_rng(1), None
    for back in (7, 28):  # a score is shown beside those of a week and of four weeks ago
        pl.DataFrame({"account_id": []}, schema={"account_id": pl.String}).write_parquet(
            snapshots.path(AS_OF - timedelta(days=back)), metadata={MADE_FROM: digest}
        )
    others = [name for name in (*FORMULAS["balanced"].inputs, "mrr") if name not in READS]
    for start in range(0, accounts, GROUP):
        n = min(GROUP, accounts - start)
        values = rng.normal(size=(n, FEATURES)).round(3)
        values[rng.random(values.shape) < 0.1] = np.nan
        words = {
            "segment": ("small", "mid", "large"),
            "price_plan": ("free", "pro", "business"),
            "contract_status": ("active",) * 49 + ("ended",),
        }
        table = (
            pl.DataFrame(
                {
                    "account_id": [f"account-{number:08d}" for number in range(start, start + n)],
                    **{
                        name: np.array(said)[rng.integers(0, len(said), n)]
                        for name, said in words.items()
                    },
                    **{
                        name: pl.Series(values[:, j]).fill_nan(None) for j, name in enumerate(READS)
                    },
                    **{name: rng.gamma(2, 20, n).round(2) for name in others},
                }
            )
            .with_columns(as_of=pl.lit(AS_OF).cast(pl.Datetime("us", "UTC")))
            .to_arrow(compat_level=pl.CompatLevel.oldest())
        )
        if writer is None:
            schema = table.schema.with_metadata({MADE_FROM: digest})
            writer = pq.ParquetWriter(path, schema, compression="zstd")
        writer.write_table(table.cast(schema), row_group_size=GROUP)
    assert writer is not None
    writer.close()
    return workspace
