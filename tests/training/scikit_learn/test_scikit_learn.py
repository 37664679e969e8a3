"""scikit-learn's own tools work on our rows, splits and contenders."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

from training.dataset.splits import SplitError
from training.scikit_learn import ContenderClassifier, LaterCutoffs


def checks() -> list[object]:
    """Each check of each contender; those of other array libraries run only where SciPy is told to."""
    return [
        pytest.param(estimator, check, id=f"{estimator.contender}-{check.func.__name__}-{number}")
        for contender in ("logistic", "lightgbm")
        for number, (estimator, check) in enumerate(
            estimator_checks_generator(ContenderClassifier(contender))
        )
        if "array_api" not in check.func.__name__
    ]


@pytest.mark.parametrize(("estimator", "check"), checks())
def test_the_checks_of_scikit_learn(estimator, check) -> None:
    check(estimator)


def months(count: int, rows: int) -> np.ndarray:
    first = np.datetime64("2025-01-01")
    return np.repeat([first + np.timedelta64(30 * n, "D") for n in range(count)], rows)


def test_a_row_is_scored_by_rows_whose_windows_had_closed() -> None:
    times = months(12, 5)
    splits = list(LaterCutoffs(times, reach_days=90).split(np.zeros((60, 1))))
    assert len(splits) == LaterCutoffs(times, reach_days=90).get_n_splits() == 3
    scored = np.concatenate([held_out for _, held_out in splits])
    assert sorted(scored) == list(range(30, 60))
    for train, held_out in splits:
        gap = times[held_out].min() - times[train].max()
        assert gap >= timedelta(days=90)


def test_rows_that_are_others_and_windows_that_do_not_close_are_refused() -> None:
    with pytest.raises(SplitError, match="Give the times of these rows"):
        next(LaterCutoffs(months(4, 2), reach_days=30).split(np.zeros((3, 1))))
    with pytest.raises(SplitError, match="closes before a later cutoff"):
        next(LaterCutoffs(months(2, 2), reach_days=365).split(np.zeros((4, 1))))


def test_search_and_scores_work_with_a_pipeline() -> None:
    rng, times = np.random.default_rng(1), months(8, 60)
    X = rng.normal(size=(480, 3))
    X[rng.random(X.shape) < 0.1] = np.nan
    y = (np.nan_to_num(X[:, 0]) + rng.normal(size=480) > 0).astype(int)
    cv = LaterCutoffs(times, reach_days=30)
    ours = cross_val_score(ContenderClassifier("logistic"), X, y, cv=cv, scoring="roc_auc")
    theirs = cross_val_score(
        LogisticRegression(C=1.0), np.nan_to_num(X), y, cv=cv, scoring="roc_auc"
    )
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.02)
    search = GridSearchCV(
        make_pipeline(ContenderClassifier()),
        {"contenderclassifier__contender": ["logistic", "lightgbm"]},
        cv=cv,
        scoring="neg_log_loss",
    ).fit(X, y)
    assert search.best_score_ > -0.69
