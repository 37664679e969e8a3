from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.causal.checks.protocol import CheckResult
from experiments.causal.design import Design
from experiments.causal.estimates import Estimate, Verdict, verdict_of
from experiments.causal.sentences import NO_BREAK, headline_of, money, money_sentence, points
from serving.text_format import money as money_on_a_page

DESIGN = Design(
    design_id="d",
    question="Does it?",
    action="success_call",
    intervention="calls",
    mechanism="lottery",
    estimand="ITT",
)
FAILED = CheckResult(
    name="balance",
    title="Alike before the start",
    verdict="failed",
    statistic=1.0,
    low=0.9,
    high=1.1,
    criterion="none differs",
    explanation="The arms differ in “mrr”.",
)


def estimate(low: float, high: float) -> Estimate:
    return Estimate(
        estimand="ITT",
        estimate=(low + high) / 2,
        standard_error=(high - low) / 4,
        low=low,
        high=high,
        p_value=0.5,
        n=100,
        n_treated=50,
        n_control=50,
        n_clusters=100,
    )


def headline(low: float, high: float) -> str:
    found = estimate(low, high)
    verdict: Verdict = verdict_of(found, goal="lower", smallest_effect=0.01)
    return plain(headline_of(DESIGN, found, verdict, []))


def plain(text: str) -> str:
    return text.replace(NO_BREAK, " ")


def test_an_effect_is_said_in_accounts() -> None:
    assert headline(-0.070, -0.012) == (
        "Success call works: of 100 accounts drawn for it, 4.1 fewer leave within 90 days "
        "(95% interval 1.2 to 7.0 fewer)."
    )
    assert headline(0.012, 0.070).startswith(
        "Success call harms: of 100 accounts drawn for it, 4.1 more leave"
    )


def test_reports_and_pages_say_money_in_one_form() -> None:
    for amount in (-66166.0, 0.0, 100.0, 12345.6):
        assert plain(money(amount, "USD")) == money_on_a_page(amount, "USD")
    assert plain(money(66166, "USD")) == "66,166 USD"


def test_doubt_is_said_in_doubt() -> None:
    assert headline(-0.07, 0.03) == (
        "Success call: not known. The change in churn within 90 days is −2.0 points (95% interval "
        "−7.0 to +3.0 points)."
    )


def test_no_use_is_said_only_where_it_is_shown() -> None:
    assert headline(-0.005, 0.009).startswith(
        "Success call does not work: it keeps fewer than 1 of 100 accounts"
    )


def test_judgement_only_seems() -> None:
    judged = replace(DESIGN, mechanism="judgement", estimand="ATT")
    assert headline_of(judged, estimate(-0.07, -0.01), "works", []).startswith(
        "Success call seems to work (no lottery): of 100 accounts that received it"
    )


@pytest.mark.parametrize("interval", [(-0.07, -0.01), (-0.07, 0.03), (0.01, 0.07)])
def test_a_failed_check_silences_whatever_the_number(interval: tuple[float, float]) -> None:
    found = estimate(*interval)
    verdict = verdict_of(found, goal="lower", smallest_effect=0.01)
    assert headline_of(DESIGN, found, verdict, [FAILED]) == (
        "No effect is claimed. Alike before the start: The arms differ in “mrr”."
    )


def test_money_is_total_and_net_or_says_that_the_cost_is_not_known() -> None:
    per, total = estimate(10.0, 30.0), estimate(1000.0, 3000.0)
    text = plain(
        money_sentence(
            DESIGN, per, total, cost=500.0, net=total.shifted(-500.0), n_actions=90, currency="EUR"
        )
    )
    assert "20 EUR per account (10 EUR to 30 EUR)" in text
    assert "Carrying it out 90 times cost 500 EUR; net 1,500 EUR (500 EUR to 2,500 EUR)." in text
    assert text.endswith("It pays for itself in that time.")
    unknown = money_sentence(DESIGN, per, total, cost=None, net=None, n_actions=90, currency="EUR")
    assert unknown.endswith("What the action costs is not known, so nothing is said of the net.")


@pytest.mark.parametrize(("value", "text"), [(0.0, "+0.0"), (-0.05, "−5.0"), (0.123, "+12.3")])
def test_points_have_a_sign(value: float, text: str) -> None:
    assert points(value) == text


def test_small_money_is_not_minus_nothing() -> None:
    assert plain(money(-0.3, "USD")) == "0 USD"


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (500.0, "It pays for itself"),
        (2000.0, "Whether it pays for itself"),
        (5000.0, "It costs more than it keeps"),
    ],
)
def test_an_action_may_work_and_not_pay(cost: float, words: str) -> None:
    per, total = estimate(10.0, 30.0), estimate(1000.0, 3000.0)
    text = money_sentence(
        DESIGN, per, total, cost=cost, net=total.shifted(-cost), n_actions=90, currency="EUR"
    )
    assert words in text
