from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.backtest.groups import (
    LEAST_ACCOUNTS,
    TENURE_BANDS,
    auc_at_a_cutoff,
    dimensions,
    judge_groups,
    mean_over_accounts,
    unknown_dimensions,
)
from training.metrics import account_draws, auc


@pytest.fixture(scope="module")
def groups(back_tested):
    _, result = back_tested
    return result.groups


def test_a_group_with_too_few_outcomes_has_no_number(groups) -> None:
    large = [group for group in groups if group.name == "large"]
    assert [group.horizon for group in large] == [30, 60, 90]
    assert all(group.verdict is None for group in large)
    small = [group for group in groups if group.name == "small"]
    assert small[-1].verdict is not None


def test_a_verdict_rests_on_enough_accounts_with_and_without_the_outcome(groups) -> None:
    for group in groups:
        spared = group.n_accounts - group.n_accounts_with_outcome
        if group.verdict is not None:
            assert group.n_accounts_with_outcome >= LEAST_ACCOUNTS
            assert group.n_accounts >= LEAST_ACCOUNTS
        elif spared >= LEAST_ACCOUNTS:
            assert group.n_accounts_with_outcome < LEAST_ACCOUNTS


def test_one_account_many_times_is_not_enough(back_tested) -> None:
    played, _ = back_tested
    rows = played.rows
    left = np.unique(rows.account[rows.outcomes[:, -1] == 1])[:3]
    outcomes = np.where(np.isin(rows.account, left)[:, None], 1.0, 0.0) * np.ones((1, 3))
    few = replace(rows, outcomes=outcomes)
    draws = account_draws(rows.account, 20, np.random.default_rng(0))
    assert all(group.verdict is None for group in judge_groups(few, "lightgbm", draws))


def test_the_groups_of_a_dimension_are_all_rows(back_tested, groups) -> None:
    played, _ = back_tested
    for dimension in ("segment", "tenure"):
        for position, horizon in enumerate(played.rows.horizons):
            total = sum(
                group.n_rows
                for group in groups
                if group.dimension == dimension and group.horizon == horizon
            )
            assert total == played.rows.decided(position).sum()


def test_an_unknown_trait_is_a_group_of_its_own_and_comes_last(groups) -> None:
    names = list(dict.fromkeys(g.name for g in groups if g.dimension == "segment"))
    assert names == ["large", "small", "unknown"]


def test_a_dimension_of_which_nothing_is_known_is_left_out_and_said(back_tested) -> None:
    played, result = back_tested
    assert set(dimensions(played.rows)) == {"segment", "tenure"}
    assert unknown_dimensions(played.rows) == ("service tier",)
    assert "The service tier is not known of any account, so nothing is said by it." in result.notes


def test_tenure_bands_begin_on_their_first_day(back_tested) -> None:
    played, _ = back_tested
    rows = played.rows
    days = [None, 0.0, 89.0, 90.0, 179.0, 180.0, 364.0, 365.0, 4000.0]
    traits = {"tenure_days": tuple(days[i % 9] for i in range(len(rows.account)))}
    names = dimensions(replace(rows, traits=traits))["tenure"][:9]
    first, second, third, last = (name for _, name in TENURE_BANDS)
    assert names.tolist() == ["unknown", first, first, second, second, third, third, last, last]


def test_what_is_promised_and_observed_are_the_means_of_the_rows(back_tested, groups) -> None:
    played, result = back_tested
    rows = played.rows
    inside = np.array([name == "small" for name in rows.traits["segment"]])
    group = next(g for g in groups if g.name == "small" and g.horizon == 60)
    p, y = rows.probabilities[result.best.name][inside, 1], rows.outcomes[inside, 1]
    assert group.verdict.promised == pytest.approx(p.mean())
    assert group.verdict.observed.value == pytest.approx(y.mean())
    assert group.verdict.gap.value == pytest.approx(y.mean() - p.mean())
    assert group.verdict.gap.low < group.verdict.gap.value < group.verdict.gap.high


def test_the_interval_of_a_mean_covers_it_when_rows_of_an_account_are_alike() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        level = rng.normal(size=40)
        account = np.repeat(np.arange(40), 6)
        draws = account_draws(account, 200, rng)
        found = mean_over_accounts(level[account] + 0.1 * rng.normal(size=240), account, draws)
        covered += found.low <= 0 <= found.high
    assert 178 <= covered <= 200  # of 200, at 95 %


def test_a_level_that_follows_the_rate_ranks_nobody_at_a_cutoff() -> None:
    rng = np.random.default_rng(2)
    cutoff = np.repeat(np.arange(4), 300)
    p = 0.1 + 0.1 * cutoff
    y = (rng.random(1200) < p).astype(float)
    account = np.arange(1200)
    draws = account_draws(account, 50, rng)
    assert auc(y, p, np.ones((1, 1200)))[0] > 0.6
    found = auc_at_a_cutoff(y, p, cutoff, account, draws)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
    told = auc_at_a_cutoff(y, p + 0.01 * y, cutoff, account, draws)
    assert told.low == told.value == 1.0


def test_the_ranking_at_a_cutoff_counts_pairs_of_that_cutoff_only() -> None:
    y, p = np.array([1.0, 0, 0, 1, 0, 1]), np.array([0.2, 0.1, 0.3, 0.9, 0.8, 0.7])
    cutoff, account = np.array([0, 0, 0, 1, 1, 1]), np.arange(6)
    pairs = [
        (p[i] > p[j]) + (p[i] == p[j]) / 2
        for i in range(6)
        for j in range(6)
        if cutoff[i] == cutoff[j] and y[i] > y[j]
    ]
    draws = account_draws(account, 30, np.random.default_rng(1))
    assert auc_at_a_cutoff(y, p, cutoff, account, draws).value == pytest.approx(np.mean(pairs))
    apart = auc_at_a_cutoff(y, p, 1 - y, account, draws)
    assert (apart.low, apart.high) == (0.0, 1.0)
