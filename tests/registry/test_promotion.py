from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from registry.promotion import Evidence, EvidenceError, Gain, decide, gain, log_loss_rows

CLEAR = Gain(mean=0.02, low=0.01, high=0.03, confidence=0.99)
EVEN = Gain(mean=0.0, low=-0.01, high=0.01, confidence=0.5)
WORSE = Gain(mean=-0.02, low=-0.03, high=-0.01, confidence=0.01)

GOOD = Evidence(
    log_loss=0.2, log_loss_low=0.18, log_loss_high=0.22, calibration_error=0.01, n_rows=900,
    n_accounts=300, n_positives=40, over_base_rate=CLEAR, over_formula=CLEAR, over_champion=CLEAR,
)  # fmt: skip


def with_confidence(share: float, mean: float = 0.01) -> Gain:
    return Gain(mean=mean, low=-0.1, high=0.1, confidence=share)


APPROVED = {
    "clearly better": {},
    "no champion yet": {"over_champion": None},
    "the formula itself": {"over_formula": None},
    "level with the champion": {"over_champion": EVEN},
    "just confident over the base rate": {"over_base_rate": with_confidence(0.8)},
    "just confident over the formula": {"over_formula": with_confidence(0.8)},
    "not clearly worse than the champion": {"over_champion": with_confidence(0.21, mean=-0.01)},
    "just enough outcomes": {"n_positives": 10},
    "just calibrated": {"calibration_error": 0.1},
}


@pytest.mark.parametrize("case", APPROVED)
def test_approved(case):
    promotion = decide(replace(GOOD, **APPROVED[case]))
    assert promotion.approved, promotion.reasons
    assert len(promotion.reasons) == 5


REFUSED = {
    "level with the base rate": (
        {"over_base_rate": EVEN}, "Not shown to be better than the base rate: .*50% of the draws",
    ),
    "not confident over the base rate": (
        {"over_base_rate": with_confidence(0.79)}, "Not shown to be better than the base rate",
    ),
    "confident but not better over the base rate": (
        {"over_base_rate": with_confidence(0.9, mean=0.0)}, "Not shown to be better than the base",
    ),
    "worse than the formula": (
        {"over_formula": WORSE}, r"Not shown to be better than the health formula: .*-0\.0200",
    ),
    "clearly worse than the champion": (
        {"over_champion": with_confidence(0.2, mean=-0.01)}, "Worse than the champion",
    ),
    "too few outcomes": ({"n_positives": 9}, r"9 outcome\(s\) among 900 .* 300 accounts; .* 10 "),
    "badly calibrated": ({"calibration_error": 0.11}, r"off by 0\.110 on average; at most 0\.100"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_reason(case):
    changes, reason = REFUSED[case]
    promotion = decide(replace(GOOD, **changes))
    assert not promotion.approved
    assert any(re.search(reason, said) for said in promotion.reasons)


def test_the_confidence_that_is_asked_for_counts():
    evidence = replace(GOOD, over_formula=with_confidence(0.9))
    assert decide(evidence, least_confidence=0.9).approved
    assert not decide(evidence, least_confidence=0.91).approved
    doubtful = replace(GOOD, over_champion=with_confidence(0.06, mean=-0.01))
    assert decide(doubtful, least_confidence=0.95).approved
    assert not decide(doubtful, least_confidence=0.94).approved


def test_evidence_is_kept_as_plain_values():
    document = json.loads(json.dumps(replace(GOOD, over_champion=None).document()))
    assert document["over_base_rate"]["confidence"] == 0.99
    assert document["over_champion"] is None
    assert document["n_positives"] == 40


# ── the paired, clustered comparison ───────────────────────────────────────────────────────────


def rng():
    return np.random.default_rng(8)


def test_a_gain_is_positive_when_the_challenger_loses_less():
    result = gain(np.full(50, 0.1), np.full(50, 0.3), np.arange(50), rng())
    assert result.mean == pytest.approx(0.2)
    assert result.low == pytest.approx(0.2)
    assert result.high == pytest.approx(0.2)
    assert result.confidence == 1.0


def test_a_model_compared_with_itself_is_at_one_half():
    loss = np.random.default_rng(0).random(40)
    assert gain(loss, loss, np.arange(40), rng()).confidence == 0.5


def test_the_mean_is_over_rows_not_over_accounts():
    accounts = np.array(["a", "a", "a", "b"])
    result = gain(np.zeros(4), np.array([1.0, 1.0, 1.0, -1.0]), accounts, rng())
    assert result.mean == pytest.approx(0.5)
    # Two accounts are drawn: aa, ab, ba or bb, and bb is the only one with a loss.
    assert result.confidence == pytest.approx(0.75, abs=0.05)
    assert (result.low, result.high) == (-1.0, 1.0)


def test_repeated_rows_of_an_account_do_not_narrow_the_interval():
    noise = np.random.default_rng(1).normal(size=60)
    once = gain(np.zeros(60), noise, np.arange(60), rng())
    often = gain(np.zeros(600), np.repeat(noise, 10), np.repeat(np.arange(60), 10), rng())
    assert often.low == pytest.approx(once.low)
    assert often.high == pytest.approx(once.high)
    apart = gain(np.zeros(600), np.repeat(noise, 10), np.arange(600), rng())
    assert apart.high - apart.low < 0.5 * (once.high - once.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    world = np.random.default_rng(4)
    covered = 0
    for _ in range(120):
        shared = np.repeat(world.normal(0.1, 1, 80), 3) + world.normal(size=240)
        result = gain(np.zeros(240), shared, np.repeat(np.arange(80), 3), world, draws=200)
        covered += result.low <= 0.1 <= result.high
    assert 105 <= covered <= 120  # 95 % of 120 is 114, ± 3.8 standard errors


def test_draws_are_the_generators():
    loss, accounts = np.random.default_rng(0).normal(size=30), np.arange(30)
    assert gain(loss, -loss, accounts, rng()) == gain(loss, -loss, accounts, rng())


@pytest.mark.parametrize("rows", [(3, 2, 3), (3, 3, 2), (0, 0, 0)])
def test_rows_that_do_not_pair_are_refused(rows):
    challenger, other, accounts = (np.zeros(n) for n in rows)
    with pytest.raises(EvidenceError, match="can not be paired"):
        gain(challenger, other, accounts, rng())


def test_a_gain_that_is_no_number_is_refused():
    with pytest.raises(EvidenceError, match="not finite"):
        Gain(mean=float("nan"), low=0, high=0, confidence=0.5)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_confidence_outside_zero_to_one_is_refused(share):
    with pytest.raises(EvidenceError, match="between 0 and 1"):
        with_confidence(share)


def test_log_loss_of_a_row_is_minus_the_log_of_what_was_said_of_it():
    losses = log_loss_rows(np.array([1, 0, 1, 0]), np.array([0.25, 0.25, 0.0, 1.0]))
    np.testing.assert_allclose(losses[:2], [-np.log(0.25), -np.log(0.75)])
    np.testing.assert_allclose(losses[2:], 34.5, rtol=0.01)
