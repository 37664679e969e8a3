"""Numbers side by side calculate as numbers alone do."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from registry.trees._simd import DOUBLES, SINGLES, add_to, at_most, every, load, store


@numba.njit
def calculated(a, b, number, index, out):
    x, y, c = load(a, index), load(b, index), every(number)
    store(out, 0, x + y)
    store(out, 1, x - c)
    store(out, 2, x * y)
    store(out, 3, x / y)


@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize(("kind", "n"), [(np.float64, DOUBLES), (np.float32, SINGLES)])
def test_numbers_side_by_side_calculate_as_numbers_alone(kind, n, index):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3 * n)).astype(kind)
    a[index * n] = np.nan
    out = np.zeros(6 * n, kind)
    calculated(a, b, kind(0.75), index, out)
    x, y = a[index * n : (index + 1) * n], b[index * n : (index + 1) * n]
    expected = np.concatenate([x + y, x - kind(0.75), x * y, x / y, np.zeros(2 * n, kind)])
    np.testing.assert_array_equal(out, expected)  # beyond the last nothing was written


@numba.njit
def compared(codes, more, last, out, sums):
    answers = at_most(codes, 1, more, last)
    store(out, 0, answers)
    add_to(sums, 1, answers)
    add_to(sums, 1, answers)


def test_codes_are_compared_in_sixteen_bits_and_counted_in_fifty_three():
    codes = np.zeros(3 * SINGLES, np.uint16)
    codes[SINGLES : 2 * SINGLES] = np.arange(65_536 - SINGLES, 65_536)
    out, sums = np.zeros(SINGLES, np.float32), np.full(2 * SINGLES, 2.0**40)
    compared(codes, np.uint16(3), np.uint16(1), out, sums)
    assert out.tolist() == [0.0] * 13 + [1.0, 1.0, 0.0]  # 65,533 + 3 is 0 in 16 bits
    assert (sums - 2.0**40).tolist() == [0.0] * SINGLES + [2 * one for one in out.tolist()]
