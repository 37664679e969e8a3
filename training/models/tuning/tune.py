"""Tune parameters on cutoffs that they have not seen.

::

    folds     1 ─► 2 ─► 3           the study: its trials are judged, pruned and chosen here
                          ─► 4      the newest fold confirms: the chosen one against the defaults

The criterion is the log loss of out-of-time scores over time-ordered folds, with the level of every
fold corrected first: calibration does that anyway, and a base rate that drifts must not choose the
model. LightGBM's Dataset is binned once for the whole study, without the rows of the test part. A
trial that does worse than the median of the others after as many folds and trees is stopped there,
and its next trees are never grown. Defaults stay unless the chosen
parameters are clearly better on the newest fold, which chose nothing. A study that was killed goes
on with its finished trials, with the same result.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import lightgbm as lgb
import numpy as np
import optuna
from numpy.typing import NDArray

from registry.bundle.calibration import sigmoid
from registry.promotion.promotion import gain, log_loss_rows
from training.dataset.splits import Fold
from training.dataset.training_set import TrainingSet
from training.models.binned_rows import BinnedRows, Grower
from training.models.boosting import staged_scores
from training.models.fit import fitting_of
from training.models.fitting.fit_rows import fit_rows
from training.models.specs import ModelSpec, Parameters, Range
from training.models.tuning._study_journal import FinishedTrial, StudyJournal
from training.models.tuning.study import Study
from training.progress import Progress

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

LEAST_CONFIDENCE = 0.95
"""Parameters replace the defaults if they are better in this share of draws on the newest fold."""

ROUNDS = (30, 60, 90, 120, 180, 240)
"""Numbers of trees that are judged; one growth gives them all."""

LEAST_OTHERS = 3
"""No trial is stopped before this many others have come as far."""

STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
"""Penalties of the logistic regression that are judged."""


def tune(
    spec: ModelSpec,
    training: TrainingSet,
    folds: tuple[Fold, ...],
    columns: list[int],
    *,
    trials: int,
    seed: int,
    progress: Progress | None = None,
    least_confidence: float = LEAST_CONFIDENCE,
    seconds: float | None = None,
    journals: Path | None = None,
    grower: Grower | None = None,
) -> Study:
    """Choose parameters on the folds; with no trials, or one fold only, the defaults.

    Args:
        spec: what is tuned.
        training: the rows; those of the test are not in the folds.
        folds: in time order; the newest confirms.
        columns: positions of what the spec reads.
        trials: the largest number.
        seed: of everything random.
        progress: called with the step, how far it is and how far it goes.
        least_confidence: that the chosen parameters have to reach over the defaults.
        seconds: no trial begins later than this; None: only trials are counted, which is what
            makes two trainings equal byte for byte.
        journals: a folder in which a study that is killed leaves its trials, to go on.
        grower: of the rows before the test; where it has binned them, they are not binned again.
    """
    if len(folds) < 2 or trials <= 0:
        return _untuned(spec)
    if fitting_of(spec).is_grown:
        return _tune_trees(
            spec,
            training,
            folds,
            columns,
            trials=trials,
            seed=seed,
            progress=progress,
            least_confidence=least_confidence,
            seconds=seconds,
            grower=grower,
            journal=_journal(journals, spec, training, folds, columns, seed=seed),
        )
    candidates = STRENGTHS if spec.reads is None else ()
    return _tune_strength(
        spec, training, folds, columns, candidates, seed=seed, least_confidence=least_confidence
    )


def levelled_rows(f: Vector, outcome: Vector) -> Vector:
    """Log loss per row after the level of the scores is corrected, but not their spread.

    The level at which probabilities sum to the outcomes, by Newton's method kept in a bracket.
    """
    rate = (outcome.sum() + 0.5) / (len(outcome) + 1)
    wanted = rate * len(outcome)
    odds = float(np.log(rate / (1 - rate)))
    low, high = odds - float(f.max()), odds - float(f.min())
    level = odds - float(f.mean())
    for _ in range(100):
        p = sigmoid(level + f)
        short = float(wanted - p.sum())
        low, high = (level, high) if short > 0 else (low, level)
        slope = float((p * (1 - p)).sum())
        step = short / slope if slope > 0 else np.inf
        if abs(step) < 1e-9:
            break
        level = level + step if low < level + step < high else (low + high) / 2
    return log_loss_rows(outcome, sigmoid(level + f))


class _HeldOut:
    """Scores of the held-out rows, fold by fold, and their pooled loss."""

    def __init__(self, training: TrainingSet, folds: tuple[Fold, ...]) -> None:
        self.masks = [training.rows_at(fold.held_out) for fold in folds]
        self.outcomes = [training.outcome[mask] for mask in self.masks]
        self.accounts = np.concatenate([training.account[mask] for mask in self.masks])
        fold = np.repeat(np.arange(len(folds)), [int(mask.sum()) for mask in self.masks])
        self.chose = fold < len(folds) - 1  # rows of the folds that choose; the newest confirms

    def loss_rows(self, scores: list[Vector]) -> Vector:
        """Loss per row of the folds that were scored."""
        return np.concatenate(
            [levelled_rows(f, outcome) for f, outcome in zip(scores, self.outcomes, strict=False)]
        )


def _tune_trees(
    spec: ModelSpec,
    training: TrainingSet,
    folds: tuple[Fold, ...],
    columns: list[int],
    *,
    trials: int,
    seed: int,
    progress: Progress | None,
    least_confidence: float,
    seconds: float | None,
    journal: StudyJournal | None,
    grower: Grower | None,
) -> Study:
    held_out = _HeldOut(training, folds)
    bins = grower
    if not isinstance(bins, BinnedRows):
        bins = BinnedRows.of(
            training,
            training.rows_at(tuple(at for fold in folds for at in (*fold.train, *fold.held_out))),
            columns,
        )
    parts = [bins.part(training.rows_at(fold.train)) for fold in folds]
    matrix = training.matrix[:, columns]

    def rows(parameters: Parameters) -> Vector:
        rounds = (int(parameters["rounds"]),)
        return held_out.loss_rows(
            [
                next(staged_scores(part, parameters, matrix[mask], rounds, seed=seed, step=step))
                for (part, step), mask in zip(parts, held_out.masks, strict=True)
            ]
        )

    def objective(trial: optuna.Trial) -> float:
        tried = {name: _suggest(trial, name, r) for name, r in spec.space.items()}
        found: dict[int, list[Vector]] = {rounds: [] for rounds in ROUNDS}
        losses: dict[int, float] = {}
        for number, mask in enumerate(held_out.masks[:-1]):
            part, step = parts[number]
            growth = staged_scores(
                part, {**spec.parameters, **tried}, matrix[mask], ROUNDS, seed=seed, step=step
            )
            for place, (rounds, scores) in enumerate(zip(ROUNDS, growth, strict=True)):
                found[rounds].append(scores)
                losses[rounds] = float(held_out.loss_rows(found[rounds]).mean())
                trial.report(losses[rounds], number * len(ROUNDS) + place)
                if trial.should_prune():
                    raise optuna.TrialPruned
        best = min(ROUNDS, key=losses.__getitem__)
        trial.set_user_attr("rounds", best)
        return losses[best]

    study, resumed = _study(spec, trials, seed, journal)

    def after(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if journal is not None:
            journal.add(
                FinishedTrial(
                    parameters=trial.params,
                    loss=float(trial.value or np.nan),
                    by_fold=tuple(trial.intermediate_values.values()),
                    rounds=trial.user_attrs.get("rounds"),
                )
            )
        study.sampler = _sampler(trials, seed, len(study.trials))
        if progress is not None:
            progress(f"{training.label.name}: tuning", len(study.trials), trials)

    study.optimize(objective, n_trials=max(0, trials - resumed), timeout=seconds, callbacks=[after])
    if journal is not None:
        journal.close()
    if not study.get_trials(states=[optuna.trial.TrialState.COMPLETE]):
        return _untuned(spec)
    best = study.best_trial
    found = {**spec.parameters, **best.params, "rounds": best.user_attrs["rounds"]}
    return _settle(
        spec,
        found,
        rows(found),
        rows(spec.parameters),
        held_out,
        seed=seed,
        least_confidence=least_confidence,
        trials=len(study.trials),
        resumed=resumed,
        pruned=len(study.get_trials(states=[optuna.trial.TrialState.PRUNED])),
    )


def _untuned(spec: ModelSpec) -> Study:
    return Study(
        parameters=spec.parameters,
        loss=np.nan,
        default_loss=np.nan,
        confirmed=None,
        kept_defaults=True,
        trials=0,
        pruned=0,
    )


def _study(
    spec: ModelSpec, trials: int, seed: int, journal: StudyJournal | None
) -> tuple[optuna.Study, int]:
    """A study with the trials that an earlier process finished, and their number."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=_sampler(trials, seed, 0), pruner=_WorseThanMost())
    ranges = {name: _distribution(r) for name, r in spec.space.items()}
    before = () if journal is None else journal.finished()[:trials]
    for one in before:
        stopped = one.rounds is None
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.PRUNED
                if stopped
                else optuna.trial.TrialState.COMPLETE,
                value=None if stopped else one.loss,
                params=dict(one.parameters),
                distributions=ranges,
                intermediate_values=dict(enumerate(one.by_fold)),
                user_attrs={} if stopped else {"rounds": one.rounds},
            )
        )
    study.sampler = _sampler(trials, seed, len(before))
    if not before:
        study.enqueue_trial({name: spec.parameters[name] for name in spec.space})
    return study, len(before)


