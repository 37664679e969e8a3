"""Fit one model: a matrix and outcomes in, a raw score out.

The table ``FITTINGS`` has a class for each form of model. Trees come from ``boosting``. A raw score is in
log-odds, before calibration. Same inputs and seed, same model to the bit; no clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from registry.bundle.linear import LinearForm
from registry.bundle.model_forms import ModelForm, TreeForm
from registry.trees.arrays import TreeArrays
from training.dataset.errors import OneClassError
from training.models.boosting import GrowthRules, RenewalStep, bin_rows, grow_trees
from training.models.formula_prior import fit_formula_prior, penalised_weights
from training.models.linear_design import LinearDesign
from training.models.renewal_risk import calendar_of, fit_renewal_form
from training.models.specs import HEALTH_SCORE, RENEWAL, ModelSpec, Parameters

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

RENEWAL_STRENGTH = 1.0
"""Inverse penalty of the step where a contract outlasts the window."""


@dataclass(frozen=True, kw_only=True)
class FittedModel:
    """A fitted model, ready to score; it does not hold the rows it was fitted to."""

    form: ModelForm | None  # what is served; None: the constant, which never is
    text: str | None = None  # LightGBM's own, for data scientists

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
    outcomes: Matrix | None = None  # rows × horizons, NaN not decided
    horizons: tuple[int, ...] = ()  # days, rising
    rules: GrowthRules | None = None  # of trees


class FormFitting(Protocol):
    """How one form of model is fitted, and what it reads."""

    reads_features: bool
    """Whether it reads any feature; without one everybody has the same score."""

    reads_health_score: bool
    """Whether a model of every input reads the health score too."""

    is_grown: bool
    """Whether LightGBM grows it, from rows that are binned once for all fits."""

    def fit(self, rows: RowsToFit, parameters: Parameters, *, seed: int) -> FittedModel:
        """The fitted model, or OneClassError."""
        ...


class ConstantFitting:
    """The base rate: nothing is fitted."""

    reads_features = reads_health_score = is_grown = False

    def fit(self, rows: RowsToFit, parameters: Parameters, *, seed: int) -> FittedModel:
        """The same score for everybody."""
        return FittedModel(form=None)


class LogisticFitting:
    """A penalised logistic regression."""

    reads_features = True
    reads_health_score = is_grown = False

    def fit(self, rows: RowsToFit, parameters: Parameters, *, seed: int) -> FittedModel:
        """Coefficients by Newton's method; nothing is random."""
        refuse_one_class(rows.outcome)
        return FittedModel(
            form=fit_linear(
                rows.matrix,
                rows.outcome,
                strength=parameters["strength"],
                renewal=rows.names.index(RENEWAL) if RENEWAL in rows.names else None,
                ends=rows.horizon_days,
            )
        )


class FormulaPriorFitting:
    """A logistic regression that starts from the health formula."""

    reads_features = reads_health_score = True
    is_grown = False

    def fit(self, rows: RowsToFit, parameters: Parameters, *, seed: int) -> FittedModel:
        """Coefficients by Newton's method; nothing is random."""
        refuse_one_class(rows.outcome)
        form = fit_formula_prior(
            rows.matrix,
            rows.outcome,
            parameters,
            names=rows.names,
            horizon_days=rows.horizon_days,
        )
        return FittedModel(form=form)


class RenewalFitting:
    """A linear score of what makes accounts leave when their term ends."""

    reads_features = reads_health_score = True
    is_grown = False

    def fit(self, rows: RowsToFit, parameters: Parameters, *, seed: int) -> FittedModel:
        """Coefficients by Newton's method; nothing is random."""
        refuse_one_class(rows.outcome)
        calendar = calendar_of(rows.names)
        assert rows.outcomes is not None, "decisions are counted at every horizon"
        assert calendar is not None, "without dates of renewal it takes no part"
        form = fit_renewal_form(
            rows.matrix,
            rows.outcomes,
            rows.horizons,
            calendar=calendar,
            first=[place for place, name in enumerate(rows.names) if name == HEALTH_SCORE],
            strength=parameters["strength"],
        )
        return FittedModel(form=form)


