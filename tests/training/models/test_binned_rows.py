from __future__ import annotations

from dataclasses import replace

import lightgbm as lgb
import numpy as np
import pytest

from training.dataset.errors import OneClassError
from training.models.binned_rows import BinnedRows, rules_of
from training.models.boosting import grow_trees, raw_scores
from training.models.fit import fit
from training.models.fitting.fit_rows import fit_rows, usable_columns
from training.models.model_selection import run_contender
from training.models.specs import LIGHTGBM


@pytest.fixture(scope="module")
def columns(prepared):
    return usable_columns(prepared.training, prepared.before_test, LIGHTGBM)


def changed(prepared, rows, *, matrix=None, outcomes=None):
    """The training set with other content in these rows."""
    training, parts = prepared.training, {}
    for name, value in (("matrix", matrix), ("outcomes", outcomes)):
        if value is not None:
            parts[name] = getattr(training, name).copy()
            parts[name][rows] = value
    return replace(training, **parts)


def older(prepared):
    """The rows of the older half of the cutoffs before the test."""
    cutoffs = prepared.split.before_test
    return prepared.training.rows_at(cutoffs[: len(cutoffs) // 2])


def test_a_fit_to_all_binned_rows_is_the_fit_to_these_rows(prepared, columns) -> None:
    training, rows = prepared.training, prepared.before_test
    ours = BinnedRows.of(training, rows, columns).fitted(rows, LIGHTGBM.parameters, seed=1)
    plain = fit(
        LIGHTGBM,
        np.ascontiguousarray(training.matrix[rows][:, columns]),
        training.outcome[rows],
        LIGHTGBM.parameters,
        seed=1,
        rules=rules_of(training, columns),
    )
    assert ours.text == plain.text


def test_a_part_in_the_bins_of_all_is_a_fit_to_its_own_rows(prepared, columns) -> None:
    training, part = prepared.training, older(prepared)
    bins = BinnedRows.of(training, prepared.before_test, columns)
    fitted = bins.fitted(part, LIGHTGBM.parameters, seed=1)
    matrix = np.ascontiguousarray(training.matrix[part][:, columns])
    alone = lgb.Dataset(
        matrix, training.outcome[part], reference=bins.dataset, params=bins.dataset.params
    )
    grown = grow_trees(alone.construct(), LIGHTGBM.parameters, seed=1)
    theirs = raw_scores(grown, matrix)
    # other bins move a score by 1e-3 and more; the same ones only by the order of additions
    np.testing.assert_allclose(fitted.score(matrix), theirs, rtol=0, atol=1e-12)


def test_outcomes_of_rows_outside_a_part_change_nothing(prepared, columns) -> None:
    part = older(prepared)
    others = prepared.before_test & ~part
    one, other = (
        BinnedRows.of(training, prepared.before_test, columns).fitted(
            part, LIGHTGBM.parameters, seed=1
        )
        for training in (
            prepared.training,
            changed(prepared, others, outcomes=1 - prepared.training.outcomes[others]),
        )
    )
    assert one.text == other.text


def test_no_row_of_the_test_is_in_the_bins_of_a_contender(prepared) -> None:
    spoiled = changed(
        prepared, prepared.test, matrix=1e12, outcomes=1 - prepared.training.outcomes[prepared.test]
    )
    draws = np.ones((2, len(prepared.training.accounts)))
    one, other = (
        run_contender(
            LIGHTGBM,
            training,
            prepared.before_test,
            prepared.test,
            LIGHTGBM.parameters,
            draws,
            at=prepared.split.test[0],
            seed=1,
        )
        for training in (prepared.training, spoiled)
    )
    assert one.fitted.text == other.fitted.text


def test_trees_are_grown_where_the_grower_says_and_nothing_else_is(prepared, columns) -> None:
    training, rows = prepared.training, older(prepared)
    bins = BinnedRows.of(training, prepared.before_test, columns)
    fitted = fit_rows(LIGHTGBM, training, rows, columns, LIGHTGBM.parameters, seed=1, grower=bins)
    assert fitted.text == bins.fitted(rows, LIGHTGBM.parameters, seed=1).text


def test_a_part_of_one_class_is_refused(prepared, columns) -> None:
    bins = BinnedRows.of(prepared.training, prepared.before_test, columns)
    stayed = prepared.before_test & (prepared.training.outcome == 0)
    with pytest.raises(OneClassError, match="nothing to tell apart"):
        bins.fitted(stayed, LIGHTGBM.parameters, seed=1)


def test_rows_that_were_not_binned_are_no_part(prepared, columns) -> None:
    bins = BinnedRows.of(prepared.training, older(prepared), columns)
    with pytest.raises(AssertionError, match="every row of a part is among the binned"):
        bins.part(prepared.before_test)
