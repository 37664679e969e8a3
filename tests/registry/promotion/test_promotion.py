from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from registry.promotion.level import IntervalEstimate
from registry.promotion.promotion import (
    AuditResult,
    EvidenceError,
    Gain,
    PromotionEvidence,
    clearly_worse,
    decide,
    gain,
    log_loss_rows,
    ratio_gain,
)

CLEAR = Gain(mean=0.02, low=0.01, high=0.03, confidence=0.99)
EVEN = Gain(mean=0.0, low=-0.01, high=0.01, confidence=0.5)
WORSE = Gain(mean=-0.02, low=-0.03, high=-0.01, confidence=0.01)

GOOD = PromotionEvidence(
    log_loss=0.2, log_loss_low=0.18, log_loss_high=0.22, calibration_error=0.01, n_rows=900,
    n_accounts=300, n_positives=40, over_base_rate=CLEAR, over_formula=CLEAR, over_champion=CLEAR,
    n_rows_with_champion=400, captured={20: 0.4}, captured_over={20: CLEAR},
    segments={"MRR lowest third": CLEAR, "MRR highest third": EVEN}, explanations_agreement=0.8,
    levels={"later rows, 90 days": IntervalEstimate(value=1.05, low=0.9, high=1.2)},
    base_rate_levels={"later rows, 90 days": IntervalEstimate(value=1.0, low=0.9, high=1.1)},
    slopes={"later rows, 90 days": IntervalEstimate(value=0.9, low=0.6, high=1.2)},
)  # fmt: skip
CLEAN = AuditResult(is_clean=True, sentences=("nothing was found.",))


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
    "just enough without the outcome": {"n_positives": 890},
    "just calibrated": {"calibration_error": 0.1},
    "captures as much revenue": {"captured_over": {20: EVEN}},
    "captures less, but not clearly": {"captured_over": {20: with_confidence(0.06, mean=-0.01)}},
    "no revenue known": {"captured": {}, "captured_over": {}},
    "no segment to judge": {"segments": {}},
    "a segment worse, as one of many will be": {
        "segments": {f"s{i}": EVEN for i in range(9)} | {"x": with_confidence(0.04, mean=-0.01)}
    },
    "explanations just stable": {"explanations_agreement": 0.5},
    "explanations not measured": {"explanations_agreement": None},
    "far off by chance": {"levels": {"x": IntervalEstimate(value=0.6, low=0.3, high=1.1)}},
    "off, but not far": {"levels": {"x": IntervalEstimate(value=0.85, low=0.8, high=0.9)}},
    "off like the base rate": {
        "levels": {"x": IntervalEstimate(value=0.7, low=0.6, high=0.8)},
        "base_rate_levels": {"x": IntervalEstimate(value=0.5, low=0.4, high=0.6)},
    },
    "a slope just shown": {"slopes": {"x": IntervalEstimate(value=0.5, low=-0.6, high=1.6)}},
}  # fmt: skip


