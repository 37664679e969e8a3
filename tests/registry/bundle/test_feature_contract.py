from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.bundle.feature_contract import ContractFeature, FeatureContract, FeatureContractError

CONTRACT = FeatureContract(
    (
        ContractFeature(name="mrr", digest="m1"),
        ContractFeature(name="logins", digest="l1"),
        ContractFeature(name="region", digest="r1", categories=("emea", "amer")),
    )
)


def test_the_matrix_has_the_contracts_order_and_unknown_is_nan():
    frame = pl.DataFrame(
        {
            "region": ["amer", None, "mars"],
            "noise": ["x", "y", "z"],
            "logins": [1, None, 0],
            "mrr": [9.5, 0.0, math.nan],
        }
    )
    expected = [[9.5, 1.0, 1.0], [0.0, math.nan, math.nan], [math.nan, 0.0, math.nan]]
    matrix = CONTRACT.matrix(frame)
    np.testing.assert_array_equal(matrix, expected)
    assert matrix.dtype == np.float64
    assert matrix.flags.c_contiguous


def test_one_account_is_one_row():
    row = {"logins": True, "mrr": None, "region": "emea", "other": object()}
    np.testing.assert_array_equal(CONTRACT.matrix(row), [[math.nan, 1.0, 0.0]])


def test_a_column_that_is_never_known_is_nan():
    frame = pl.DataFrame({"mrr": [None], "logins": [None], "region": [None]})
    assert np.isnan(CONTRACT.matrix(frame)).all()


@given(st.lists(st.one_of(st.none(), st.floats(allow_infinity=False)), max_size=20))
def test_a_frame_gives_the_rows_of_its_accounts(values):
    frame = pl.DataFrame(
        {"mrr": values, "logins": values[::-1], "region": ["emea"] * len(values)},
        schema={"mrr": pl.Float64, "logins": pl.Float64, "region": pl.String},
    )
    matrix = CONTRACT.matrix(frame)
    assert matrix.shape == (len(values), 3)
    for i, row in enumerate(frame.iter_rows(named=True)):
        np.testing.assert_array_equal(matrix[i], CONTRACT.matrix(row)[0])


@pytest.mark.parametrize("rows", [pl.DataFrame({"region": ["emea"]}), {"region": "emea"}])
def test_missing_features_are_named_with_what_to_do(rows):
    with pytest.raises(
        FeatureContractError, match=r"reads 2 features that this .*: mrr, logins\. Rebuild"
    ):
        CONTRACT.matrix(rows)


def test_the_use_of_one_feature_of_the_product_is_counted_where_the_mapping_names_it():
    one = FeatureContract((ContractFeature(name="use_search_count_28d", digest="d"),))
    with pytest.raises(FeatureContractError, match=r"reads 1 feature .* use_names decides"):
        one.check({"mrr": "m1"})
    with pytest.raises(FeatureContractError, match=r"mrr, region\. Rebuild"):
        CONTRACT.check({"logins": "l1", "use_trend_7d": "t"})


def test_a_long_list_of_missing_features_is_cut():
    wide = FeatureContract(tuple(ContractFeature(name=f"f{i}", digest="d") for i in range(11)))
    with pytest.raises(FeatureContractError, match=r"11 features .*f7 and 3 more"):
        wide.matrix({})


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinite_value_is_refused_by_name(value):
    frame = pl.DataFrame({"mrr": [1.0, value], "logins": [1, 1], "region": [None, None]})
    with pytest.raises(FeatureContractError, match=r"^mrr is infinite in 1 row\(s\)"):
        CONTRACT.matrix(frame)


def test_a_text_where_a_number_is_read_is_refused():
    with pytest.raises(FeatureContractError, match="'mrr' is a number for this model and String"):
        CONTRACT.matrix({"mrr": "many", "logins": 1, "region": None})


def test_a_number_where_a_text_is_read_is_refused():
    with pytest.raises(FeatureContractError, match="'region' is a text for this model and Float64"):
        CONTRACT.matrix({"mrr": 1.0, "logins": 1, "region": 1.0})


def test_equal_definitions_are_accepted():
    digests = {"mrr": "m1", "logins": "l1", "region": "r1", "new": "n1"}
    assert CONTRACT.matrix({"mrr": 1, "logins": 2, "region": None}, digests=digests)[0, 1] == 2.0


def test_a_changed_definition_is_refused():
    digests = {"mrr": "m1", "logins": "l2", "region": "r1"}
    with pytest.raises(FeatureContractError, match="another definition of logins"):
        CONTRACT.matrix({"mrr": 1, "logins": 2, "region": None}, digests=digests)


def test_a_removed_definition_is_refused():
    with pytest.raises(FeatureContractError, match="that the catalogue lacks: mrr, region"):
        CONTRACT.check({"logins": "l1"})


def test_a_feature_named_twice_is_refused():
    twice = ContractFeature(name="a", digest="d")
    with pytest.raises(FeatureContractError, match="names a twice"):
        FeatureContract((twice, twice))


def test_a_category_named_twice_is_refused():
    with pytest.raises(FeatureContractError, match="'a' lists a category twice"):
        ContractFeature(name="a", digest="d", categories=("x", "x"))


def test_a_contract_of_nothing_is_refused():
    with pytest.raises(FeatureContractError, match="at least one feature"):
        FeatureContract(())


CHANGES = {
    "name": (ContractFeature(name="b", digest="d"),),
    "digest": (ContractFeature(name="a", digest="e"),),
    "categories": (ContractFeature(name="a", digest="d", categories=("x",)),),
    "one more": (ContractFeature(name="a", digest="d"), ContractFeature(name="b", digest="d")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_sees_every_change(change):
    plain = FeatureContract((ContractFeature(name="a", digest="d"),))
    assert FeatureContract(CHANGES[change]).fingerprint != plain.fingerprint
    again = FeatureContract((ContractFeature(name="a", digest="d"),))
    assert again.fingerprint == plain.fingerprint


def test_the_fingerprint_sees_the_order():
    a, b = ContractFeature(name="a", digest="d"), ContractFeature(name="b", digest="d")
    assert FeatureContract((a, b)).fingerprint != FeatureContract((b, a)).fingerprint