class TreeFitting:
    """LightGBM."""

    reads_features = is_grown = True
    reads_health_score = False

    def fit(self, rows: RowsToFit, parameters: Parameters, *, seed: int) -> FittedModel:
        """Trees grown from rows that are binned for this fit alone."""
        refuse_one_class(rows.outcome)
        dataset = bin_rows(rows.matrix, rows.outcome, rows.rules)
        step = None if rows.rules is None else rows.rules.step(rows.matrix, rows.outcome)
        if step is not None:
            dataset.set_init_score(step.scores(rows.matrix))
        return fitted_trees(grow_trees(dataset, parameters, seed=seed), step)


FITTINGS: Mapping[str, FormFitting] = {
    "trees": TreeFitting(),
    "linear": LogisticFitting(),
    "prior": FormulaPriorFitting(),
    "renewal": RenewalFitting(),
    "constant": ConstantFitting(),
}
"""The fitting of every form."""


def fitting_of(spec: ModelSpec) -> FormFitting:
    """How a spec is fitted."""
    return FITTINGS[spec.form]


def fit(
    spec: ModelSpec,
    matrix: Matrix,
    outcome: Vector,
    parameters: Parameters,
    *,
    seed: int,
    names: Sequence[str] = (),
    horizon_days: int | None = None,
    outcomes: Matrix | None = None,
    horizons: tuple[int, ...] = (),
    rules: GrowthRules | None = None,
) -> FittedModel:
    """Fit a spec with these parameters.

    Args:
        spec: what to fit.
        matrix: rows × what the spec reads, NaN unknown.
        outcome: 1 or 0 per row.
        parameters: of the spec, or those that a study found.
        seed: of everything random.
        names: features of the columns, for a spec that treats some of them apart.
        horizon_days: from the cutoff to the end of the label window, for the same.
        outcomes: rows × horizons, NaN not decided, for a spec that counts decisions.
        horizons: days, rising, for the same.
        rules: by which trees are grown; None: by none.

    Raises:
        OneClassError: the outcome never came, or always.
    """
    rows = RowsToFit(
        matrix=matrix,
        outcome=outcome,
        names=names,
        horizon_days=horizon_days,
        outcomes=outcomes,
        horizons=horizons,
        rules=rules,
    )
    return fitting_of(spec).fit(rows, parameters, seed=seed)


def refuse_one_class(outcome: Vector) -> None:
    """Raise OneClassError where the outcome never came, or always."""
    if not 0 < outcome.sum() < len(outcome):
        raise OneClassError(
            f"{int(outcome.sum())} of the {len(outcome)} rows to fit have the outcome: there is "
            f"nothing to tell apart. Use more cutoffs or a longer horizon."
        )


def fitted_trees(booster: lgb.Booster, step: RenewalStep | None = None) -> FittedModel:
    """Grown trees as they are served, after the step that they were grown from."""
    dump, text = booster.dump_model(), str(booster.model_to_string())
    if step is not None:
        dump, text = step.added_to(dump), step.added_to_text(text)
    return FittedModel(form=TreeForm(trees=TreeArrays.from_dump(dump)), text=text)


def fit_linear(
    matrix: Matrix,
    outcome: Vector,
    *,
    strength: float,
    renewal: int | None = None,
    ends: int | None = None,
) -> LinearForm:
    """A penalised logistic regression on signed logarithms, standardised, unknown imputed.

    Values beyond those of the training rows count as the nearest one that was seen. Where a
    feature is unknown often enough to tell, being unknown has a coefficient of its own. Where the
    column of the days to the ``renewal`` is given, it is a step where the window ``ends``, which is
    hardly penalised.
    """
    design = LinearDesign.with_step(matrix, renewal, ends)
    columns = design.columns(matrix)
    strengths = np.full(columns.shape[1], strength)
    if renewal is not None and ends is not None:
        strengths[renewal] = RENEWAL_STRENGTH
    weights = penalised_weights(columns, outcome, np.zeros(len(outcome)), strength=strengths)
    return design.form(float(weights[0]), weights[1:])
