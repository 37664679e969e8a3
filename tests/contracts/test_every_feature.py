"""The exam that every declared feature sits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from features.catalogue import FEATURES, CatalogueError, catalogue
from features.catalogue_table import markdown
from features.feature import Aggregate, AnyFeature, Derived, Feature
from features.telemetry import KINDS, is_kind

ALL = catalogue(("bulk export", "search")).features
every_feature = pytest.mark.parametrize("feature", ALL, ids=lambda f: f.name)
PROPERTIES = {kind.name: set(kind.properties) for kind in KINDS}


@every_feature
def test_phrase_can_be_read_out(feature: AnyFeature) -> None:
    said = feature.phrase.format(value=3.0)
    assert "3" in said or "300" in said
    assert "{" not in said


@every_feature
def test_says_what_it_is_in_which_unit(feature: AnyFeature) -> None:
    assert feature.description.endswith(".")
    assert feature.unit


@every_feature
def test_reads_kinds_and_properties_that_exist(feature: AnyFeature) -> None:
    if isinstance(feature, Derived):
        assert feature.inputs
        return
    assert all(is_kind(kind) for kind in feature.reads)
    wanted = set(feature.where) | ({feature.aggregate.of} if feature.aggregate.of else set())
    for kind in feature.reads:
        if kind != "contract.resumed":  # carries the terms that changed, not all of them
            assert wanted <= PROPERTIES[kind], kind


@every_feature
def test_a_number_of_events_is_zero_when_there_were_none(feature: AnyFeature) -> None:
    if isinstance(feature, Feature) and feature.aggregate.operation == "count":
        assert feature.when_empty == 0.0 or feature.name == "invoices_count"
    if isinstance(feature, Feature) and feature.aggregate.operation in ("mean", "last"):
        assert feature.when_empty is None


@every_feature
def test_the_name_says_its_window(feature: AnyFeature) -> None:
    days = re.search(r"_(\d+)d$", feature.name)
    if isinstance(feature, Feature) and feature.lookback is not None:
        assert days is not None
        assert int(days.group(1)) == feature.lookback.days


def test_there_are_at_least_sixty_over_ten_themes() -> None:
    assert len(FEATURES) >= 60
    assert len({feature.theme for feature in FEATURES}) == 10


def test_wording_does_not_change_the_digest_and_the_window_does() -> None:
    base = catalogue().feature("sessions_28d")
    assert isinstance(base, Feature)
    fields = {name: getattr(base, name) for name in base.__dataclass_fields__}
    assert Feature(**{**fields, "phrase": "other words"}).digest == base.digest
    assert Feature(**{**fields, "when_empty": None}).digest != base.digest


def test_a_name_that_hides_its_window_is_refused() -> None:
    base = catalogue().feature("sessions_28d")
    fields = {name: getattr(base, name) for name in base.__dataclass_fields__}
    with pytest.raises(ValueError, match="must end in its lookback: _28d"):
        Feature(**{**fields, "name": "sessions"})


def test_a_name_with_capitals_is_refused() -> None:
    with pytest.raises(ValueError, match="lower-case words"):
        Derived(name="Sessions", description="", theme="adoption", inputs=("seats",),
                formula=lambda seats: seats, unit="", phrase="")


def test_a_feature_that_reads_nothing_is_refused() -> None:
    base = catalogue().feature("sessions_28d")
    fields = {name: getattr(base, name) for name in base.__dataclass_fields__}
    with pytest.raises(ValueError, match="reads no event kind"):
        Feature(**{**fields, "reads": ()})


def test_an_aggregate_without_its_property_is_refused() -> None:
    with pytest.raises(ValueError, match="needs `of`"):
        Aggregate(operation="values")


def test_an_unknown_name_is_an_error_that_says_where_to_look() -> None:
    with pytest.raises(CatalogueError, match="keepwell features"):
        catalogue().feature("happiness")


def test_use_names_become_two_counts_each() -> None:
    names = [feature.name for feature in catalogue(("Bulk export",)).features]
    assert names[-2:] == ["use_bulk_export_count_28d", "use_bulk_export_count_90d"]


def test_the_readme_holds_the_catalogue_as_it_is() -> None:
    readme = (Path(__file__).parents[2] / "features" / "README.md").read_text(encoding="utf-8")
    held = readme.split("<!-- catalogue -->")[1].split("<!-- /catalogue -->")[0]
    assert held.strip() == markdown(), "run: python -m features.catalogue_table"
