from __future__ import annotations

import pytest

from features.catalogue.catalogue import FEATURES, HEALTH_SCORE
from training.models import specs
from training.models.fit import fitting_of
from training.models.specs import SPECS

# LightGBM builds its bins anew when one of these changes, so a study must not.
ALTERS_BINNING = {
    "max_bin",
    "max_bin_by_feature",
    "min_data_in_bin",
    "bin_construct_sample_cnt",
    "data_random_seed",
    "feature_pre_filter",
    "enable_bundle",
    "use_missing",
    "zero_as_missing",
    "categorical_feature",
    "forcedbins_filename",
}

every_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


@every_spec
def test_a_study_changes_only_parameters_that_have_a_default_in_range(spec) -> None:
    for name, tried in spec.space.items():
        assert tried.low <= spec.parameters[name] <= tried.high


@every_spec
def test_a_study_never_alters_the_binning(spec) -> None:
    assert not ALTERS_BINNING & set(spec.space)


@every_spec
def test_a_spec_names_a_form_that_can_be_fitted(spec) -> None:
    fitting = fitting_of(spec)
    assert fitting.is_grown == bool(spec.space)
    assert fitting.reads_features or not spec.may_serve


@every_spec
def test_a_spec_reads_a_feature_that_is_declared(spec) -> None:
    declared = {feature.name for feature in FEATURES} | {HEALTH_SCORE}
    assert spec.reads is None or spec.reads in declared


def test_names_are_unique_and_found() -> None:
    assert len({spec.name for spec in SPECS}) == len(SPECS)
    for spec in SPECS:
        assert specs.spec_named(spec.name) is spec


def test_the_formula_is_named_as_the_catalogue_names_it() -> None:
    assert specs.HEALTH_SCORE == HEALTH_SCORE


def test_one_model_may_serve_where_few_accounts_have_left() -> None:
    for_few = [spec for spec in SPECS if spec.for_few]
    assert for_few
    assert all(spec.may_serve for spec in for_few)


def test_the_renewal_date_is_named_as_the_catalogue_names_it() -> None:
    assert {specs.RENEWAL, specs.TERM} <= {feature.name for feature in FEATURES}
