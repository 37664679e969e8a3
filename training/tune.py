"""This module is about tuning: which parameters do best on cutoffs they have not seen.

The judge is the log loss of out-of-time scores over time-ordered folds, with the level of every
fold set right first: calibration does that anyway, and a base rate that drifts must not choose the
model. LightGBM's Dataset is binned once for the whole study, without the rows of the test part. A
trial that does worse than the median after a fold is stopped. Defaults stay unless they are
clearly beaten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray

from registry.calibration import sigmoid
from registry.promotion import gain, log_loss_rows
from training.dataset import TrainingSet
from training.fit import binned, grow, raw_scores
from training.race import fit_rows
from training.specs import ModelSpec, Parameters, Range
from training.splits import Fold

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Progress = Callable[[str, int, int], None]

LEAST_CONFIDENCE = 0.8
"""Defaults are beaten when the winner is better in so many bootstrap draws of accounts."""

ROUNDS = (30, 60, 90, 120, 180, 240)
"""Numbers of trees that are judged; one growth gives them all."""

STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
"""Penalties of the logistic regression that are judged."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a study found: the parameters to use and how they compare with the defaults."""

    parameters: Parameters
    loss: float  # of these parameters on the folds
    default_loss: float
    confidence: float  # that the best trial beats the defaults, on the folds
    trials: int
    pruned: int

    @property
    def sentence(self) -> str:
        """What came of the study, as the card says it."""
        if self.trials == 0:
            return "No study was made: these are the declared parameters."
        found = (f"the declared parameters stay: no trial was better than their log loss of "
                 f"{self.default_loss:.4f} on the folds with enough confidence"
                 if self.kept_defaults else
                 f"log loss on the folds {self.loss:.4f}, with the declared parameters "
                 f"{self.default_loss:.4f}; better in {self.confidence:.0%} of the draws")
        return f"A study of {self.trials} trials, {self.pruned} of them stopped early: {found}."

    @property
    def kept_defaults(self) -> bool:
        """Whether no trial was clearly better."""
        return self.loss == self.default_loss


def tune(
    spec: ModelSpec, training: TrainingSet, folds: tuple[Fold, ...], columns: list[int], *,
    trials: int, seed: int, progress: Progress | None = None,
    least_confidence: float = LEAST_CONFIDENCE,
) -> Study:
    """Choose parameters on the folds; with no trials, or one fit only, the defaults."""
    if spec.form == "trees":
        return _tune_trees(spec, training, folds, columns, trials=trials, seed=seed,
                           progress=progress, least_confidence=least_confidence)
    candidates = STRENGTHS if spec.reads is None and trials > 0 else ()
    return _tune_strength(spec, training, folds, columns, candidates, seed=seed,
                          least_confidence=least_confidence)


