from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.bundle.calibration import Calibration, CalibrationError, HorizonError, Unseen, sigmoid


def make(**changes):
    given = {
        "horizons": (30, 90), "slope": 2.0, "intercepts": (-1.0, 0.5),
        "draws": np.column_stack([np.linspace(1, 3, 21), np.full(21, -1.0), np.full(21, 0.5)]),
    }  # fmt: skip
    return Calibration(**{**given, **changes})


def test_the_probability_is_the_sigmoid_of_intercept_plus_slope_times_score():
    assert make().probability(np.array([0.3]), 30)[0] == pytest.approx(1 / (1 + np.exp(0.4)))


UNSEEN = Unseen(chance=0.0025, most=0.0127, draws=np.linspace(1e-5, 0.0127, 21))
"""Of two hundred accounts nobody had it."""


def test_no_chance_is_told_below_what_the_accounts_with_the_lowest_scores_can_show():
    plain, floored = make(), make(unseen=UNSEEN)
    raw = np.array([-20.0, -3.0, -2.0, 0.0])
    p, line = floored.probability(raw, 90), plain.probability(raw, 90)
    assert p[0] == pytest.approx(0.0025, rel=1e-6)
    assert (np.diff(p) > 0).all()  # the order stays
    assert p[1] == pytest.approx(np.hypot(line[1], 0.0025), rel=0.01)  # odds, so nearly
    assert p[3] == pytest.approx(line[3], rel=1e-5)  # is not felt far above
    low, high = floored.probability_interval(raw, 90)
    assert high[0] == pytest.approx(0.0127, rel=1e-6)
    assert low[0] < 1e-6
    assert floored.probability(raw, 30)[0] == pytest.approx(0.0025 / 3, rel=1e-6)


def test_the_interval_of_many_rows_has_the_same_floor():
    few, many = np.array([-20.0, 0.0]), np.tile([-20.0, 0.0], 3000)
    for each, of_all in zip(
        make(unseen=UNSEEN).probability_interval(few, 90),
        make(unseen=UNSEEN).probability_interval(many, 90),
        strict=True,
    ):
        np.testing.assert_allclose(np.tile(each, 3000), of_all, rtol=1e-9)


def test_the_tangent_is_that_of_the_curve():
    floored = make(unseen=UNSEEN)
    for raw in (-3.2, -2.0, 0.5):
        ends = floored.probability(np.array([raw - 1e-5, raw + 1e-5]), 90)
        assert floored.tangent(raw, 90) == pytest.approx((ends[1] - ends[0]) / 2e-5, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chance": 0.0}, "must lie between 0 and 1"),
        ({"most": 0.001}, "in this order"),
        ({"draws": np.full(5, 0.01)}, "5 draws of what was not seen are not 21"),
    ],
)
def test_a_floor_that_is_none_is_refused(changes, words):
    given = {"chance": 0.0025, "most": 0.0127, "draws": UNSEEN.draws} | changes
    with pytest.raises(CalibrationError, match=words):
        make(unseen=Unseen(**given))


scores = st.lists(st.floats(-50, 50), min_size=1, max_size=30).map(np.array)


@given(scores)
def test_the_probability_never_falls_with_the_horizon_nor_with_the_score(raw):
    near, far = (make().probability(np.sort(raw), h) for h in (30, 90))
    assert (far >= near).all()
    assert (np.diff(near) >= 0).all()


@given(scores)
def test_the_interval_holds_the_probability(raw):
    low, high = make().probability_interval(raw, 90)
    shown = make().probability(raw, 90)
    assert ((low >= 0) & (low <= shown) & (shown <= high) & (high <= 1)).all()


def test_the_interval_is_the_middle_of_the_draws():
    low, high = make().probability_interval(np.array([1.0, -1.0]), 30)
    # Slopes 1 to 3 in steps of 0.1: the middle 95 % is 1.05 to 2.95.
    np.testing.assert_allclose(low, sigmoid(np.array([-1 + 1.05, -1 - 2.95])), atol=1e-12)
    np.testing.assert_allclose(high, sigmoid(np.array([-1 + 2.95, -1 - 1.05])), atol=1e-12)


@pytest.mark.parametrize("shift", [-5.0, 5.0])
def test_the_interval_reaches_the_probability_that_is_shown(shift):
    draws = np.column_stack([np.ones(21), np.full(21, shift), np.full(21, shift)])
    low, high = make(draws=draws).probability_interval(np.array([0.0]), 30)
    shown = make().probability(np.array([0.0]), 30)[0]
    assert (high[0] if shift < 0 else low[0]) == shown
    assert (low[0] if shift < 0 else high[0]) == sigmoid(shift)


def test_a_narrower_level_gives_a_narrower_interval():
    low, high = make().probability_interval(np.array([1.0]), 30, level=0.5)
    assert low[0] == pytest.approx(sigmoid(0.5))
    assert high[0] == pytest.approx(sigmoid(1.5))


def test_many_rows_have_the_intervals_of_few():
    raw = np.linspace(-3, 3, 10_000)
    all_low, all_high = make().probability_interval(raw, 90)
    low, high = make().probability_interval(raw[[0, 4095, 4096, 9999]], 90)
    assert (all_low[[0, 4095, 4096, 9999]] == low).all()
    assert (all_high[[0, 4095, 4096, 9999]] == high).all()


def test_an_unknown_horizon_names_those_there_are():
    with pytest.raises(HorizonError, match="no probability at 45 days; it has 30, 90"):
        make().probability(np.zeros(1), 45)


ones = np.ones((25, 3))
DAMAGE = {
    "no horizon": ({"horizons": (), "intercepts": (), "draws": ones[:, :1]}, "in rising order"),
    "horizons out of order": ({"horizons": (90, 30)}, "in rising order"),
    "a horizon twice": ({"horizons": (30, 30)}, "in rising order"),
    "a horizon of no days": ({"horizons": (0, 30)}, "at least one day"),
    "an intercept too few": ({"intercepts": (1.0,)}, "1 intercepts for 2 horizons"),
    "no draws": ({"draws": ones[:0]}, "at least 20 rows"),
    "few draws": ({"draws": ones[:19]}, "at least 20 rows"),
    "draws of another width": ({"draws": ones[:, :2]}, r"shape \(25, 2\)"),
    "an infinite slope": ({"slope": np.inf}, "not a finite number"),
    "a draw that is no number": ({"draws": ones * np.nan}, "not a finite number"),
    "a flat slope": ({"slope": 0.0}, "not above zero"),
    "a falling draw": ({"draws": ones * [-1, 1, 1]}, "not above zero"),
    "falling with the horizon": ({"intercepts": (1.0, 0.9)}, "falls as the horizon grows"),
    "a draw that falls": ({"draws": ones * [1, 1, 0.5]}, "falls as the horizon grows"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_what_is_not_strictly_increasing_is_refused(case):
    changes, reason = DAMAGE[case]
    with pytest.raises(CalibrationError, match=reason):
        make(**changes)
