from __future__ import annotations

import numpy as np
import pytest

from registry.bundle.linear import LinearForm, LinearFormError


def plain(**changes):
    given = {
        "intercept": -1.0, "fill": np.array([2.0, 0.0]), "center": np.array([1.0, 0.5]),
        "scale": np.array([2.0, 1.0]), "coefficient": np.array([4.0, -3.0]),
    }  # fmt: skip
    return LinearForm.plain(**{**given, **changes})


def test_a_value_contributes_coefficient_times_its_distance_from_the_mean():
    values = plain().contributions(np.array([[5.0, 1.5]]))
    np.testing.assert_allclose(values, [[4 * (5 - 1) / 2, -3 * (1.5 - 0.5)]], atol=1e-15)
    assert plain().score(np.array([[5.0, 1.5]]))[0] == pytest.approx(-1 + 8 - 3)


def test_the_missing_indicator_belongs_to_its_feature():
    form = plain(missing_coefficient=np.array([0.7, 0.0]), missing_rate=np.array([0.2, 0.0]))
    known, unknown = form.contributions(np.array([[2.0, 0.5], [np.nan, 0.5]]))
    assert unknown[0] - known[0] == pytest.approx(0.7)  # the fill is 2.0
    assert known[0] == pytest.approx(4 * (2 - 1) / 2 - 0.7 * 0.2)
    assert form.base == pytest.approx(-1 + 0.7 * 0.2)


def test_bounds_and_logarithm_apply_before_scaling():
    form = plain(
        signed_log=np.array([1.0, 0.0]), lower=np.array([-1.0, -np.inf]),
        upper=np.array([2.0, 3.0]),
    )  # fmt: skip
    values = form.contributions(np.array([[np.e - 1, 9.0], [-100.0, -9.0], [100.0, np.nan]]))
    expected = [[4 * 0 / 2, -3 * 2.5], [4 * -2 / 2, 3 * 9.5], [4 * 1 / 2, 3 * 0.5]]
    np.testing.assert_allclose(values, expected, atol=1e-14)


def test_it_equals_scikit_learn():
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(400, 4)) * [1, 5, 0.1, 2]
    matrix[rng.random(matrix.shape) < 0.2] = np.nan
    outcome = np.nan_to_num(matrix[:, 0]) + np.isnan(matrix[:, 1]) + rng.normal(size=400) > 0.5
    imputer, scaler = SimpleImputer(strategy="median"), StandardScaler()
    union = make_union(make_pipeline(imputer, scaler), MissingFlags())
    model = LogisticRegression().fit(union.fit_transform(matrix), outcome)
    imputed = union.transformer_list[0][1]
    form = LinearForm.plain(
        intercept=float(model.intercept_[0]), fill=imputed[0].statistics_, center=imputed[1].mean_,
        scale=imputed[1].scale_, coefficient=model.coef_[0, :4],
        missing_coefficient=model.coef_[0, 4:], missing_rate=np.isnan(matrix).mean(axis=0),
    )  # fmt: skip
    theirs = model.decision_function(union.transform(matrix))
    np.testing.assert_allclose(form.score(matrix), theirs, atol=1e-12)
    # The base is the mean training score, as it is for trees.
    assert form.base == pytest.approx(theirs.mean(), abs=1e-12)


class MissingFlags:
    def fit(self, matrix, outcome=None):
        return self

    def transform(self, matrix):
        return np.isnan(matrix).astype(float)

    def fit_transform(self, matrix, outcome=None):
        return self.transform(matrix)


def test_stored_arrays_give_the_same_form(make_linear_form):
    form = make_linear_form()
    again = LinearForm.from_arrays(form.arrays())
    rows = np.random.default_rng(0).normal(size=(20, 5))
    assert (again.score(rows) == form.score(rows)).all()


def test_a_missing_array_is_refused(make_linear_form):
    arrays = make_linear_form().arrays()
    del arrays["scale"]
    with pytest.raises(LinearFormError, match="'scale' is missing"):
        LinearForm.from_arrays(arrays)


def test_two_intercepts_are_refused(make_linear_form):
    with pytest.raises(LinearFormError, match="'intercept' is not one number"):
        LinearForm.from_arrays({**make_linear_form().arrays(), "intercept": np.zeros(2)})


def test_a_matrix_of_another_width_is_refused():
    with pytest.raises(LinearFormError, match=r"reads 2 features and the matrix has shape \(1, 3"):
        plain().score(np.zeros((1, 3)))


DAMAGE = {
    "another length": ({"fill": np.zeros(3)}, r"'fill' is an array of float64 with shape \(3,\)"),
    "whole numbers": ({"fill": np.zeros(2, int)}, "2 float64 numbers are needed"),
    "no number": ({"coefficient": np.array([1.0, np.nan])}, "'coefficient' holds"),
    "infinite": ({"center": np.array([1.0, np.inf])}, "'center' holds"),
    "a bound that is no number": ({"lower": np.array([0.0, np.nan])}, "'lower' holds"),
    "no scale": ({"scale": np.array([1.0, 0.0])}, "not above zero"),
    "crossed bounds": ({"lower": np.ones(2), "upper": np.zeros(2)}, "above its upper bound"),
    "a rate above one": ({"missing_rate": np.array([0.0, 1.1])}, "outside 0 to 1"),
    "a rate below zero": ({"missing_rate": np.array([-0.1, 0.0])}, "outside 0 to 1"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_unusable_numbers_are_refused(case):
    changes, reason = DAMAGE[case]
    with pytest.raises(LinearFormError, match=reason):
        plain(**changes)