@pytest.mark.parametrize("case", APPROVED)
def test_approved(case):
    promotion = decide(replace(GOOD, **APPROVED[case]), audited=CLEAN)
    assert promotion.approved, promotion.reasons
    assert len(promotion.checks) == len({check.name for check in promotion.checks}) == 11


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
    "clearly worse than the champion's kind": (
        {"over_champion": None, "over_refitted": WORSE},
        "Worse than the champion's kind of model fitted to the same rows: ",
    ),
    "too few outcomes": ({"n_positives": 9}, r"9 outcome\(s\) among 900 .* 300 accounts; .* 10 "),
    "too few without the outcome": (
        {"n_positives": 891}, r"891 outcome\(s\) among 900 .*; at least 10 with it and 10 without",
    ),
    "badly calibrated": ({"calibration_error": 0.11}, r"off by 0\.110 on average; at most 0\.100"),
    "half too high": (
        {"levels": {"later rows, 90 days": IntervalEstimate(value=0.67, low=0.55, high=0.8)}},
        r"Far from as many come as it promises .* later rows, 90 days: 0\.67 \(0\.55 to 0\.80\)",
    ),
    "half too high where the base rate is too low": (
        {
            "levels": {"x": IntervalEstimate(value=0.67, low=0.55, high=0.8)},
            "base_rate_levels": {"x": IntervalEstimate(value=1.6, low=1.4, high=1.8)},
        },
        "Far from as many come",
    ),
    "the released one half too high": (
        {"levels": {"released model, 30 days": IntervalEstimate(value=0.67, low=0.55, high=0.8)}},
        "Far from as many come as it promises .* released model, 30 days",
    ),
    "it says nothing": (
        {"slopes": {"later rows, 90 days": IntervalEstimate(value=0.1, low=-0.3, high=0.5)}},
        r"not shown to come more often, .* later rows, 90 days: 0\.10 \(-0\.30 to 0\.50\)",
    ),
    "it is far too sure": (
        {"slopes": {"x": IntervalEstimate(value=0.3, low=0.2, high=0.4)}}, "far less often than they say",
    ),
    "captures clearly less revenue": (
        {"captured_over": {20: with_confidence(0.04, mean=-0.01)}},
        r"first 20 accounts .* hold 40.0% .* a smaller share than with the champion: -1\.0%",
    ),
    "captures clearly less than the formula": (
        {"captured_over": {20: WORSE}, "over_champion": None}, "share than with the health formula",
    ),
    "clearly worse in a segment": (
        {"segments": {"MRR lowest third": WORSE, "MRR highest third": CLEAR}},
        r"Clearly worse than the champion in 1 of 2 segments, .* at 5%: MRR lowest third: .*-0\.02",
    ),
    "explanations that change": (
        {"explanations_agreement": 0.49}, r"other features: rank agreement 0\.49, .* 0\.50 is",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_reason(case):
    changes, reason = REFUSED[case]
    promotion = decide(replace(GOOD, **changes), audited=CLEAN)
    assert not promotion.approved
    (failed,) = (check for check in promotion.checks if check.outcome == "failed")
    assert re.search(reason, failed.sentence)


def test_a_leak_is_refused_whatever_else_is_said():
    audited = AuditResult(is_clean=False, sentences=("mrr_next knows the future.", "So does x."))
    promotion = decide(GOOD, audited=audited)
    assert not promotion.approved
    assert promotion.reasons[-1].endswith("not known then: mrr_next knows the future. So does x.")


def test_rows_that_could_not_be_audited_are_not_taken_for_clean():
    audited = AuditResult(is_clean=None, sentences=("The snapshots lack 3 features.",))
    promotion = decide(GOOD, audited=audited)
    assert not promotion.approved
    assert promotion.reasons[-1].endswith("audited for leaks: The snapshots lack 3 features.")


def test_what_was_not_looked_at_is_not_known_rather_than_passed():
    unmeasured = PromotionEvidence(
        log_loss=0.2, log_loss_low=0.18, log_loss_high=0.22, calibration_error=0.01, n_rows=900,
        n_accounts=300, n_positives=40, over_base_rate=CLEAR,
    )  # fmt: skip
    outcomes = {check.name: check.outcome for check in decide(unmeasured).checks}
    assert [name for name, outcome in outcomes.items() if outcome == "not known"] == [
        "better than the health formula", "not worse than the champion", "revenue captured",
        "level", "slope", "segments", "explanations", "leakage audit",
    ]  # fmt: skip


def test_all_reasons_are_given_at_once():
    bad = replace(
        GOOD, over_base_rate=WORSE, over_formula=WORSE, over_champion=WORSE, n_positives=1,
        captured_over={20: WORSE}, calibration_error=0.5, segments={"x": WORSE},
        explanations_agreement=0.0, levels={"x": IntervalEstimate(value=3.0, low=2.0, high=4.0)},
        slopes={"x": IntervalEstimate(value=0.0, low=-1.0, high=1.0)},
    )  # fmt: skip
    promotion = decide(bad, audited=AuditResult(is_clean=False, sentences=("A leak.",)))
    assert {check.outcome for check in promotion.checks} == {"failed"}


def test_the_capacity_of_the_team_counts():
    evidence = replace(GOOD, captured={5: 0.1, 50: 0.6}, captured_over={5: WORSE, 50: CLEAR})
    assert decide(evidence, capacity=50).approved
    assert not decide(evidence, capacity=5).approved
    assert "Its first 50 accounts" in decide(evidence, capacity=40).reasons[3]


def test_the_checks_are_kept_as_plain_values():
    document = json.loads(json.dumps(decide(GOOD, audited=CLEAN).document()))
    assert document["checks"][0] == {
        "name": "better than the base rate", "outcome": "passed",
        "sentence": decide(GOOD).reasons[0],
    }  # fmt: skip


# ── segments ───────────────────────────────────────────────────────────────────────────────────


def test_the_correction_steps_down():
    """The worst of three has to be below 0.05/3, the next below 0.05/2, the last below 0.05."""
    found = {"a": with_confidence(0.016, -0.1), "b": with_confidence(0.02, -0.1),
             "c": with_confidence(0.04, -0.1)}  # fmt: skip
    assert clearly_worse(found, most_false_alarms=0.05) == ("a", "b", "c")
    found["a"] = with_confidence(0.017, -0.1)
    assert clearly_worse(found, most_false_alarms=0.05) == ()


def test_models_that_are_equally_good_are_seldom_told_apart_in_a_segment():
    """Nine segments of 40 accounts each: a false alarm in about 5 % of 200 worlds."""
    world, alarms = np.random.default_rng(2), 0
    for _ in range(200):
        found = {
            str(segment): gain(np.zeros(40), world.normal(size=40), np.arange(40), world, draws=400)
            for segment in range(9)
        }
        alarms += bool(clearly_worse(found, most_false_alarms=0.05))
    assert alarms <= 24  # 5 % of 200 is 10, and a bootstrap of 40 is a little too sure


def test_a_segment_that_is_much_worse_is_found_among_many():
    world, found = np.random.default_rng(3), 0
    for _ in range(40):
        gains = {
            str(segment): gain(
                np.zeros(40),
                world.normal(-1.0 if segment == 4 else 0.0, 1, 40),
                np.arange(40),
                world,
                draws=400,
            )
            for segment in range(9)
        }
        found += "4" in clearly_worse(gains, most_false_alarms=0.05)
    assert found >= 38


def test_what_it_is_held_against_is_named():
    assert GOOD.other == "the champion"
    younger = replace(GOOD, over_champion=None, over_refitted=EVEN)
    assert younger.other == "the champion's kind of model"
    assert "share than with the champion's kind of model" in decide(younger).reasons[3]
    assert replace(GOOD, over_champion=None).other == "the health formula"


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


def test_a_ratio_is_of_sums_and_leaves_out_draws_without_anything_at_stake():
    accounts = np.array(["a", "a", "b"])
    result = ratio_gain(np.array([2.0, 0.0, 0.0]), np.array([3.0, 1.0, 0.0]), accounts, rng())
    assert result.mean == 0.5
    assert (result.low, result.high) == (0.5, 0.5)


def test_a_ratio_of_nothing_is_refused():
    with pytest.raises(EvidenceError, match="Nothing is at stake"):
        ratio_gain(np.zeros(3), np.zeros(3), np.arange(3), rng())


def test_draws_are_the_generators():
    loss, accounts = np.random.default_rng(0).normal(size=30), np.arange(30)
    assert gain(loss, -loss, accounts, rng()) == gain(loss, -loss, accounts, rng())


@pytest.mark.parametrize("rows", [(3, 2, 3), (3, 3, 2), (0, 0, 0)])
def test_rows_that_do_not_pair_are_refused(rows):
    challenger, other, accounts = (np.zeros(n) for n in rows)
    with pytest.raises(EvidenceError, match="cannot be paired"):
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
