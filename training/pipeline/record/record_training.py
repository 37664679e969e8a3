"""Record a training, so that a person can compare runs.

Parameters, metrics with intervals beside the baselines, tags, pictures and the model card, handed
to the model store. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from registry.bundle.bundle import ModelBundle
from registry.promotion.promotion import Promotion, PromotionEvidence
from registry.store.pending_uploads import PendingUploads
from registry.store.store import (
    JUDGED_ON_OTHER_ACCOUNTS,
    ModelStore,
    TrackingError,
    TrainingRun,
)
from training.metrics import flat
from training.models.model_selection import Contender
from training.models.tuning.study import Study
from training.pipeline.prepare import PreparedData
from training.pipeline.record.model_card import model_card, span, summarise_card
from training.pipeline.record.plots import Pictures, contender_plots, explanation_plots

DESCRIPTION = "mlflow.note.content"
"""The tag that MLflow's own pages show as the description of a run."""


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """A run that was recorded: its id and version, or why it waits to be uploaded."""

    run_id: str
    version: int | None
    waits_because: str | None = None


def flat_metrics(contender: Contender) -> dict[str, float]:
    """Test metrics of every horizon by flat names: ``log_loss_90d``, ``log_loss_90d_low``."""
    numbers: dict[str, float] = {}
    for horizon, metrics in contender.metrics.items():
        for name, value in flat(metrics).items():
            stem, bound = name.rsplit("_", 1) if name.endswith(("_low", "_high")) else (name, None)
            key = f"{stem}_{horizon}d" + (f"_{bound}" if bound else "")
            if np.isfinite(value):
                numbers[key] = value
    return numbers


def record_training(
    store: ModelStore,
    model: str,
    bundle: ModelBundle,
    shown: Contender,
    contenders: Mapping[str, Contender],
    prepared: PreparedData,
    studies: Mapping[str, Study],
    promotion: Promotion | None,
    plots: Mapping[str, bytes],
    *,
    seed: int,
    started_at: datetime,
    ended_at: datetime,
    waiting: PendingUploads | None = None,
    evidence: PromotionEvidence | None = None,
    attributes: pl.DataFrame | None = None,
) -> RecordedRun:
    """Record a run and register its bundle; while the store does not answer, save it for later.

    Raises:
        TrackingError: the store does not answer, and there is nowhere to wait.
        PendingUploadError: nor is there room to save it.
    """
    training = prepared.training
    horizon = training.horizons[-1]
    metrics = flat_metrics(shown)
    for name, contender in contenders.items():
        loss = contender.metrics[horizon]["log_loss"].value
        metrics[f"baseline_{name}_log_loss_{horizon}d"] = loss
    if prepared.split.by_accounts:
        metrics[JUDGED_ON_OTHER_ACCOUNTS] = 1.0
    card = model_card(
        model,
        bundle,
        shown,
        contenders,
        prepared,
        study=studies.get(shown.spec.name),
        evidence=evidence,
        promotion=promotion,
        attributes=attributes,
        seed=seed,
    )
    run = TrainingRun(
        label=model,
        name=f"{model} {shown.spec.title} as of {prepared.known_until:%Y-%m-%d} "
        f"{bundle.fingerprint[:6]}",
        bundle=bundle,
        started_at=started_at,
        ended_at=ended_at,
        params=_parameters(shown, prepared, studies, seed=seed),
        metrics=metrics | _of_evidence(evidence),
        tags={
            "model": shown.spec.name,
            "as_of": prepared.known_until.isoformat(),
            "data_fingerprint": training.fingerprint,
            "judged_on": prepared.split.judged_on,
            "feature_contract": bundle.contract.fingerprint,
            "may_serve": "not judged"
            if promotion is None
            else "yes"
            if promotion.approved
            else "no",
            "failed_checks": ""
            if promotion is None
            else ", ".join(check.name for check in promotion.checks if check.outcome == "failed"),
            DESCRIPTION: _description(shown, horizon, promotion),
        },
        plots=plots,
        documents={"model_card.md": card},
    )
    try:
        run_id = store.record_run(run)
        return RecordedRun(run_id=run_id, version=store.register(model, run_id))
    except TrackingError as exc:
        if waiting is None:
            raise
        return RecordedRun(run_id=waiting.save(run).name, version=None, waits_because=str(exc))


def make_plots(
    contenders: Mapping[str, Contender], bundle: ModelBundle, prepared: PreparedData
) -> Pictures:
    """The plots of a training: contenders on the test rows, and what the scores are made of."""
    training = prepared.training
    columns = training.columns(bundle.contract.names)
    explained = training.part(prepared.test, columns)
    outcome = training.outcome[prepared.test]
    return Pictures(
        contender_plots(contenders, outcome, training.horizons[-1])
        | explanation_plots(bundle, explained)
    )


def _of_evidence(evidence: PromotionEvidence | None) -> dict[str, float]:
    """The evidence for a promotion, as columns of the list of runs."""
    if evidence is None:
        return {}
    gains = {
        "base_rate": evidence.over_base_rate,
        "formula": evidence.over_formula,
        "champion": evidence.over_champion,
    }
    numbers = {
        f"gain_over_{name}{part}": value
        for name, gain in gains.items()
        if gain is not None
        for part, value in (("", gain.mean), ("_low", gain.low), ("_high", gain.high))
    }
    if evidence.explanations_agreement is not None:
        numbers["explanations_agreement"] = evidence.explanations_agreement
    return numbers | {f"captured_of_{k}_accounts": share for k, share in evidence.captured.items()}


def _description(shown: Contender, horizon: int, promotion: Promotion | None) -> str:
    lines = [
        f"**{shown.spec.title}**, test rows at {horizon} days:",
        "",
        *(
            f"- {name.replace('_', ' ')} {interval}"
            for name, interval in summarise_card(shown, horizon).items()
        ),
    ]
    if promotion is not None:
        lines += [
            "",
            "May serve." if promotion.approved else "May not serve.",
            "",
            *(f"- {check.outcome}: {check.sentence}" for check in promotion.checks),
        ]
    return "\n".join([*lines, "", "The whole card is the artifact `model_card.md`."])[:5000]


def _parameters(
    shown: Contender, prepared: PreparedData, studies: Mapping[str, Study], *, seed: int
) -> dict[str, str | int | float | bool]:
    split = prepared.split
    parameters: dict[str, str | int | float | bool] = {
        **{f"label_{name}": value for name, value in prepared.training.label.policy.items()},
        **{f"model_{name}": value for name, value in shown.parameters.items()},
        **{f"rows_{name}": value for name, value in prepared.counts.items()},
        "seed": seed,
        "features": len(prepared.training.names),
        "train_cutoffs": span(split.before_test),
        "test_cutoffs": span(split.test),
    }
    study = studies.get(shown.spec.name)
    if study is not None:
        parameters |= {
            "study_trials": study.trials,
            "study_pruned": study.pruned,
            "study_kept_defaults": study.kept_defaults,
            "study_confidence": study.confidence,
        }
    return parameters
