"""A small company built by hand: 48 accounts, their snapshots, models that nobody fitted."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from features.compute.backfill import backfill
from features.events.schema import Event, events_frame, properties_text
from features.health.formula import FORMULAS
from features.lake.lake import Lake
from features.store.feast import WorkspaceFeatures
from features.workspace import Workspace
from registry.bundle.bundle import BundleMetadata, GoldenRows, ModelBundle, ReferenceDistribution
from registry.bundle.calibration import Calibration
from registry.bundle.feature_contract import ContractFeature, FeatureContract
from registry.bundle.linear import LinearForm
from registry.store.store import MemoryModelStore, ModelStore, TrainingRun

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
BEFORE = datetime(2026, 2, 1, tzinfo=UTC)
ACCOUNTS = 48

READS = ("errors_28d", "active_days_28d", "feature_uses_28d", "seats", "tenure_days")


def day(days_ago: float) -> datetime:
    return AS_OF - timedelta(days=days_ago)


def event(
    account: str,
    kind: str,
    days_ago: float,
    *,
    count: int = 1,
    quantity: float | None = None,
    **properties: str | float,
) -> Event:
    at = day(days_ago)
    return Event(
        event_id=f"{account}-{kind}-{days_ago}-{sorted(properties.items())}",
        account_id=account,
        kind=kind,
        occurred_at=at,
        recorded_at=at,
        event_count=count,
        quantity=quantity,
        properties=properties_text(properties),
    )


def account_events(number: int) -> list[Event]:
    """Account 0 fails and falls silent; the last one has left; the others are in between."""
    account = f"acct-{number:02d}"
    plan, segment = ("starter", "small") if number % 2 else ("business", "mid")
    started = 400 - number
    events = [
        event(
            account,
            "account.updated",
            started,
            name=f"Company {number:02d}",
            segment=segment,
            csm=f"csm-{number % 3}",
            service_tier="mid_market" if number % 2 else "enterprise",
        ),
        event(
            account,
            "contract.started",
            started,
            quantity=100.0 + 50 * number,
            price_plan=plan,
            seats=10 + number,
            features_in_plan=4,
            unit_limit=1000,
            billing_months=12,
            discount=0,
            renewal_on=f"{day(-40):%Y-%m-%d}",
        ),
        event(
            account,
            "billing.invoice",
            20,
            quantity=100.0,
            invoice_id=f"i-{number}",
            status="late" if number == 0 else "paid",
            due_on=f"{day(18):%Y-%m-%d}",
        ),
    ]
    for days_ago in range(1, 60):
        silent = number == 0 and days_ago < 20
        if not silent and (days_ago + number) % (1 + number % 4) == 0:
            events.append(
                event(
                    account,
                    "feature.used",
                    days_ago + 0.3,
                    count=5 + number % 7,
                    name=("search", "export", "share")[days_ago % 3],
                )
            )
            events.append(event(account, "user.session", days_ago + 0.4, quantity=900.0))
    for error in range(2 if number else 40):
        events.append(event(account, "error.raised", 1.5 + error * 0.3, name="timeout"))
    if number == ACCOUNTS - 1:
        events.append(event(account, "contract.cancelled", 10, reason="too expensive"))
    return events


def family_events() -> list[Event]:
    """Account 4 is the parent of 1, 2 and 3, and 3 that of 5; "holding" sends nothing itself and
    is the parent of 6 and 7."""
    parents = {1: "acct-04", 2: "acct-04", 3: "acct-04", 5: "acct-03", 6: "holding", 7: "holding"}
    return [
        event(f"acct-{number:02d}", "account.updated", 300, parent=parent)
        for number, parent in parents.items()
    ]


def make_workspace(
    root: Path, *, use_names: tuple[str, ...] = (), more: Sequence[Event] = ()
) -> Workspace:
    workspace = Workspace(root, environment={})
    workspace.change_settings(tenant="Sample & Sons", complete_until=AS_OF, use_names=use_names)
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    events = [e for number in range(ACCOUNTS) for e in account_events(number)]
    events += more
    lake.append(events_frame(events), source="hand", file="hand", now=AS_OF)
    snapshots = backfill(workspace, [BEFORE, AS_OF])
    WorkspaceFeatures(workspace).publish(snapshots.filter(pl.col("as_of") == AS_OF))
    return workspace


def linear_bundle(
    matrix: np.ndarray, contract: FeatureContract, coefficient: list[float], *, label: str = "churn"
) -> ModelBundle:
    """A logistic model whose numbers are written down, not fitted."""
    n = len(coefficient)
    known = np.where(np.isnan(matrix), 0.0, matrix)
    form = LinearForm.plain(
        intercept=0.0,
        fill=np.zeros(n),
        center=known.mean(axis=0),
        scale=np.maximum(known.std(axis=0), 1.0),
        coefficient=np.array(coefficient),
    )
    horizons = (30, 60, 90) if label == "churn" else (90,)
    intercepts = (-3.6, -2.9, -2.4) if label == "churn" else (-1.8,)
    rng = np.random.default_rng(3)
    draws = np.column_stack(
        [
            np.clip(rng.normal(1, 0.1, 60), 0.2, 2),
            np.sort(rng.normal(intercepts, 0.15, (60, len(horizons))), axis=1),
        ]
    )
    return ModelBundle(
        label=label,
        contract=contract,
        form=form,
        calibration=Calibration(horizons=horizons, slope=1.0, intercepts=intercepts, draws=draws),
        base_rates=dict(zip(horizons, (0.03, 0.06, 0.09), strict=False)),
        metadata=BundleMetadata(
            as_of=BEFORE,
            data_fingerprint="hand",
            code_version="0.1.0",
            label_policy={"outcome": label},
        ),
        reference=ReferenceDistribution.of(matrix),
        golden=GoldenRows(matrix=matrix[:5], raw=form.score(matrix[:5])),
        metrics={"log_loss_90d": 0.21, "log_loss_90d_low": 0.18, "log_loss_90d_high": 0.24},
        amount_ratio=0.3 if label == "expansion" else None,
    )


def contract_of(names: tuple[str, ...], workspace: Workspace) -> FeatureContract:
    digests = workspace.settings.catalogue.digests
    digests = {**digests, "health_score": FORMULAS["balanced"].version}
    return FeatureContract(tuple(ContractFeature(name=n, digest=digests[n]) for n in names))


DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGA"
    "hKmMIQAAAABJRU5ErkJggg=="
)
"""A picture of one point."""

CARD = """# {label}: by hand

