"""The chance to leave at the renewal is judged by how far ahead the decision lies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.backtest.renewals import RenewalBacktest, RenewalRows, judge_bands, judge_crossings
from training.backtest.report import TOO_FEW, renewal_table


def rows(**changed) -> RenewalRows:
    """Accounts 0 and 1 left in a year's term, 2 and 3 stayed; 4 left a month's and 5 stayed."""
    found = RenewalRows(
        account=np.array([0, 0, 1, 2, 3, 4, 5]),
        lead=np.array([100.0, 40.0, 40.0, 40.0, 100.0, 10.0, 10.0]),
        chance=np.array([0.2, 0.7, 0.1, 0.5, 0.05, 0.02, 0.02]),
        left=np.array([1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0]),
        mrr=np.array([50.0, 50.0, 10.0, 20.0, np.nan, 5.0, 5.0]),
        months=np.array([12.0, 12.0, 12.0, 12.0, 12.0, 1.0, 1.0]),
    )
    return replace(found, **changed)


def test_who_left_had_been_at_risk_or_came_as_a_surprise() -> None:
    found = judge_crossings(rows())
    # the mean of the year is .31, so .62 is at risk: account 0, 40 days ahead; the month has .02
    assert (found.n_left, found.n_seen, found.surprises, found.n_false) == (3, 1, 2, 0)
    assert found.median_lead == 40
    early = judge_crossings(rows(chance=np.array([0.7, 0.7, 0.1, 0.1, 0.1, 0.02, 0.02])))
    assert (early.n_seen, early.median_lead) == (1, 100)  # the first time counts


def test_a_chance_is_high_for_a_contract_of_its_length() -> None:
    quiet = rows(chance=np.array([0.3, 0.3, 0.3, 0.3, 0.3, 0.09, 0.01]))
    assert judge_crossings(quiet).n_seen == 0
    alike = rows(chance=np.array([0.3, 0.3, 0.3, 0.3, 0.3, 0.09, 0.0]))
    assert judge_crossings(alike).n_seen == 1  # .09 is twice .045, though .3 is more


def test_each_band_has_its_own_counts_and_no_quotient_of_too_few() -> None:
    near, middle, far = judge_bands(rows())
    assert [(b.low, b.high, b.n_rows, b.n_left) for b in (near, middle, far)] == [
        (0, 14, 2, 1), (30, 60, 3, 2), (90, 120, 2, 1)
    ]  # fmt: skip
    assert middle.promised == pytest.approx(1.3)
    assert near.by_count is None
    assert (
        TOO_FEW
        in renewal_table(
            RenewalBacktest(origins=(), bands=(near,), crossings=judge_crossings(rows()))
        ).rows[0]
    )


def test_a_band_of_many_is_as_good_as_what_came() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.5, 4000)
    band, = judge_bands(
        RenewalRows(
            account=np.arange(4000), lead=np.full(4000, 20.0), chance=p,
            left=(rng.random(4000) < p).astype(float), mrr=np.full(4000, 100.0),
            months=np.full(4000, 12.0),
        )
    )  # fmt: skip
    assert band.by_count.low < 1 < band.by_count.high
    assert band.by_revenue == pytest.approx(band.by_count.value)
    assert band.log_loss < band.log_loss_of_rate
    assert band.auc > 0.65
