"""Whether the intervals of money hold the truth, in companies whose true chances are known.

Rows of one account share what nobody sees of it, so that their outcomes are correlated, and the
usual rise is estimated from those that happened to grow.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from registry.bundle.calibration import sigmoid
from serving.scoring.expected_money import yearly_of_one
from serving.scoring.portfolio import sum_of
from training.models.calibration import fit_calibration

WORLDS, ACCOUNTS, ROWS_EACH = 120, 250, 4
RISE, SPREAD = 0.4, 0.5
UNSEEN = 0.7 * np.polynomial.hermite_e.hermegauss(31)[0]
WEIGHTS = np.polynomial.hermite_e.hermegauss(31)[1] / np.sqrt(2 * np.pi)


def true_chance(f):
    return sigmoid(-2.6 + f[:, None] + UNSEEN) @ WEIGHTS


@pytest.fixture(scope="module")
def worlds(client):
    """Per world: the scores of its portfolio, and what each account is truly expected to bring."""
    some = client.app.state.service.portfolio.scores[0]
    made = []
    for seed in range(WORLDS):
        rng = np.random.default_rng(seed)
        account = np.repeat(np.arange(ACCOUNTS), ROWS_EACH)
        f = rng.normal(size=ACCOUNTS)[account] + 0.3 * rng.normal(size=len(account))
        unseen = rng.normal(0, 0.7, ACCOUNTS)[account]
        outcome = (rng.random(len(f)) < sigmoid(-2.6 + f + unseen)).astype(float)
        rises = RISE * np.exp(rng.normal(-(SPREAD**2) / 2, SPREAD, int(outcome.sum())))
        fit = fit_calibration(f, outcome[:, None], account, n_draws=200, rng=rng)
        now, mrr = rng.normal(size=150), rng.lognormal(6, 1, 150)
        served = fit.for_serving((90,))
        p, (low, high) = served.probability(now, 90), served.probability_interval(now, 90)
        off = rises.std() / np.sqrt(len(rises)) / rises.mean()
        bounds = list(zip(p, low, high, mrr, strict=True))
        at_risk = [yearly_of_one(*of) for of in bounds]
        growth = [yearly_of_one(*of[:3], of[3] * rises.mean(), relative_error=off) for of in bounds]
        scores = tuple(
            replace(
                some,
                account_id=f"a{i}",
                revenue_at_risk=lost.expected,
                revenue_at_risk_low=lost.low,
                revenue_at_risk_high=lost.high,
                expected_expansion=won.expected,
                expected_expansion_low=won.low,
                expected_expansion_high=won.high,
            )
            for i, (lost, won) in enumerate(zip(at_risk, growth, strict=True))
        )
        chance = true_chance(now)
        made.append((scores, chance * mrr * 12, chance * mrr * 12 * RISE))
    return made


def share(held) -> float:
    return float(np.mean(held))


def test_an_accounts_revenue_at_risk_is_held_in_most_worlds(worlds) -> None:
    held = [
        [
            s.revenue_at_risk_low <= t <= s.revenue_at_risk_high
            for s, t in zip(scores, truth, strict=True)
        ]
        for scores, truth, _ in worlds
    ]
    assert 0.90 < share(held) < 0.99


def test_an_accounts_expected_expansion_is_held_in_most_worlds(worlds) -> None:
    held = [
        [
            s.expected_expansion_low <= t <= s.expected_expansion_high
            for s, t in zip(scores, truth, strict=True)
        ]
        for scores, _, truth in worlds
    ]
    assert 0.90 < share(held) < 0.99


@pytest.mark.parametrize("what", ["revenue_at_risk", "expected_expansion"])
def test_the_sum_of_a_portfolio_is_held_in_most_worlds(worlds, what) -> None:
    held, widths = [], []
    for scores, at_risk, growth in worlds:
        total = sum_of(scores)
        truth = (at_risk if what == "revenue_at_risk" else growth).sum()
        low, high = getattr(total, f"{what}_low"), getattr(total, f"{what}_high")
        held.append(low <= truth <= high)
        widths.append((high - low) / truth)
    assert share(held) > 0.92
    assert np.mean(widths) < 0.6  # and says something