Written down, not fitted.

![promised and observed](plots/calibration.png)

| | log loss | Brier | AUC | average precision | lift at 10 % | calibration error |
|---|---|---|---|---|---|---|
| by hand | 0.242 (0.199–0.284) | 0.068 | 0.720 (0.658–0.778) | 0.139 | 2.016 | 0.019 |
"""


def add_model(store: ModelStore, label: str, bundle: ModelBundle) -> int:
    run = TrainingRun(
        label=label,
        name=f"{label} by hand",
        bundle=bundle,
        started_at=BEFORE,
        ended_at=BEFORE,
        metrics=bundle.metrics,
        plots={"calibration.png": DOT},
        documents={"model_card.md": CARD.format(label=label)},
    )
    version = store.register(label, store.record_run(run))
    store.promote(label, version, evidence={}, by="ann", at=BEFORE)
    return version


def make_bundle(
    workspace: Workspace, names: tuple[str, ...], coefficient: list[float], label: str = "churn"
) -> ModelBundle:
    frame = WorkspaceFeatures(workspace).online([f"acct-{n:02d}" for n in range(ACCOUNTS)])
    contract = contract_of(names, workspace)
    return linear_bundle(contract.matrix(frame), contract, coefficient, label=label)


def make_store(workspace: Workspace) -> MemoryModelStore:
    """A store with a champion of every kind."""
    models = MemoryModelStore()
    add_model(models, "churn", make_bundle(workspace, READS, [0.9, -0.7, -0.2, 0.1, -0.3]))
    add_model(
        models,
        "expansion",
        make_bundle(workspace, ("feature_uses_28d", "seats"), [0.6, 0.2], "expansion"),
    )
    add_model(models, "churn-formula", make_bundle(workspace, ("health_score",), [-0.8]))
    return models
