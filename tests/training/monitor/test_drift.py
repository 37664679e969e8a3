"""Drift: told apart by what the model reads; no alarm where a company differs by chance alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from training.monitor.drift import FALSE_ALARMS, LEAST_DISTANCE, divergence, drift

NAMES = ("main", "second", "minor", "idle")
SHARES = np.array([0.6, 0.3, 0.1, 0.0])
MONTHS = 8


def rows_of(rng: np.random.Generator, n_accounts: int, months: int) -> tuple[np.ndarray, ...]:
    """Rows of one account are alike; the third feature is unknown for a third, the last is 0."""
    of_account = rng.normal(size=(n_accounts, 4))
    account = np.repeat(np.arange(n_accounts), months)
    rows = of_account[account] + 0.4 * rng.normal(size=(len(account), 4))
    rows[rng.random(len(rows)) < 1 / 3, 2] = np.nan
    rows[:, 3] = 0.0
    return rows, account


def company(seed: int = 0, n_accounts: int = 250) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    then, account = rows_of(rng, n_accounts, MONTHS)
    now, _ = rows_of(rng, n_accounts, 1)  # all other accounts: the hardest without drift
    return then, account, now


def found(then, account, now, shares=SHARES, draws=150):
    return drift(NAMES, shares, then, account, now, rng=np.random.default_rng(1), draws=draws)


def test_an_important_feature_raises_the_alarm_and_an_unimportant_one_does_not():
    then, account, now = company()
    told = {}
    for column in (0, 2):
        moved = now.copy()
        moved[:, column] += 1.5
        told[column] = found(then, account, moved)
    assert told[0].is_alarm
    assert told[0].features[0].name == "main"
    assert not told[2].is_alarm
    by_name = {f.name: f for f in told[2].features}
    assert by_name["minor"].distance > 0.25  # it has moved, and the list of features says so
    assert told[0].distance > 4 * told[2].distance


def test_a_feature_that_the_model_does_not_read_never_raises_it():
    then, account, now = company()
    now[:, 3] = np.nan
    told = found(then, account, now)
    assert not told.is_alarm
    assert {f.name: f.distance for f in told.features}["idle"] > 0.9


@pytest.mark.parametrize(
    "turn",
    [
        lambda now: np.where(np.arange(4) == 0, np.nan, now),
        lambda now: np.where(np.arange(4) == 0, now + 100, now),
        lambda now: np.where(np.arange(4) == 0, now * 1000, now),
    ],
    ids=["becomes unknown", "leaves its range", "another unit"],
)
def test_a_broken_source_is_an_alarm_and_is_outside_of_what_was_learned(turn):
    then, account, now = company()
    told = found(then, account, turn(now))
    assert told.is_alarm
    assert told.outside > 0.5


def test_a_constant_that_falls_is_seen():
    then, account, now = company()
    now[:, 3] = -1.0
    told = {f.name: f for f in found(then, account, now).features}["idle"]
    assert told.distance > 0.9
    assert told.outside == 1.0


def test_a_feature_that_was_never_known_and_now_is_lies_outside():
    then, account, now = company()
    then[:, 3] = np.nan
    told = {f.name: f for f in found(then, account, now).features}["idle"]
    assert (told.outside, told.unknown_then, told.unknown_now) == (1.0, 1.0, 0.0)
    assert told.median_then is None


def alarms(seeds: range, n_accounts: int, draws: int = 100) -> float:
    told = [found(*company(seed, n_accounts), draws=draws) for seed in seeds]
    return float(np.mean([one.is_alarm for one in told]))


def test_chance_alone_seldom_raises_it():
    # 60 companies: three alarms have a probability below 3 % at the promised rate of 1 %
    assert alarms(range(60), 120) <= 2 / 60


def test_rows_of_one_account_are_not_taken_for_so_many_accounts():
    raised = 0
    for seed in range(60):
        then, _, now = company(seed, 120)
        raised += found(then, np.arange(len(then)), now, draws=100).is_alarm
    assert raised > 2


@pytest.mark.slow
@pytest.mark.parametrize("n_accounts", [40, 120, 400])
def test_chance_alone_raises_it_as_seldom_as_promised(n_accounts):
    most = FALSE_ALARMS * (2 if n_accounts < 100 else 1)  # measured: see Decisions
    error = np.sqrt(most / 300)
    assert alarms(range(300), n_accounts, draws=400) <= most + 3 * error


def test_the_limit_is_what_chance_reaches_in_a_small_company_and_practical_in_a_large_one():
    small, large = found(*company(0, 40)), found(*company(0, 2000))
    assert small.limit > large.limit == LEAST_DISTANCE


def test_without_drift_the_distance_is_near_nothing_whatever_the_size():
    for n_accounts in (250, 2000):
        assert found(*company(3, n_accounts)).distance < 0.1


def test_nothing_read_is_no_drift():
    then, account, now = company()
    assert found(then, account, now + 5, shares=np.zeros(4)).distance == 0


def test_the_divergence_is_that_of_scipy():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(6), size=(2, 50))
    p[:, 0], q[:, 1] = 0.0, 0.0  # bins that only one of them has
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        np.sqrt(divergence(p, q)), jensenshannon(p, q, base=2, axis=1), atol=1e-7
    )  # a root of differences of logarithms
