from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from registry.bundle import model_forms
from registry.bundle.bundle import ModelBundle
from registry.bundle.linear import sum_by_theme
from registry.bundle.metadata import BundleError, GoldenRows
from registry.bundle.model_forms import FORMS, MANY, form_named


@dataclass(frozen=True, kw_only=True, eq=False)
class StepForm:
    """Scores by the sign of the first feature."""

    kind: ClassVar[str] = "step"

    height: float
    base: float = 0.0
    n_features_read: int = 1

    def fits(self, n_features: int) -> bool:
        return n_features >= 1

    def score(self, matrix):
        return self.contributions(matrix).sum(axis=1)

    score_many = score

    def contributions(self, matrix):
        values = np.zeros_like(matrix)
        values[:, 0] = self.height * np.sign(np.nan_to_num(matrix[:, 0]))
        return values

    def contributions_of_many(self, matrix, raw):
        return self.contributions(matrix)

    def theme_contributions(self, matrix, raw, themes):
        return sum_by_theme(self.contributions(matrix), themes)

    def contributions_within(self, matrix, raw, themes):
        return self.contributions(matrix)

    def arrays(self):
        return {"height": np.array([self.height])}

    @classmethod
    def from_arrays(cls, arrays):
        return cls(height=float(arrays["height"][0]))


def test_a_form_of_ones_own_is_one_class_and_one_line_of_the_table(
    tmp_path, monkeypatch, linear_model
) -> None:
    form, bundle = StepForm(height=0.5), linear_model
    golden = GoldenRows(matrix=bundle.golden.matrix, raw=form.score(bundle.golden.matrix))
    made = replace(bundle, form=form, golden=golden)
    made.save(tmp_path / "bundle")
    with pytest.raises(BundleError, match="'step'"):
        ModelBundle.load(tmp_path / "bundle")
    monkeypatch.setattr(model_forms, "FORMS", (*FORMS, StepForm))
    loaded = ModelBundle.load(tmp_path / "bundle")
    assert isinstance(loaded.form, StepForm)
    assert loaded.fingerprint == made.fingerprint
    rows = golden.matrix[:3]
    points, start = loaded.points(rows, 60)
    np.testing.assert_allclose(points.sum(axis=1) + start, loaded.probability(rows, 60))


@pytest.mark.parametrize("model", ["tree_model", "linear_model"])
def test_the_ways_of_many_rows_are_those_of_one(model, request) -> None:
    bundle = request.getfixturevalue(model)
    rows = np.tile(bundle.golden.matrix, (MANY, 1))
    raw = bundle.form.score(rows)
    np.testing.assert_array_equal(bundle.form.score_many(rows), raw)
    values = bundle.form.contributions(rows)
    np.testing.assert_allclose(values.sum(axis=1) + bundle.form.base, raw, atol=1e-9)
    np.testing.assert_allclose(bundle.form.contributions_of_many(rows, raw), values, atol=1e-6)
    again = type(bundle.form).from_arrays(bundle.form.arrays())
    np.testing.assert_array_equal(again.score(rows), raw)


def test_every_form_has_a_name_of_its_own() -> None:
    assert len({form.kind for form in FORMS}) == len(FORMS)
    assert all(form_named(form.kind) is form for form in FORMS)


@pytest.mark.parametrize("model", ["tree_model", "linear_model"])
def test_themes_of_one_feature_each_are_the_features(model, request) -> None:
    form, rows = (bundle := request.getfixturevalue(model)).form, bundle.golden.matrix
    alone = np.arange(rows.shape[1])
    for matrix in (rows[: MANY - 1], np.tile(rows, (MANY, 1))):
        found = form.theme_contributions(matrix, form.score(matrix), alone)
        np.testing.assert_allclose(found, form.contributions(matrix), atol=1e-6)


@pytest.mark.parametrize("model", ["tree_model", "linear_model"])
def test_features_within_themes_sum_to_what_the_themes_add(model, request) -> None:
    bundle = request.getfixturevalue(model)
    rows = bundle.golden.matrix
    for themes in (np.arange(rows.shape[1]) % 2, np.zeros(rows.shape[1], np.int64)):
        points, start = bundle.points(rows, 60, within=themes)
        whole, begin = bundle.theme_points(rows, 60, themes)
        np.testing.assert_allclose(sum_by_theme(points, themes), whole, atol=1e-6)
        assert start == begin
        np.testing.assert_allclose(
            points.sum(axis=1) + start, bundle.probability(rows, 60), atol=1e-12
        )


@pytest.mark.parametrize("model", ["tree_model", "linear_model"])
def test_what_themes_add_sums_to_the_shown_probability(model, request) -> None:
    bundle = request.getfixturevalue(model)
    rows = np.tile(bundle.golden.matrix, (MANY, 1))
    for themes in (np.arange(rows.shape[1]) % 2, np.zeros(rows.shape[1], np.int64)):
        points, start = bundle.theme_points(rows, 60, themes)
        assert points.shape == (len(rows), int(themes.max()) + 1)
        np.testing.assert_allclose(
            points.sum(axis=1) + start, bundle.probability(rows, 60), atol=1e-9
        )


def test_a_linear_form_adds_nothing_for_a_value_at_its_zero(linear_model) -> None:
    form, row = linear_model.form, linear_model.golden.matrix[:1].copy()
    for column, name in enumerate(linear_model.contract.names):
        row[0, column] = at = linear_model.zero_at(name)
        logged = np.sign(at) * np.log1p(abs(at)) if form.signed_log[column] else at
        if form.lower[column] <= logged <= form.upper[column]:
            assert form.contributions(row)[0, column] == pytest.approx(0, abs=1e-12)


def test_only_a_linear_form_has_values_that_add_nothing(tree_model, linear_model) -> None:
    name = tree_model.contract.names[0]
    assert tree_model.zero_at(name) is None
    assert linear_model.zero_at("of nobody") is None
    flat = replace(linear_model.form, coefficient=np.zeros_like(linear_model.form.coefficient))
    assert flat.zero_at(0) is None


def test_what_is_usual_is_the_median_of_the_training_rows(tree_model) -> None:
    middle = tree_model.reference.values[:, len(tree_model.reference.levels) // 2]
    for name, median in zip(tree_model.contract.names, middle, strict=True):
        assert tree_model.usual.get(name, np.nan) == pytest.approx(median, nan_ok=True)
