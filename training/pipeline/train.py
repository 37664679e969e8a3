"""Train once, from contract events to a model that may serve.

::

    cohort rows ─► labels ─► features as known then ─► split with embargo ─► study ─► contest
        ─► better than base rate and formula? ─► refit on all mature rows ─► bundle ─► store

Reads features through the reader it is given and writes to the store it is given; the clock is
an argument. If no model is better, it says so, and the health formula serves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from registry.promotion.promotion import Gain, decide
from registry.store.pending_uploads import FORMULA_EVIDENCE, PendingUploads
from registry.store.store import ModelStore
from training.dataset.errors import FeatureMatrixError
from training.dataset.labels import Label
from training.dataset.left_out import rows_not_asked_about
from training.dataset.training_set import FeatureReader
from training.dataset.treatments import treated_rows, treatment_log
from training.metrics import BOOTSTRAP_DRAWS, Interval, account_draws
from training.models.binned_rows import BinnedRows, Grower, MakeGrower
from training.models.fit import fitting_of
from training.models.fitting.fit_rows import usable_columns
from training.models.fitting.taking_part import is_made_for, why_not
from training.models.model_selection import Contender, run_contender
from training.models.specs import BASE_RATE, FEW_ACCOUNTS, FORMULA, RENEWAL_RISK, SPECS, ModelSpec
from training.models.tuning.study import Study
from training.models.tuning.tune import tune
from training.pipeline.comparisons import attributes_of
from training.pipeline.evidence import (
    as_metrics,
    evidence_of,
    find_champion,
    from_metrics,
    gain_over,
)
from training.pipeline.examine_reasons import segments_of
from training.pipeline.long_horizon_judging import JudgedLongHorizons, judge_long_horizons
from training.pipeline.prepare import PreparedData, prepare
from training.pipeline.record.record_training import (
    RecordedRun,
    flat_metrics,
    make_plots,
    record_training,
)
from training.pipeline.references import judge_references
from training.pipeline.release import release
from training.pipeline.training_result import TrainingResult
from training.progress import Progress, no_progress

Clock = Callable[[], datetime]


def train(
    label: Label,
    *,
    events: pl.DataFrame,
    reader: FeatureReader,
    digests: Mapping[str, str],
    cutoffs: tuple[datetime, ...],
    known_until: datetime,
    store: ModelStore,
    clock: Clock,
    code_version: str,
    seed: int = 0,
    trials: int = 12,
    by: str | None = None,
    horizons: tuple[int, ...] | None = None,
    progress: Progress | None = None,
    waiting: PendingUploads | None = None,
    attributes: FeatureReader | None = None,
    parents: FeatureReader | None = None,
    seconds: float | None = None,
    journals: Path | None = None,
    interventions: pl.DataFrame | None = None,
    growing: MakeGrower = BinnedRows.of,
) -> TrainingResult:
    """Train, judge and store; promote if a person is named and the evidence allows it.

    Args:
        label: what to predict.
        events: the events of the kinds that the label reads.
        reader: features as known at each row's moment.
        digests: model inputs and ``health_score``, each with the digest of its definition.
        cutoffs: moments that have a snapshot.
        known_until: the training's ``as_of``: nothing later counts, and rows whose label window
            ends later are left out.
        store: where the run and the bundle go.
        clock: for the record: when the run began and ended.
        code_version: version of this code, kept in the bundle.
        seed: of everything random.
        trials: budget of the study; 0 keeps the defaults.
        by: the person who promotes if the evidence allows; None leaves the model a challenger.
        horizons: other horizons in days than the label's own.
        progress: called with the step, how far it is and how far it goes.
        waiting: where runs are saved while the store does not answer; None: then it is an error.
        attributes: of accounts (segment, tier), to judge each such group alone, reasons too.
        parents: the accounts above accounts, so that a family is held out as a whole.
        seconds: no trial of the study begins later than this; None: only trials are counted.
        journals: a folder in which a study that is killed leaves its trials, to go on.
        growing: makes the grower of trees; the study's trees are always grown here.
        interventions: the events of ``TREATMENT_KINDS``, to find treated labels; None: none.

    Raises:
        TrainingError: the data cannot answer; the message says why and what to do.
    """
    if horizons is not None:
        label = replace(label, horizons=tuple(sorted(set(horizons))), long_horizons=())
    # small matrices: a second BLAS thread costs ten times what it brings, and moves the last bit
    with threadpool_limits(limits=1, user_api="blas"):
        return _train(
            label,
            events=events,
            reader=reader,
            digests=digests,
            cutoffs=cutoffs,
            known_until=known_until,
            store=store,
            clock=clock,
            code_version=code_version,
            seed=seed,
            trials=trials,
            by=by,
            say=progress or no_progress,
            waiting=waiting,
            attributes=attributes,
            parents=parents,
            seconds=seconds,
            journals=journals,
            interventions=interventions,
            growing=growing,
        )


def _train(
    label: Label,
    *,
    events: pl.DataFrame,
    reader: FeatureReader,
    digests: Mapping[str, str],
    cutoffs: tuple[datetime, ...],
    known_until: datetime,
    store: ModelStore,
    clock: Clock,
    code_version: str,
    seed: int,
    trials: int,
    by: str | None,
    say: Progress,
    waiting: PendingUploads | None,
    attributes: FeatureReader | None,
    parents: FeatureReader | None,
    seconds: float | None,
    journals: Path | None,
    interventions: pl.DataFrame | None,
    growing: MakeGrower,
) -> TrainingResult:
    started = clock()
    say(f"{label.name}: labels and features", 0, 4)
    prepared = prepare(
        label,
        events=events,
        reader=reader,
        digests=digests,
        cutoffs=cutoffs,
        known_until=known_until,
        hold_out_accounts=True,
        parents=parents,
    )
    specs, notes = _runners(prepared)
    candidates = _candidates(specs, prepared)
    growers = {
        spec.name: growing(
            prepared.training,
            prepared.before_test,
            usable_columns(prepared.training, prepared.before_test, spec),
        )
        for spec in specs
        if fitting_of(spec).is_grown
    }
    say(f"{label.name}: tuning", 1, 4)
    studies = {
        spec.name: tune(
            spec,
            prepared.training,
            prepared.tuning_folds,
            usable_columns(prepared.training, prepared.before_test, spec),
            trials=trials,
            seed=seed,
            progress=say,
            seconds=seconds,
            journals=journals,
            grower=growers.get(spec.name),
        )
        for spec in candidates
    }
    say(f"{label.name}: fitting and judging", 2, 4)
    draws = account_draws(prepared.training.account, BOOTSTRAP_DRAWS, np.random.default_rng(seed))
    running = _run_contest(prepared, specs, studies, growers, draws, seed=seed)
    contenders = running | judge_references(prepared, draws)
    horizon = prepared.training.horizons[-1]
    best = min(
        (contenders[spec.name] for spec in candidates),
        key=lambda c: c.metrics[horizon]["log_loss"].value,
    )
    by_date = contenders.get(RENEWAL_RISK.name)
    if by_date is not None and best is not by_date:
        ahead = gain_over(best, by_date.probabilities[horizon], prepared, seed=seed)
        if not is_worth_contradictions(ahead):
            notes = (
                *notes,
                f"The {RENEWAL_RISK.title} is chosen: the log loss of the {best.spec.title} is lower by "
                f"{ahead.mean:.4f}, not by more than {WORTH_CONTRADICTIONS} in at least "
                f"{SURE_ENOUGH:.0%} of the draws, and only the {RENEWAL_RISK.title} never "
                f"contradicts the dates of contracts.",
            )
            best = by_date
    champion, asked = find_champion(store, label.name)
    segments = None if attributes is None else segments_of(prepared, attributes)
    called = None if attributes is None else attributes_of(prepared, attributes)
    evidence = evidence_of(
        best,
        contenders,
        prepared,
        champion,
        seed=seed,
        attributes=called,
        grower=growers.get(best.spec.name),
    )
    del growers  # a copy of the rows

    if best.spec.form == "renewal":
        prepared = _with_dates(prepared)
    judged = _judge_long_horizons(prepared, contenders, best, seed=seed)
    prepared = replace(
        prepared,
        long_horizons=prepared.long_horizons.without(judged.refused),
        not_estimable={**prepared.not_estimable, **judged.refused},
    )
    long_horizon_metrics = {
        h: metrics for h, metrics in judged.metrics.items() if h not in judged.refused
    }
    notes = (
        *notes,
        *(
            f"{horizon} days: not estimable. {reason}"
            for horizon, reason in prepared.not_estimable.items()
        ),
    )
    with_long_horizons = replace(
        best,
        metrics={**best.metrics, **{h: m[best.spec.name] for h, m in long_horizon_metrics.items()}},
    )

    say(f"{label.name}: refitting and storing", 3, 4)
    treated = treated_rows(
        prepared.training, prepared.labelled, treatment_log(interventions, known_until)
    )
    bundle = release(
        best.spec,
        prepared,
        best.parameters,
        code_version=code_version,
        seed=seed,
        growing=growing,
        metrics={**flat_metrics(with_long_horizons), **as_metrics(evidence)},
        treated=treated,
        segments=segments,
    )
    evidence = from_metrics(bundle.metrics)  # with the level of what is released
    promotion = decide(evidence)
    notes = (
        *notes,
        *(
            said
            for name, said in sorted(bundle.metadata.notes.items())
            if name.startswith("later_")
        ),
    )
    if bundle.untreated_risk is not None:
        notes = (*notes, *bundle.untreated_risk.sentences)
    plots = make_plots(running, bundle, prepared)
    recorded = record_training(
        store,
        label.name,
        bundle,
        best,
        contenders,
        prepared,
        studies,
        promotion,
        plots,
        seed=seed,
        started_at=started,
        ended_at=clock(),
        waiting=waiting,
        evidence=evidence,
        attributes=called,
    )
    version = recorded.version
    notes = (*notes, *_while_away(recorded, asked))
    promoted = by is not None and promotion.approved and version is not None and asked
    if promoted and by is not None and version is not None:
        store.promote(
            label.name,
            version,
            by=by,
            at=clock(),
            evidence={**evidence.document(), **promotion.document()},
        )
    formula_version = None
    if label.formula_model is not None and FORMULA.name in contenders:
        formula_version = _keep_formula(
            store,
            label.formula_model,
            contenders,
            prepared,
            plots,
            code_version=code_version,
            seed=seed,
            by=by or "keepwell train",
            clock=clock,
            waiting=waiting,
        )
    say(f"{label.name}: done", 4, 4)
    return TrainingResult(
        label=prepared.training.label,
        not_estimable=prepared.not_estimable,
        split=prepared.split,
        rows=prepared.counts,
        excluded=prepared.labelled.excluded,
        not_asked=rows_not_asked_about(
            label,
            events,
            prepared.labelled.frame,
            tuple(prepared.labelled.frame["as_of"].unique().sort()),
        ),
        metrics={name: c.metrics for name, c in contenders.items()},
        differences={
            name: _difference(gain_over(best, c.probabilities[horizon], prepared, seed=seed))
            for name, c in contenders.items()
            if name != best.spec.name
        },
        studies=studies,
        best=best.spec,
        long_horizon_metrics=long_horizon_metrics,
        promotion=promotion,
        promoted=promoted,
        version=version,
        run_id=recorded.run_id,
        formula_version=formula_version,
        bundle=bundle,
        notes=notes,
    )


WORTH_CONTRADICTIONS = 0.002
"""Log loss that another model must gain on the renewal model to serve in its place."""

SURE_ENOUGH = 0.8
"""The share of the draws in which it must be better."""


def is_worth_contradictions(ahead: Gain) -> bool:
    """Whether a model is so much better than the renewal model that it serves in its place.

    A curve over days gives risk to contracts that cannot end and takes it from those that can, which
    people see in each single account; a difference of less they see nowhere.
    """
    return ahead.mean > WORTH_CONTRADICTIONS and ahead.confidence >= SURE_ENOUGH


def _difference(found: Gain) -> Interval:
    """A gain as a difference in log loss, where lower is better."""
    return Interval(value=-found.mean, low=-found.high, high=-found.low)


def _runners(prepared: PreparedData) -> tuple[tuple[ModelSpec, ...], tuple[str, ...]]:
    """The specs that have something to read, and a sentence for each that has not."""
    running, notes = [], []
    for spec in SPECS:
        if not is_made_for(spec, prepared.training):
            continue
        reason = why_not(spec, prepared.training, prepared.before_test)
        if reason is None:
            running.append(spec)
        else:
            notes.append(f"The {spec.title} takes no part: {reason}")
    if prepared.has_few_outcomes:
        few = prepared.counts["fitted_accounts_with_outcome"]
        notes.append(
            f"Only {few} distinct accounts left in the training part, fewer than {FEW_ACCOUNTS}: "
            f"only the {' or the '.join(s.title for s in running if s.for_few)} may serve, strongly "
            f"penalised regressions that start from the health formula or the dates of contracts. "
            f"The other models are fitted to compare with."
        )
    return tuple(running), tuple(notes)


def _candidates(specs: tuple[ModelSpec, ...], prepared: PreparedData) -> tuple[ModelSpec, ...]:
    """The specs that may serve: where few accounts have left, only those made for that."""
    candidates = tuple(
        spec for spec in specs if spec.may_serve and (spec.for_few or not prepared.has_few_outcomes)
    )
    if not candidates:
        raise FeatureMatrixError(
            f"None of the {len(prepared.training.names)} features takes two known values in the "
            f"training rows, so there is nothing to tell accounts apart by. Check what is mapped "
            f"(keepwell ingest says which kinds came) and rebuild the snapshots (keepwell "
            f"snapshot); the health formula serves meanwhile."
        )
    return candidates


def _run_contest(
    prepared: PreparedData,
    specs: tuple[ModelSpec, ...],
    studies: Mapping[str, Study],
    growers: Mapping[str, Grower],
    draws: NDArray[np.float64],
    *,
    seed: int,
) -> dict[str, Contender]:
    return {
        spec.name: run_contender(
            spec,
            prepared.training,
            prepared.before_test,
            prepared.test,
            studies[spec.name].parameters if spec.name in studies else spec.parameters,
            draws,
            at=prepared.learned_at,
            seed=seed,
            grower=growers.get(spec.name),
            hidden=prepared.hidden,
        )
        for spec in specs
    }


def _with_dates(prepared: PreparedData) -> PreparedData:
    """The data for a model that counts decisions, which can be judged at more horizons."""
    labels = prepared.long_horizons.with_dates()
    still = {h: r for h, r in prepared.not_estimable.items() if h not in labels.outcomes}
    return replace(prepared, long_horizons=labels, not_estimable=still)


def _judge_long_horizons(
    prepared: PreparedData, contenders: Mapping[str, Contender], best: Contender, *, seed: int
) -> JudgedLongHorizons:
    """The best model, the formula and the base rate at each longer horizon that can be judged."""
    draws = account_draws(prepared.training.account, BOOTSTRAP_DRAWS, np.random.default_rng(seed))
    judged = [
        best,
        *(contenders[name] for name in (FORMULA.name, BASE_RATE.name) if name in contenders),
    ]
    return judge_long_horizons(
        prepared.training,
        prepared.long_horizons,
        best.spec,
        [(c.spec, c.parameters) for c in judged],
        draws,
        seed=seed,
    )


def _keep_formula(
    store: ModelStore,
    name: str,
    contenders: Mapping[str, Contender],
    prepared: PreparedData,
    plots: Mapping[str, bytes],
    *,
    code_version: str,
    seed: int,
    by: str,
    clock: Clock,
    waiting: PendingUploads | None,
) -> int | None:
    """Store the health formula with its calibration, as the fallback of the model."""
    formula, started = contenders[FORMULA.name], clock()
    bundle = release(
        FORMULA,
        prepared,
        formula.parameters,
        code_version=code_version,
        seed=seed,
        metrics=flat_metrics(formula),
    )
    recorded = record_training(
        store,
        name,
        bundle,
        formula,
        contenders,
        prepared,
        {},
        None,
        {"calibration.png": plots["calibration.png"]},
        seed=seed,
        started_at=started,
        ended_at=clock(),
        waiting=waiting,
    )
    if recorded.version is not None:
        store.promote(name, recorded.version, evidence=FORMULA_EVIDENCE, by=by, at=clock())
    return recorded.version


def _while_away(recorded: RecordedRun, asked: bool) -> tuple[str, ...]:
    """The notes of a training during which the store did not answer."""
    notes = []
    if recorded.waits_because is not None:
        notes.append(
            f"{recorded.waits_because} The run is kept as {recorded.run_id}; once the "
            f"store is back: keepwell models upload."
        )
    if not asked:
        notes.append(
            "The champion could not be asked, so this model is not compared with it and "
            "was not promoted."
        )
    return tuple(notes)
