from __future__ import annotations

import numpy as np
import pytest

from registry.bundle._line_quantiles import LineLevels
from registry.bundle.calibration import Calibration, sigmoid


def lines(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(-2, 0.5, n), rng.uniform(0.3, 1.5, n)


CASES = {
    "many": lines(200),
    "few": lines(5),
    "one": lines(1),
    "all alike": (np.full(30, -1.0), np.full(30, 0.7)),
    "parallel": (np.linspace(-3, -1, 30), np.full(30, 0.7)),
    "each twice": tuple(np.repeat(part, 2) for part in lines(20)),
    "through one point": (-2 * np.linspace(0.1, 2, 40), np.linspace(0.1, 2, 40)),
}


@pytest.mark.parametrize("case", CASES)
def test_each_rank_is_that_of_the_sorted_values(case):
    intercepts, slopes = CASES[case]
    ranks = sorted({0, len(slopes) // 3, len(slopes) - 1})
    places = np.concatenate([np.random.default_rng(1).normal(0, 3, 3000), [-1e6, 0.0, 2.0, 1e6]])
    expected = np.sort(intercepts + places[:, None] * slopes, axis=1)[:, ranks].T
    found = LineLevels.of(intercepts, slopes, ranks).at(places)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("n", [20, 33, 200, 256, 257])
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_many_scores_have_the_interval_of_each(n, level):
    rng = np.random.default_rng(n)
    draws = np.column_stack([rng.uniform(0.5, 1.5, n), np.sort(rng.normal(-2, 0.3, (n, 2)))])
    calibration = Calibration(horizons=(30, 90), slope=1.0, intercepts=(-2.2, -1.8), draws=draws)
    raw = rng.normal(0, 2, 6_000)
    together = calibration.probability_interval(raw, 90, level=level)
    drawn = sigmoid(
        np.percentile(
            draws[:, 2] + raw[:, None] * draws[:, 0], [50 - 50 * level, 50 + 50 * level], axis=1
        )
    )
    apart = [calibration.probability_interval(part, 90, level=level) for part in np.split(raw, 6)]
    shown = calibration.probability(raw, 90)
    for end, bound in ((0, np.minimum(drawn[0], shown)), (1, np.maximum(drawn[1], shown))):
        np.testing.assert_allclose(together[end], bound, rtol=1e-13)
        np.testing.assert_allclose(np.concatenate([part[end] for part in apart]), bound, rtol=1e-13)