class _WorseThanMost(optuna.pruners.BasePruner):
    """Stops a trial whose loss is above the median of the others after as many folds and trees.

    Optuna's own takes the best of a trial's losses so far, and folds are not equally hard.
    """

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        step = trial.last_step
        if step is None:
            return False
        there = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number and step in other.intermediate_values
        ]
        return len(there) >= LEAST_OTHERS and trial.intermediate_values[step] > float(
            np.median(there)
        )


def _sampler(trials: int, seed: int, number: int) -> optuna.samplers.TPESampler:
    """The sampler of one trial: by its number, so that a study that goes on draws the same."""
    return optuna.samplers.TPESampler(
        seed=seed * 100_003 + number, n_startup_trials=max(4, trials // 2)
    )


def _journal(
    folder: Path | None,
    spec: ModelSpec,
    training: TrainingSet,
    folds: tuple[Fold, ...],
    columns: list[int],
    *,
    seed: int,
) -> StudyJournal | None:
    if folder is None:
        return None
    key = "|".join(
        map(
            str,
            (
                training.fingerprint,
                spec,
                columns,
                folds,
                seed,
                ROUNDS,
                LEAST_OTHERS,
                lgb.__version__,
                optuna.__version__,
            ),
        )
    )
    return StudyJournal(
        path=folder / f"{training.label.name}-{spec.name}.jsonl",
        key=hashlib.sha256(key.encode()).hexdigest(),
    )


def _tune_strength(
    spec: ModelSpec,
    training: TrainingSet,
    folds: tuple[Fold, ...],
    columns: list[int],
    candidates: tuple[float, ...],
    *,
    seed: int,
    least_confidence: float,
) -> Study:
    held_out = _HeldOut(training, folds)
    matrix = training.matrix[:, columns]

    def rows(strength: float) -> Vector:
        scores = []
        for fold, mask in zip(folds, held_out.masks, strict=True):
            fitted = fit_rows(
                spec,
                training,
                training.rows_at(fold.train),
                columns,
                {**spec.parameters, "strength": strength},
                seed=seed,
            )
            scores.append(fitted.score(matrix[mask]))
        return held_out.loss_rows(scores)

    default_rows = rows(spec.parameters["strength"])
    tried = {
        strength: rows(strength)
        for strength in candidates
        if strength != spec.parameters["strength"]
    }
    chose = held_out.chose
    if not tried:
        return _untuned(spec)
    best = min(tried, key=lambda strength: float(tried[strength][chose].mean()))
    return _settle(
        spec,
        {**spec.parameters, "strength": best},
        tried[best],
        default_rows,
        held_out,
        seed=seed,
        least_confidence=least_confidence,
        trials=len(tried) + 1,
        pruned=0,
    )


def _settle(
    spec: ModelSpec,
    found: Parameters,
    rows: Vector,
    default_rows: Vector,
    held_out: _HeldOut,
    *,
    seed: int,
    least_confidence: float,
    trials: int,
    pruned: int,
    resumed: int = 0,
) -> Study:
    """The found parameters if they are clearly better than the defaults where they were not chosen.

    Better on the folds that chose them as well, or there was nothing to choose.
    """
    chose = held_out.chose
    loss, default_loss = float(rows[chose].mean()), float(default_rows[chose].mean())
    confirmed = None
    if loss < default_loss:
        confirmed = gain(
            rows[~chose],
            default_rows[~chose],
            held_out.accounts[~chose],
            np.random.default_rng(seed),
            draws=500,
        )
    wins = confirmed is not None and confirmed.mean > 0 and confirmed.confidence >= least_confidence
    return Study(
        parameters=found if wins else spec.parameters,
        loss=loss if wins else default_loss,
        default_loss=default_loss,
        confirmed=confirmed,
        kept_defaults=not wins,
        trials=trials,
        pruned=pruned,
        resumed=resumed,
    )


def _distribution(wanted: Range) -> optuna.distributions.BaseDistribution:
    if wanted.whole:
        return optuna.distributions.IntDistribution(
            int(wanted.low), int(wanted.high), log=wanted.log
        )
    return optuna.distributions.FloatDistribution(wanted.low, wanted.high, log=wanted.log)


def _suggest(trial: optuna.Trial, name: str, wanted: Range) -> float:
    if wanted.whole:
        return trial.suggest_int(name, int(wanted.low), int(wanted.high), log=wanted.log)
    return trial.suggest_float(name, wanted.low, wanted.high, log=wanted.log)
