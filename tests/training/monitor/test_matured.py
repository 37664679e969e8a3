"""Matured labels: what came as promised is no alarm, a worse model is found, chance is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from registry.bundle.segment_gate import EVERYONE
from training.metrics import account_draws, came_over_promised
from training.monitor.matured import (
    RECENT_CUTOFFS,
    MaturedRows,
    judge_matured,
    segment_findings,
)

MONTHS = 4


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def rows_of(seed: int = 0, n_accounts: int = 400, *, more: float = 0.0) -> MaturedRows:
    """Accounts of two segments, four cutoffs; the model knows the truth, the other half of it.

    ``more`` is added to the log-odds of the truth after both were fitted.
    """
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n_accounts)
    account = np.repeat(np.arange(n_accounts), MONTHS)
    truth = -2.3 + risk[account]
    instead = -2.0 + 0.2 * risk[account]
    outcome = (rng.random(len(account)) < sigmoid(truth + more)).astype(float)
    return MaturedRows(
        horizon=30,
        outcome=outcome,
        probability=sigmoid(truth),
        instead=sigmoid(instead),
        account=account,
        cutoff=np.tile(np.arange(MONTHS), n_accounts),
        segment=np.where(account % 2, "segment mid", "segment small"),
    )


def findings(rows: MaturedRows) -> dict[str, str]:
    return {
        one.key: one.finding
        for one in segment_findings(
            rows, instead="the health formula", rng=np.random.default_rng(1)
        )
    }


def in_segment(rows: MaturedRows, key: str, probability: np.ndarray) -> MaturedRows:
    return replace(rows, probability=np.where(rows.segment == key, probability, rows.probability))


def test_a_good_model_is_better_everywhere():
    assert findings(rows_of()) == {
        EVERYONE: "better",
        "segment mid": "better",
        "segment small": "better",
    }


def test_a_model_that_stopped_working_in_one_segment_is_found_there():
    rows = rows_of()
    turned = in_segment(rows, "segment small", 1 - rows.probability)
    assert findings(turned)["segment small"] == "worse"
    assert findings(turned)["segment mid"] == "better"


def test_promises_that_are_off_count_where_those_of_the_other_are_not():
    rows = rows_of(n_accounts=1200)
    # it ranks better, so the log loss alone does not decide; it promises two thirds of what came
    logit = np.log(rows.probability / (1 - rows.probability))
    rate = np.full(4800, rows.outcome.mean())
    low = replace(rows, probability=sigmoid(logit - 0.5), instead=rate)
    (everyone,) = (
        one
        for one in segment_findings(low, instead="the base rate", rng=np.random.default_rng(1))
        if one.key == EVERYONE
    )
    assert everyone.loss_gap is not None
    assert everyone.loss_gap.high < 0
    assert everyone.finding == "worse"
    assert "times as many as promised happened" in everyone.because


def test_a_difference_that_does_not_matter_withholds_nothing():
    rows = rows_of(n_accounts=1200)
    logit = np.log(rows.probability / (1 - rows.probability))
    near = replace(rows, instead=rows.probability, probability=sigmoid(logit + 1e-9))
    assert "worse" not in findings(near).values()


def test_when_both_are_off_alike_nobody_is_blamed():
    rows = rows_of(more=0.8)
    same = replace(rows, instead=sigmoid(np.log(rows.probability / (1 - rows.probability))))
    assert "worse" not in findings(same).values()


def test_a_model_that_equals_the_other_is_seldom_found_worse():
    found = []
    for seed in range(40):
        rows = rows_of(seed, 250)
        rng = np.random.default_rng(seed)
        noise = 0.4 * rng.normal(size=(2, 250))[:, rows.account]
        logit = np.log(rows.probability / (1 - rows.probability))
        even = replace(
            rows, probability=sigmoid(logit + noise[0]), instead=sigmoid(logit + noise[1])
        )
        found.append("worse" in findings(even).values())
    assert np.mean(found) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 40)


def test_too_few_accounts_judge_nothing():
    assert findings(rows_of(n_accounts=30)) == {}


def test_without_anything_that_answers_instead_nothing_is_found():
    assert set(findings(replace(rows_of(), instead=None)).values()) == {"unclear"}


def test_only_the_newest_cutoffs_judge_a_segment():
    rows = rows_of(1)
    ages_ago = replace(rows, probability=1 - rows.probability)
    newer = [replace(rows, cutoff=rows.cutoff + MONTHS), replace(rows, cutoff=rows.cutoff + 6)]
    joined = MaturedRows(
        **{
            name: np.concatenate([getattr(part, name) for part in (ages_ago, *newer)])
            if name != "horizon"
            else 30
            for name in MaturedRows.__dataclass_fields__
        }
    )
    assert len(np.unique(joined.recent.cutoff)) == RECENT_CUTOFFS
    assert set(findings(joined).values()) == {"better"}


@pytest.mark.parametrize(("rate", "n_accounts"), [(0.0, 60), (0.02, 60), (0.1, 150)])
def test_the_interval_of_observed_over_expected_holds_the_truth(rate, n_accounts):
    """Whole accounts stay or leave together: rows of one say the same thing four times."""
    held = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        left = rng.random(n_accounts) < max(rate, 0.01)
        account = np.repeat(np.arange(n_accounts), MONTHS)
        y, p = left[account].astype(float), np.full(len(account), max(rate, 0.01))
        draws = account_draws(account, 200, rng)
        ratio = came_over_promised(y, p, account, draws, level=0.95)
        held.append(ratio.low <= 1 <= ratio.high)
    assert np.mean(held) >= 0.93  # 0.95 but for 200 companies and 200 draws


def test_all_that_was_promised_and_came_is_told():
    rows = rows_of()
    told = judge_matured(rows, {"immature": 7}, level=0.95, rng=np.random.default_rng(1))
    assert told.ratio is not None
    assert told.ratio.low < 1 < told.ratio.high
    assert not told.is_off
    assert told.left_out == {"immature": 7}
    assert (told.n_rows, told.n_accounts) == (1600, 400)


def test_promises_that_did_not_come_are_told():
    told = judge_matured(rows_of(more=1.5), {}, level=0.95, rng=np.random.default_rng(1))
    assert told.is_off


def test_without_rows_nothing_is_told():
    rows = rows_of().where(np.zeros(1600, dtype=bool))
    told = judge_matured(rows, {"immature": 1600}, level=0.95, rng=np.random.default_rng(1))
    assert (told.n_rows, told.ratio, told.log_loss, told.is_off) == (0, None, None, False)
