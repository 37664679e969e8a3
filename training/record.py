"""This module is about the record of a training: what a person compares runs by.

Parameters, metrics with intervals beside the baselines, tags, pictures and the model card, handed
to the model store. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from registry.bundle import ModelBundle
from registry.promotion import Promotion
from registry.store import ModelStore, TrackingError, TrainingRun
from registry.waiting_runs import WaitingRuns
from training.evaluation import flat
from training.metrics_table import contender_table
from training.plots import contender_plots, importance_plot
from training.prepare import Prepared
from training.race import Contender
from training.tune import Study


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A run that was recorded: its id and version, or why it waits to be uploaded."""

    run_id: str
    version: int | None
    waits_because: str | None = None


def flat_metrics(contender: Contender) -> dict[str, float]:
    """Test metrics of every horizon by flat names: ``log_loss_90d``, ``log_loss_90d_low``."""
    numbers: dict[str, float] = {}
    for horizon, metrics in contender.metrics.items():
        for name, value in flat(metrics).items():
            stem, bound = (name.rsplit("_", 1) if name.endswith(("_low", "_high"))
                           else (name, None))
            key = f"{stem}_{horizon}d" + (f"_{bound}" if bound else "")
            if np.isfinite(value):
                numbers[key] = value
    return numbers


def record(
    store: ModelStore, model: str, bundle: ModelBundle, shown: Contender,
    contenders: Mapping[str, Contender], prepared: Prepared, studies: Mapping[str, Study],
    promotion: Promotion | None, plots: Mapping[str, bytes], *, seed: int,
    started_at: datetime, ended_at: datetime, waiting: WaitingRuns | None = None,
) -> Recorded:
    """Record a run and register its bundle; where the store is away, keep it until it is back.

    Raises:
        TrackingError: the store does not answer, and there is nowhere to wait.
        WaitingRunError: nor is there room to keep it.
    """
    training = prepared.training
    horizon = training.horizons[-1]
    metrics = flat_metrics(shown)
    for name, contender in contenders.items():
        loss = contender.metrics[horizon]["log_loss"].value
        metrics[f"baseline_{name}_log_loss_{horizon}d"] = loss
    run = TrainingRun(
        label=model, name=f"{model} {shown.spec.title} as of {prepared.known_until:%Y-%m-%d}",
        bundle=bundle, started_at=started_at, ended_at=ended_at,
        params=_parameters(shown, prepared, studies, seed=seed), metrics=metrics,
        tags={"model": shown.spec.name, "as_of": prepared.known_until.isoformat(),
              "data_fingerprint": training.fingerprint,
              "feature_contract": bundle.contract.fingerprint},
        plots=plots,
        documents={"model_card.md": _card(model, shown, contenders, prepared, promotion)},
    )
    try:
        run_id = store.record_run(run)
        return Recorded(run_id=run_id, version=store.register(model, run_id))
    except TrackingError as exc:
        if waiting is None:
            raise
        return Recorded(run_id=waiting.keep(run).name, version=None, waits_because=str(exc))


def pictures(
    contenders: Mapping[str, Contender], bundle: ModelBundle, prepared: Prepared
) -> dict[str, bytes]:
    """The plots of a training: contenders on the test rows, and what the scores are made of."""
    training = prepared.training
    columns = training.columns(bundle.contract.names)
    explained = np.ascontiguousarray(training.matrix[prepared.test][:, columns])
    outcome = training.outcome[prepared.test]
    return {**contender_plots(contenders, outcome, training.horizons[-1]),
            **importance_plot(bundle, explained)}


def _parameters(
    shown: Contender, prepared: Prepared, studies: Mapping[str, Study], *, seed: int
) -> dict[str, str | int | float | bool]:
    split = prepared.split
    parameters: dict[str, str | int | float | bool] = {
        **{f"label_{name}": value for name, value in prepared.training.label.policy.items()},
        **{f"model_{name}": value for name, value in shown.parameters.items()},
        **{f"rows_{name}": value for name, value in prepared.counts.items()},
        "seed": seed, "features": len(prepared.training.names),
        "train_cutoffs": _span(split.before_test), "test_cutoffs": _span(split.test),
    }
    study = studies.get(shown.spec.name)
    if study is not None:
        parameters |= {"study_trials": study.trials, "study_pruned": study.pruned,
                       "study_kept_defaults": study.kept_defaults,
                       "study_confidence": study.confidence}
    return parameters


def _span(cutoffs: tuple[datetime, ...]) -> str:
    return f"{cutoffs[0]:%Y-%m-%d} to {cutoffs[-1]:%Y-%m-%d} ({len(cutoffs)})"


def _card(
    model: str, shown: Contender, contenders: Mapping[str, Contender], prepared: Prepared,
    promotion: Promotion | None,
) -> str:
    label, split = prepared.training.label, prepared.split
    horizon = prepared.training.horizons[-1]
    excluded = "; ".join(
        f"{h} days: " + (", ".join(f"{n} {why}" for why, n in reasons.items()) or "none")
        for h, reasons in prepared.labelled.excluded.items())
    lines = [
        f"# {model}: {shown.spec.title}", "",
        label.description, "",
        f"As of {prepared.known_until:%Y-%m-%d}. Fitted on cutoffs {_span(split.before_test)}, "
        f"judged on {_span(split.test)}, then refitted on all mature rows with the same "
        f"parameters.", "",
        f"Rows left out by horizon: {excluded}.", "",
        f"## Test rows, {horizon} days", "",
        contender_table({name: c.metrics[horizon] for name, c in contenders.items()}), "",
    ]
    if promotion is not None:
        lines += ["## Decision", "", "Promoted." if promotion.approved else "Not promoted.", "",
                  *(f"- {reason}" for reason in promotion.reasons), ""]
    lines += [
        "## Not for", "",
        "Reading causes into reasons: a contribution says what the score is associated with, not "
        "what would change it. Deciding about people: accounts are companies.", "",
    ]
    return "\n".join(lines)
