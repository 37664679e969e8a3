"""This module is about fitting one model: a matrix and outcomes in, a raw score out.

The home of LightGBM and of scikit-learn's logistic regression, with ``tune``. A raw score is in
log-odds, before calibration. Same inputs and seed, same model to the bit: one thread on small data
(it is also faster there), LightGBM's deterministic mode, no clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from registry.bundle.linear import LinearForm
from registry.bundle.model_forms import ModelForm, TreeForm
from training.dataset.errors import OneClassError
from training.models._lightgbm_text import trees_in
from training.models.formula_prior import fit_formula_prior
from training.models.linear_design import LinearDesign
from training.models.specs import ModelSpec, Parameters

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

NEAREST_TO_SURE = 1e-15
"""A probability of 0 or 1 counts as this far from it: log-odds of 34.5 to either side."""

CELLS_PER_THREAD = 20_000_000
"""Below so many cells a second thread costs more than it brings."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A fitted model, ready to score; nothing of the rows it was fitted to is kept."""

    form: ModelForm | None  # what is served; None: the constant, which never is
    text: str | None = None  # LightGBM's own, for data scientists
    level: float = 0.0  # mean raw score of the rows it was fitted to

    def score(self, matrix: Matrix) -> Vector:
        """Raw score of each row, in log-odds before calibration; LightGBM's to the last bit."""
        return np.zeros(len(matrix)) if self.form is None else self.form.score_many(matrix)


@dataclass(frozen=True, kw_only=True)
class RowsToFit:
    """What a model is fitted to."""

    matrix: Matrix  # rows × what the spec reads, NaN unknown
    outcome: Vector  # 1 or 0 per row
    names: Sequence[str] = ()  # of the columns
    horizon_days: int | None = None  # from the cutoff to the end of the label window


class FormFitting(Protocol):
    """How one form of model is fitted, and what it reads."""

    reads_features: bool
    """Whether it reads any feature; without one everybody has the same score."""

    reads_health_score: bool
    """Whether a model of every input reads the health score too."""

    is_grown: bool
    """Whether LightGBM grows it, from rows that are binned once for all fits."""

    def fit(self, rows: RowsToFit, parameters: Parameters, *, seed: int) -> Fitted:
        """The fitted model, or OneClassError."""
        ...


class ConstantFitting:
    """The base rate: nothing is fitted."""

    reads_features = reads_health_score = is_grown = False

    def fit(self, rows: RowsToFit, parameters: Parameters, *, seed: int) -> Fitted:
        """The same score for everybody."""
        return Fitted(form=None)


class LogisticFitting:
    """A penalised logistic regression."""

    reads_features = True
    reads_health_score = is_grown = False

    def fit(self, rows: RowsToFit, parameters: Parameters, *, seed: int) -> Fitted:
        """Coefficients by Newton's method; nothing is random."""
        refuse_one_class(rows.outcome)
        return fitted_linear(
            fit_linear(rows.matrix, rows.outcome, strength=parameters["strength"]), rows.matrix
        )


class FormulaPriorFitting:
    """A logistic regression that starts from the health formula."""

    reads_features = reads_health_score = True
    is_grown = False

    def fit(self, rows: RowsToFit, parameters: Parameters, *, seed: int) -> Fitted:
        """Coefficients by Newton's method; nothing is random."""
        refuse_one_class(rows.outcome)
        form = fit_formula_prior(
            rows.matrix,
            rows.outcome,
            parameters,
            names=rows.names,
            horizon_days=rows.horizon_days,
        )
        return fitted_linear(form, rows.matrix)


class TreeFitting:
    """LightGBM."""

    reads_features = is_grown = True
    reads_health_score = False

    def fit(self, rows: RowsToFit, parameters: Parameters, *, seed: int) -> Fitted:
        """Trees grown from rows that are binned for this fit alone."""
        refuse_one_class(rows.outcome)
        return grown(grow(binned(rows.matrix, rows.outcome), parameters, seed=seed))


FITTINGS: Mapping[str, FormFitting] = {
    "trees": TreeFitting(),
    "linear": LogisticFitting(),
    "prior": FormulaPriorFitting(),
    "constant": ConstantFitting(),
}
"""By the form that a spec names."""


def fitting_of(spec: ModelSpec) -> FormFitting:
    """How a spec is fitted."""
    return FITTINGS[spec.form]


def fitted_linear(form: LinearForm, matrix: Matrix) -> Fitted:
    """A linear form with its level on the rows it was fitted to."""
    return Fitted(form=form, level=float(form.score(matrix).mean()))