def levelled_rows(f: Vector, outcome: Vector) -> Vector:
    """Log loss per row once the level of the scores fits; their spread is the model's own.

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

    def loss_rows(self, scores: list[Vector]) -> Vector:
        """Loss per row of the folds that were scored."""
        return np.concatenate([levelled_rows(f, outcome)
                               for f, outcome in zip(scores, self.outcomes, strict=False)])


def _tune_trees(
    spec: ModelSpec, training: TrainingSet, folds: tuple[Fold, ...], columns: list[int], *,
    trials: int, seed: int, progress: Progress | None, least_confidence: float,
) -> Study:
    held_out = _HeldOut(training, folds)
    seen = np.zeros(len(training.outcome), dtype=np.bool_)
    for fold, mask in zip(folds, held_out.masks, strict=True):
        seen |= training.rows_at(fold.train) | mask
    place = np.cumsum(seen) - 1
    matrix = training.matrix[:, columns]
    dataset = binned(matrix[seen], training.outcome[seen])
    parts = [dataset.subset(place[training.rows_at(fold.train)].tolist()).construct()
             for fold in folds]
    rows_of: dict[int, Vector] = {}

    def objective(trial: optuna.Trial) -> float:
        tried = {name: _suggest(trial, name, r) for name, r in spec.space.items()}
        scores: dict[int, list[Vector]] = {rounds: [] for rounds in ROUNDS}
        for number, (part, mask) in enumerate(zip(parts, held_out.masks, strict=True)):
            booster = grow(part, {**spec.parameters, **tried, "rounds": ROUNDS[-1]}, seed=seed)
            for rounds in ROUNDS:
                scores[rounds].append(raw_scores(booster, matrix[mask], rounds=rounds))
            losses = {rounds: held_out.loss_rows(scores[rounds]) for rounds in ROUNDS}
            best = min(ROUNDS, key=lambda rounds: float(losses[rounds].mean()))
            trial.report(float(losses[best].mean()), number)
            if trial.should_prune():
                raise optuna.TrialPruned
        trial.set_user_attr("rounds", best)
        rows_of[trial.number] = losses[best]
        return float(losses[best].mean())

    def tell(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if progress is not None:
            progress(f"{training.label.name}: tuning", trial.number + 1, trials)

    default_rows = held_out.loss_rows([
        raw_scores(grow(part, spec.parameters, seed=seed), matrix[mask])
        for part, mask in zip(parts, held_out.masks, strict=True)])
    default_loss = float(default_rows.mean())
    if trials <= 0:
        return Study(parameters=spec.parameters, loss=default_loss, default_loss=default_loss,
                     confidence=0.0, trials=0, pruned=0)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(4, trials // 2)),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=0),
    )
    study.enqueue_trial({name: spec.parameters[name] for name in spec.space})
    study.optimize(objective, n_trials=trials, callbacks=[tell])
    best = study.best_trial
    found = {**spec.parameters, **best.params, "rounds": best.user_attrs["rounds"]}
    return _settle(spec, found, rows_of[best.number], default_rows, held_out.accounts, seed=seed,
                   least_confidence=least_confidence, trials=len(study.trials),
                   pruned=len(study.get_trials(states=[optuna.trial.TrialState.PRUNED])))


def _tune_strength(
    spec: ModelSpec, training: TrainingSet, folds: tuple[Fold, ...], columns: list[int],
    candidates: tuple[float, ...], *, seed: int, least_confidence: float,
) -> Study:
    held_out = _HeldOut(training, folds)
    matrix = training.matrix[:, columns]

    def rows(strength: float) -> Vector:
        scores = []
        for fold, mask in zip(folds, held_out.masks, strict=True):
            fitted = fit_rows(spec, training, training.rows_at(fold.train), columns,
                              {**spec.parameters, "strength": strength}, seed=seed)
            scores.append(fitted.score(matrix[mask]))
        return held_out.loss_rows(scores)

    default_rows = rows(spec.parameters["strength"])
    default_loss = float(default_rows.mean())
    tried = {strength: rows(strength) for strength in candidates
             if strength != spec.parameters["strength"]}
    if not tried:
        return Study(parameters=spec.parameters, loss=default_loss, default_loss=default_loss,
                     confidence=0.0, trials=0, pruned=0)
    best = min(tried, key=lambda strength: float(tried[strength].mean()))
    found = {**spec.parameters, "strength": best}
    return _settle(spec, found, tried[best], default_rows, held_out.accounts,
                   seed=seed, least_confidence=least_confidence, trials=len(tried) + 1, pruned=0)


def _settle(
    spec: ModelSpec, found: Mapping[str, float], rows: Vector, default_rows: Vector,
    accounts: NDArray[np.int64], *, seed: int, least_confidence: float, trials: int, pruned: int,
) -> Study:
    """The found parameters if they are clearly better than the defaults, else the defaults."""
    better = gain(rows, default_rows, accounts, np.random.default_rng(seed), draws=500)
    wins = better.mean > 0 and better.confidence >= least_confidence
    default_loss = float(default_rows.mean())
    return Study(
        parameters=found if wins else spec.parameters,
        loss=float(rows.mean()) if wins else default_loss, default_loss=default_loss,
        confidence=better.confidence, trials=trials, pruned=pruned,
    )


def _suggest(trial: optuna.Trial, name: str, wanted: Range) -> float:
    if wanted.whole:
        return trial.suggest_int(name, int(wanted.low), int(wanted.high), log=wanted.log)
    return trial.suggest_float(name, wanted.low, wanted.high, log=wanted.log)
