from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.scoring.expected_money import Money, yearly, yearly_of_one


@pytest.mark.parametrize(("probability", "amount"), [(None, 10.0), (0.2, None), (None, None)])
def test_what_is_not_known_has_no_money(probability, amount) -> None:
    assert yearly_of_one(probability, 0.1, 0.3, amount) == Money(expected=None, low=None, high=None)


def test_a_chance_without_an_interval_has_money_without_one() -> None:
    assert yearly_of_one(0.2, None, None, 10.0) == Money(expected=24.0)


def test_an_amount_without_an_error_scales_the_interval_of_the_chance() -> None:
    assert yearly_of_one(0.5, 0.25, 0.75, 100.0) == Money(expected=600.0, low=300.0, high=900.0)


chances = st.tuples(*[st.floats(0.0, 1.0)] * 3).map(sorted)


@given(chances, st.floats(0.0, 1e6), st.floats(0.0, 1.0))
def test_an_error_of_the_amount_only_widens(chance, amount, error) -> None:
    low, p, high = chance
    exact, wider = (yearly_of_one(p, low, high, amount, relative_error=e) for e in (0.0, error))
    assert wider.expected == exact.expected
    assert wider.low <= exact.low * (1 + 1e-12)
    assert wider.high >= exact.high * (1 - 1e-12)
    assert wider.low <= wider.expected * (1 + 1e-12)


def test_two_errors_of_one_size_widen_by_the_root_of_two() -> None:
    sure = yearly_of_one(0.2, 0.1, 0.4, 1.0)
    as_unsure = yearly_of_one(0.2, 0.1, 0.4, 1.0, relative_error=0.6931471805599453 / 1.96)
    assert as_unsure.high / sure.expected == pytest.approx(2**2**0.5)
    assert as_unsure.low / sure.expected == pytest.approx(2 ** -(2**0.5))


def test_columns_hold_what_each_account_is_told() -> None:
    rng = np.random.default_rng(2)
    low, p, high = np.sort(rng.uniform(0, 0.3, (3, 50)), axis=0)
    amount = rng.lognormal(5, 1, 50)
    amount[::7] = p[::5] = low[::3] = np.nan
    columns = yearly(p, low, high, amount, relative_error=0.2)
    for row in range(50):
        told = (None if v != v else v for v in (p[row], low[row], high[row], amount[row]))
        one = yearly_of_one(*told, relative_error=0.2)
        expected = [None if c[row] != c[row] else c[row] for c in columns]
        assert [one.expected, one.low, one.high] == expected
