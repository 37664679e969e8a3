from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.bundle.bundle import BundleError, ModelBundle
from registry.bundle.calibration import Calibration, CalibrationError, sigmoid
from registry.bundle.linear import LinearForm
from registry.bundle.long_horizons import LongHorizonChance, combine_log_odds


def form_of(n: int, seed: int = 3) -> LinearForm:
    rng = np.random.default_rng(seed)
    return LinearForm.plain(
        intercept=0.1,
        fill=np.zeros(n),
        center=rng.normal(size=n),
        scale=np.ones(n),
        coefficient=rng.normal(size=n),
        missing_coefficient=rng.normal(size=n),
        missing_rate=np.full(n, 0.3),
    )


def chance(
    horizon: int,
    *,
    slope: float = 0.4,
    form: LinearForm | None = None,
    intercept: float = -1.0,
    n_draws: int = 40,
) -> LongHorizonChance:
    rng = np.random.default_rng(horizon)
    draws = np.column_stack((0.8 + 0.4 * rng.random(n_draws), intercept + rng.normal(size=n_draws)))
    return LongHorizonChance(
        slope=slope,
        form=form,
        calibration=Calibration(
            horizons=(horizon,), slope=0.9, intercepts=(intercept,), draws=draws
        ),
    )


def longer(bundle: ModelBundle, *parts: LongHorizonChance) -> ModelBundle:
    rates = {part.horizon: 0.2 for part in parts}
    return replace(
        bundle, long_horizons=parts, base_rates={**bundle.base_rates, **rates}, not_estimable={}
    )


@pytest.fixture(params=["trees", "linear"])
def far(request, make_tree_bundle, make_linear_bundle):
    bundle = (make_tree_bundle if request.param == "trees" else make_linear_bundle)()
    width = len(bundle.contract.features)
    return longer(bundle, chance(180), chance(365, slope=-0.2, form=form_of(width)))


def rows_of(bundle: ModelBundle, n: int = 40) -> np.ndarray:
    rng = np.random.default_rng(5)
    rows = 3 * rng.normal(size=(n, len(bundle.contract.features)))
    rows[rng.random(rows.shape) < 0.3] = np.nan
    return rows


@given(st.floats(-700, 700), st.floats(-700, 700))
def test_either_is_what_two_chances_make_and_never_below_the_first(before, after) -> None:
    odds = float(combine_log_odds(np.array([before]), np.array([after]))[0])
    p, q = (
        1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
        for x in (before, after)
    )
    assert odds >= before
    assert float(sigmoid(odds)) == pytest.approx(p + (1 - p) * q, rel=1e-9)


@given(st.floats(-3, 3), st.floats(-8, 3), st.floats(-8, 3))
def test_no_probability_and_no_bound_falls_as_the_horizon_grows(
    make_linear_bundle,
    slope,
    first,
    second,
) -> None:
    near = make_linear_bundle()
    bundle = longer(
        near,
        chance(180, slope=slope, intercept=first),
        chance(365, form=form_of(5), intercept=second),
    )
    rows = rows_of(bundle)
    said = [
        np.array([bundle.probability(rows, h), *bundle.probability_interval(rows, h)])
        for h in bundle.horizons
    ]
    assert bundle.horizons == (30, 60, 90, 180, 365)
    for one, other in pairwise(said):
        assert (one <= other).all()
    for p, low, high in said:
        assert (low <= p).all()
        assert (p <= high).all()


def test_the_far_is_the_near_and_then_what_is_left(far) -> None:
    rows = rows_of(far)
    p = far.probability(rows, 90)
    for part in far.long_horizons:
        q = sigmoid(
            part.calibration.intercepts[0]
            + part.calibration.slope * part.score(far.raw(rows), rows)
        )
        p = p + (1 - p) * q
        assert far.probability(rows, part.horizon) == pytest.approx(p, abs=1e-12)


@pytest.mark.parametrize("horizon", [180, 365])
@pytest.mark.parametrize("n", [3, 40])  # one by one, and many at once
def test_points_of_the_far_sum_to_the_shown_probability(far, horizon, n) -> None:
    rows = rows_of(far, n)
    points, start = far.points(rows, horizon)
    assert points.sum(axis=1) + start == pytest.approx(far.probability(rows, horizon), abs=1e-9)


def test_a_feature_that_only_the_far_reads_has_points_there(far) -> None:
    rows = rows_of(far)
    near, _ = far.points(rows, 90)
    points, _ = far.points(rows, 365)
    unread = np.abs(near).sum(axis=0) == 0
    assert (np.abs(points[:, unread]).sum(axis=0) > 0).all()


def test_a_loaded_bundle_says_the_same_of_the_far(far, tmp_path) -> None:
    far.save(tmp_path / "bundle")
    loaded = ModelBundle.load(tmp_path / "bundle")
    rows = rows_of(far)
    for horizon in far.horizons:
        assert np.array_equal(loaded.probability(rows, horizon), far.probability(rows, horizon))
        assert np.array_equal(
            loaded.probability_interval(rows, horizon), far.probability_interval(rows, horizon)
        )
    assert loaded.fingerprint == far.fingerprint


def test_what_is_said_of_the_far_is_part_of_the_identity(far) -> None:
    other = replace(far, long_horizons=(chance(180, slope=0.41), far.long_horizons[1]))
    assert other.fingerprint != far.fingerprint


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((chance(365), chance(180)), "not in rising order"),
        ((chance(60),), "not in rising order"),
        ((chance(180, form=form_of(2)),), "does not read the 5 features"),
        ((chance(180, n_draws=30),), "another number of draws"),
    ],
    ids=["falling", "as near", "another width", "other draws"],
)
def test_a_far_that_does_not_fit_the_near_is_refused(make_linear_bundle, parts, said) -> None:
    with pytest.raises(BundleError, match=said):
        longer(make_linear_bundle(), *parts)


def test_a_chance_has_one_horizon_and_a_finite_slope() -> None:
    two = Calibration(
        horizons=(180, 365),
        slope=1.0,
        intercepts=(0.0, 1.0),
        draws=np.tile([1.0, 0.0, 1.0], (20, 1)),
    )
    with pytest.raises(CalibrationError, match="has one horizon and a finite slope"):
        LongHorizonChance(slope=1.0, form=None, calibration=two)
    with pytest.raises(CalibrationError, match="has one horizon and a finite slope"):
        chance(180, slope=float("nan"))
