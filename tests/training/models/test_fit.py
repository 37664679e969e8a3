from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from training.dataset.errors import OneClassError
from training.models.boosting import bin_rows, grow_trees, raw_scores, staged_scores
from training.models.fit import fit, fit_linear
from training.models.specs import BASE_RATE, LIGHTGBM, LOGISTIC, RENEWAL, SPECS, TERM

every_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


def rows(seed: int = 0, n: int = 600, width: int = 6):
    rng = np.random.default_rng(seed)
    matrix = rng.gamma(1, 10, (n, width)) * rng.choice([-1, 1], (n, width), p=[0.1, 0.9])
    p = 1 / (1 + np.exp(2 - 0.05 * matrix[:, 0] + 0.03 * matrix[:, 1]))
    matrix[rng.random((n, width)) < 0.2] = np.nan
    return matrix, (rng.random(n) < p).astype(float)


def width_of(spec) -> int:
    return 1 if spec.reads is not None else 6


HORIZONS = (30, 60, 90)


def fitted_to(spec, matrix, outcome, *, seed: int = 0):
    """A spec fitted to rows; the first two columns are the date and the term of contracts."""
    days = np.arange(len(matrix)) % 90
    dated = np.column_stack((days, np.full(len(matrix), 12.0), matrix))
    outcomes = outcome[:, None] * (days[:, None] < np.array(HORIZONS))
    own = matrix if spec.form != "renewal" else dated
    names = [f"f{j}" for j in range(own.shape[1])]
    if spec.form == "renewal":
        names[:2] = RENEWAL, TERM
    model = fit(
        spec, own, outcome, spec.parameters, seed=seed, names=names, outcomes=outcomes,
        horizons=HORIZONS,
    )  # fmt: skip
    return model, own


@every_spec
def test_the_same_rows_and_seed_give_the_same_scores(spec) -> None:
    matrix, outcome = rows(width=max(2, width_of(spec)))
    one, two = (fitted_to(spec, matrix, outcome, seed=3) for _ in range(2))
    assert np.array_equal(one[0].score(one[1]), two[0].score(two[1]))


@every_spec
def test_what_is_served_scores_like_the_library_that_fitted(spec) -> None:
    matrix, outcome = rows()
    fitted, matrix = fitted_to(spec, matrix, outcome)
    if fitted.text is not None:
        theirs = raw_scores(lgb.Booster(model_str=fitted.text), matrix)
        np.testing.assert_allclose(fitted.score(matrix), theirs, rtol=0, atol=1e-12)
    if fitted.form is not None:
        assert fitted.form.score(matrix) == pytest.approx(fitted.score(matrix), abs=1e-9)
    assert np.isfinite(fitted.score(matrix)).all()


@every_spec
def test_rows_of_nothing_known_have_a_score(spec) -> None:
    matrix, outcome = rows()
    fitted, matrix = fitted_to(spec, matrix, outcome)
    assert np.isfinite(fitted.score(np.full((3, matrix.shape[1]), np.nan))).all()


@pytest.mark.parametrize("spec", [s for s in SPECS if s is not BASE_RATE], ids=lambda s: s.name)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_one_class_is_refused(spec, value) -> None:
    matrix, _ = rows()
    with pytest.raises(OneClassError, match="nothing to tell apart"):
        fitted_to(spec, matrix, np.full(len(matrix), value))


def test_the_linear_form_is_scikit_learns_regression_on_the_same_columns() -> None:
    matrix, outcome = rows()
    form = fit_linear(matrix, outcome, strength=0.05)
    unknown = np.isnan(matrix)
    filled = np.where(unknown, np.nanmedian(matrix, axis=0), matrix)
    logged = np.sign(filled) * np.log1p(np.abs(filled))
    standard = (logged - logged.mean(axis=0)) / logged.std(axis=0)
    flags = (unknown - unknown.mean(axis=0)) / unknown.std(axis=0)
    design = np.hstack((standard, flags))
    model = LogisticRegression(C=0.05, solver="newton-cholesky", tol=1e-8).fit(design, outcome)
    assert form.score(matrix) == pytest.approx(model.decision_function(design), abs=1e-6)


def test_values_beyond_the_training_rows_count_as_the_nearest_seen() -> None:
    matrix, outcome = rows()
    form = fit_linear(matrix, outcome, strength=0.05)
    highest = np.nanmax(matrix, axis=0)
    assert form.score(highest[None, :] * 1000) == pytest.approx(form.score(highest[None, :]))


def test_a_column_that_does_not_vary_has_no_weight() -> None:
    matrix, outcome = rows()
    matrix[:, 2], matrix[:, 3] = 7.0, np.nan
    form = fit_linear(matrix, outcome, strength=0.05)
    assert form.coefficient[2] == 0
    assert form.coefficient[3] == 0
    assert form.missing_coefficient[3] == 0


def test_the_first_trees_are_those_of_a_shorter_growth() -> None:
    matrix, outcome = rows()
    dataset = bin_rows(matrix, outcome)
    long = grow_trees(dataset, {**LIGHTGBM.parameters, "rounds": 60}, seed=1)
    short = grow_trees(dataset, {**LIGHTGBM.parameters, "rounds": 20}, seed=1)
    assert np.array_equal(raw_scores(long, matrix, rounds=20), raw_scores(short, matrix))


@pytest.mark.parametrize("least", [5, 290])
def test_scores_after_each_number_of_trees_are_those_of_so_many(least: int) -> None:
    """With 290 rows in a leaf growth ends at once, before the last number asked for."""
    matrix, outcome = rows()
    parameters = {**LIGHTGBM.parameters, "min_data_in_leaf": least, "rounds": 20}
    dataset = bin_rows(matrix, outcome)
    booster = grow_trees(dataset, parameters, seed=0)
    counts = (3, 4, 12, 20)
    growth = staged_scores(dataset, parameters, matrix, counts, seed=0)
    for n, scores in zip(counts, growth, strict=True):
        assert scores == pytest.approx(raw_scores(booster, matrix, rounds=n), abs=1e-12)


def test_a_stronger_penalty_believes_less() -> None:
    matrix, outcome = rows()
    weak, strong = (
        fit(LOGISTIC, matrix, outcome, {"strength": s}, seed=0).score(matrix).std()
        for s in (1.0, 0.001)
    )
    assert strong < 0.5 * weak
