"""Shorter horizons with an order of their own: below the longer one, explained, stored, checked."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.bundle.bundle import BundleError, ModelBundle
from registry.bundle.calibration import Calibration, CalibrationError, sigmoid
from registry.bundle.linear import LinearForm
from registry.bundle.long_horizons import HorizonShare, share_log_odds


def form_of(n: int, seed: int) -> LinearForm:
    rng = np.random.default_rng(seed)
    return LinearForm.plain(
        intercept=0.1,
        fill=np.zeros(n),
        center=rng.normal(size=n),
        scale=np.ones(n),
        coefficient=rng.normal(size=n),
    )


def share(n: int, horizon: int, *, n_draws: int = 40) -> HorizonShare:
    rng = np.random.default_rng(horizon)
    draws = np.column_stack((0.8 + 0.4 * rng.random(n_draws), rng.normal(size=n_draws)))
    return HorizonShare(
        form=form_of(n, horizon),
        calibration=Calibration(horizons=(horizon,), slope=0.9, intercepts=(-0.2,), draws=draws),
    )


@pytest.fixture(params=["trees", "linear"])
def bundle(request, make_tree_bundle, make_linear_bundle) -> ModelBundle:
    made = (make_tree_bundle if request.param == "trees" else make_linear_bundle)()
    width = len(made.contract.features)
    return replace(made, shares=(share(width, 60), share(width, 30)))


def rows_of(bundle: ModelBundle, n: int = 40) -> np.ndarray:
    rng = np.random.default_rng(5)
    rows = 3 * rng.normal(size=(n, len(bundle.contract.features)))
    rows[rng.random(rows.shape) < 0.3] = np.nan
    return rows


@given(st.floats(-700, 700), st.floats(-700, 700))
def test_a_share_of_a_probability_is_their_product_and_never_above_it(whole, part) -> None:
    odds = share_log_odds(np.array([whole]), np.array([part]))
    assert odds[0] <= whole
    assert sigmoid(odds)[0] == pytest.approx(float(sigmoid(whole)) * float(sigmoid(part)), rel=1e-9)


def test_no_probability_and_no_bound_falls_as_the_horizon_grows(bundle) -> None:
    rows = rows_of(bundle)
    said = [
        np.array([bundle.probability(rows, h), *bundle.probability_interval(rows, h)])
        for h in bundle.horizons
    ]
    for one, other in pairwise(said):
        assert (one <= other).all()
    for p, low, high in said:
        assert (low <= p).all()
        assert (p <= high).all()


def test_the_longest_horizon_is_what_it_is_without_shares(bundle) -> None:
    rows, plain = rows_of(bundle), replace(bundle, shares=())
    assert np.array_equal(bundle.probability(rows, 90), plain.probability(rows, 90))
    order = np.argsort(bundle.probability(rows, 90))
    assert (np.diff(plain.probability(rows, 30)[order]) >= 0).all()
    assert (np.diff(bundle.probability(rows, 30)[order]) < 0).any()  # an order of its own


@pytest.mark.parametrize("horizon", [30, 60, 90])
@pytest.mark.parametrize("n", [3, 40])  # one by one, and many at once
def test_points_sum_to_the_shown_probability(bundle, horizon, n) -> None:
    rows = rows_of(bundle, n)
    points, start = bundle.points(rows, horizon)
    assert points.sum(axis=1) + start == pytest.approx(bundle.probability(rows, horizon), abs=1e-9)


def test_it_is_loaded_as_it_was_saved(bundle, tmp_path) -> None:
    bundle.save(tmp_path / "bundle")
    loaded, rows = ModelBundle.load(tmp_path / "bundle"), rows_of(bundle)
    for horizon in bundle.horizons:
        assert np.array_equal(loaded.probability(rows, horizon), bundle.probability(rows, horizon))
    assert loaded.fingerprint == bundle.fingerprint


def test_shares_that_do_not_fit_the_bundle_are_refused(bundle) -> None:
    width = len(bundle.contract.features)
    with pytest.raises(BundleError, match="one for each, longest first, or none"):
        replace(bundle, shares=(share(width, 60),))
    with pytest.raises(BundleError, match="does not read the"):
        replace(bundle, shares=(share(width + 1, 60), share(width + 1, 30)))
    with pytest.raises(BundleError, match="another number of draws"):
        replace(bundle, shares=(share(width, 60), share(width, 30, n_draws=30)))


def test_a_share_has_one_horizon() -> None:
    two = Calibration(
        horizons=(30, 60), slope=1.0, intercepts=(0.0, 1.0), draws=np.tile([1.0, 0.0, 1.0], (20, 1))
    )
    with pytest.raises(CalibrationError, match="A share has one horizon"):
        HorizonShare(form=form_of(3, 1), calibration=two)