def fit(
    spec: ModelSpec,
    matrix: Matrix,
    outcome: Vector,
    parameters: Parameters,
    *,
    seed: int,
    names: Sequence[str] = (),
    horizon_days: int | None = None,
) -> Fitted:
    """Fit a spec with these parameters.

    Args:
        spec: what to fit.
        matrix: rows × what the spec reads, NaN unknown.
        outcome: 1 or 0 per row.
        parameters: of the spec, or those that a study found.
        seed: of everything random.
        names: features of the columns, for a spec that treats some of them apart.
        horizon_days: from the cutoff to the end of the label window, for the same.

    Raises:
        OneClassError: the outcome never came, or always.
    """
    rows = RowsToFit(matrix=matrix, outcome=outcome, names=names, horizon_days=horizon_days)
    return fitting_of(spec).fit(rows, parameters, seed=seed)


def refuse_one_class(outcome: Vector) -> None:
    """Raise OneClassError where the outcome never came, or always."""
    if not 0 < outcome.sum() < len(outcome):
        raise OneClassError(
            f"{int(outcome.sum())} of the {len(outcome)} rows to fit have the outcome: there is "
            f"nothing to tell apart. Use more cutoffs or a longer horizon."
        )


def grown(booster: lgb.Booster, level: float | None = None) -> Fitted:
    """Grown trees as they are served, with their level on the rows they were grown from.

    The level is asked of a booster that has its rows yet, as ``grow`` gives it, or said.
    """
    text = str(booster.model_to_string())
    return Fitted(
        form=TreeForm(trees=trees_in(text)),
        text=text,
        level=_level(booster) if level is None else level,
    )


def _level(booster: lgb.Booster) -> float:
    """Mean raw score of the rows it was grown from: LightGBM has them, as probabilities."""

    def mean_of_log_odds(probabilities: Vector, _: lgb.Dataset) -> tuple[str, float, bool]:
        p = np.clip(probabilities, NEAREST_TO_SURE, 1 - NEAREST_TO_SURE)
        return "level", float(np.log(p / (1 - p)).mean()), False

    return next(
        float(said[2]) for said in booster.eval_train(mean_of_log_odds) if said[1] == "level"
    )


def binned(matrix: Matrix, outcome: Vector) -> lgb.Dataset:
    """The rows in LightGBM's bins, ready for any parameters that do not alter binning."""
    return lgb.Dataset(matrix, outcome, params=_fixed(matrix)).construct()


def grow(dataset: lgb.Dataset, parameters: Parameters, *, seed: int) -> lgb.Booster:
    """Grow the trees; the booster holds on to the Dataset, its text does not."""
    # kept, LightGBM does not write and read them once more to set the Dataset free
    return lgb.train(
        settings_of(dataset, parameters, seed=seed),
        dataset,
        num_boost_round=int(parameters["rounds"]),
        keep_training_booster=True,
    )


def growing_scores(
    dataset: lgb.Dataset,
    parameters: Parameters,
    matrix: Matrix,
    rounds: Sequence[int],
    *,
    seed: int,
) -> Iterator[Vector]:
    """Raw scores of other rows after each of these numbers of trees, which rise.

    No tree is grown before its scores are asked for, and each is asked once.
    """
    booster = lgb.Booster(settings_of(dataset, parameters, seed=seed), dataset)
    scores, ended = np.zeros(len(matrix)), False
    for upto in rounds:
        before = booster.num_trees()
        while not ended and booster.current_iteration() < upto:
            ended = booster.update()
        if booster.num_trees() > before:
            scores = scores + booster.predict(
                matrix,
                raw_score=True,
                num_threads=1,
                start_iteration=before,
                num_iteration=upto - before,
            )
        yield scores


def settings_of(dataset: lgb.Dataset, parameters: Parameters, *, seed: int) -> dict[str, Any]:
    """LightGBM's settings for these parameters of a spec."""
    chosen: dict[str, Any] = {name: value for name, value in parameters.items() if name != "rounds"}
    for name in ("num_leaves", "min_data_in_leaf"):
        chosen[name] = int(parameters[name])
    return {**(dataset.params or {}), **chosen, "bagging_freq": 1, "seed": seed}


def raw_scores(booster: lgb.Booster, matrix: Matrix, *, rounds: int | None = None) -> Vector:
    """LightGBM's own raw scores, of the first ``rounds`` trees."""
    scores = booster.predict(matrix, raw_score=True, num_iteration=rounds, num_threads=1)
    return np.asarray(scores, dtype=np.float64)


def _fixed(matrix: Matrix) -> dict[str, Any]:
    threads = 1 if matrix.size < CELLS_PER_THREAD else 2  # of the data, not of the machine
    return {
        "objective": "binary",
        "verbosity": -1,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": threads,
        "feature_pre_filter": False,
    }


def fit_linear(matrix: Matrix, outcome: Vector, *, strength: float) -> LinearForm:
    """A penalised logistic regression on signed logarithms, standardised, unknown imputed.

    Values beyond those of the training rows count as the nearest one that was seen. Where a
    feature is unknown often enough to tell, being unknown has a coefficient of its own.
    """
    design = LinearDesign.of(matrix)
    model = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-8)
    model.fit(design.columns(matrix), outcome)
    return design.form(float(model.intercept_[0]), model.coef_[0])
