from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from health_of_points import health_of_points
from hypothesis import given
from hypothesis import strategies as st

from features.alerts.alert import AlertError, Reading, compute_figures, raise_alerts
from features.alerts.rules import ALERTS, FIGURES, Bound, Case
from features.catalogue.catalogue import FEATURES
from features.health.formula import FORMULAS
from features.health.score import score_health

AS_OF = datetime(2026, 3, 9, 8, tzinfo=UTC)
WEEK = timedelta(days=7)
FORMULA = FORMULAS["balanced"]

RULES = {rule.id: rule for rule in ALERTS}

every_rule = pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule.id)


def reading(
    score: float | None = None,
    *,
    as_of: datetime = AS_OF,
    tier: str | None = None,
    **features: float | None,
) -> Reading:
    health = (
        score_health(FORMULA, {})
        if score is None
        else health_of_points(FORMULA, {c.name: score for c in FORMULA.components})
    )
    return Reading(as_of=as_of, health=health, features=features, attributes={"service_tier": tier})


def a_week_ago(score: float | None = None, **features: float | None) -> Reading:
    return reading(score, as_of=AS_OF - WEEK, **features)


def ids(alerts) -> list[str]:
    return [alert.id for alert in alerts]


SEED_RULES = {
    "health_fell_20pct",
    "health_fell_10pts",
    "health_below_60",
    "health_below_40",
    "errors_above_p95",
    "onboarding_stalled",
    "invoice_unpaid",
    "sponsor_silent",
    "usage_halved",
    "payment_failed",
    "ticket_negative",
    "cancel_intent",
    "sign_usage_drop",
    "sign_support_spike",
    "sign_negative_feedback",
    "sign_feature_requests",
    "login_none_30d",
    "feature_unused_7d",
    "pattern_high_value",
    "known_issue",
    "milestone_overdue",
}


def test_every_warning_sign_of_the_documents_is_a_rule():
    assert {rule.id for rule in ALERTS} >= SEED_RULES


def test_every_rule_has_an_id_of_its_own():
    assert len({rule.id for rule in ALERTS}) == len(ALERTS)


@every_rule
def test_a_rule_reads_declared_features_or_figures(rule):
    assert rule.figures <= {feature.name for feature in FEATURES} | set(FIGURES)


@every_rule
def test_the_words_of_a_rule_name_a_figure_that_its_case_reads(rule):
    for case in rule.cases:
        known = {bound.figure: 3.0 for bound in case.bounds} | {"health_score": 3.0}
        assert "3" in case.words.format(**known)


@every_rule
def test_a_rule_is_answered_by_actions_that_there_are(rule, pytestconfig):
    table = tomllib.loads(
        (pytestconfig.rootpath / "registry" / "playbook" / "actions.toml").read_text(
            encoding="utf-8"
        )
    )
    assert rule.responses
    assert set(rule.responses) <= {action["id"] for action in table["action"]}


@every_rule
def test_a_rule_names_its_source_and_is_silent_only_for_one_at_least_as_urgent(rule):
    assert all(RULES[worse].urgency >= rule.urgency for worse in rule.silent_while)


def test_the_table_is_ordered_by_what_is_told_first():
    assert ALERTS[0].id == "cancel_intent"
    assert max(rule.urgency for rule in ALERTS[1:]) < ALERTS[0].urgency


@pytest.mark.parametrize(("days", "urgency"), [(0.0, 4), (120.0, 4), (121.0, 2), (300.0, 2)])
def test_a_renewal_refused_is_for_today_when_it_is_near_and_else_for_this_week(days, urgency):
    alert, *others = raise_alerts(reading(renewal_intent_pending=0.0, days_to_renewal=days))
    assert (alert.id, alert.urgency, others) == ("renewal_refused", urgency, [])


@every_rule
def test_a_case_is_never_more_urgent_than_its_rule(rule):
    assert all((case.urgency or rule.urgency) <= rule.urgency for case in rule.cases)


def test_nothing_known_raises_nothing():
    assert raise_alerts(reading()) == ()


HEALTH_EDGES = [
    (80, 64, ["health_fell_20pct"]),  # exactly a fifth, 16 points
    (80, 64.1, ["health_fell_10pts"]),
    (90, 80, []),  # exactly 10 points
    (90, 79.9, ["health_fell_10pts"]),
    (48, 38.4, ["health_below_40"]),  # a fifth, under 10 points
    (61, 59.9, ["health_below_60"]),
    (61, 60, []),
    (41, 40, ["health_below_60"]),
    (41, 39.999, ["health_below_40"]),
    (62, 39, ["health_below_40"]),
    (78, 59, ["health_fell_20pct"]),
    (69, 58, ["health_fell_10pts"]),
    (50, 90, []),
    (0, 0, ["health_below_40"]),
]


@pytest.mark.parametrize(("before", "now", "raised"), HEALTH_EDGES)
def test_health_rules_at_their_edges(before, now, raised):
    """One fall is one notice: the worst, which names the fall and where it ended."""
    assert ids(raise_alerts(reading(now), a_week_ago(before))) == raised


CASES = [
    ("said no", {"renewal_intent_pending": 0.0, "days_to_renewal": 40.0}, ["renewal_refused"]),
    (
        "said no long before",
        {"renewal_intent_pending": 0.0, "days_to_renewal": 121.0},
        ["renewal_refused"],
    ),
    ("said maybe", {"renewal_intent_pending": 0.5, "days_to_renewal": 40.0}, []),
    ("said no, and it is over", {"renewal_intent_pending": 0.0, "days_to_renewal": -1.0}, []),
    ("notice passed", {"days_to_notice": -3.0, "days_to_renewal": 27.0}, ["notice_passed"]),
    ("last day of notice", {"days_to_notice": 0.0, "days_to_renewal": 30.0}, []),
    ("renewed since", {"days_to_notice": -40.0, "days_to_renewal": -10.0}, []),
    ("errors", {"errors_over_p95_1d": 1.0, "error_rate_1d": 0.021}, ["errors_above_p95"]),
    ("errors within the budget", {"errors_over_p95_1d": 9.0, "error_rate_1d": 0.02}, []),
    ("errors not above the usual", {"errors_over_p95_1d": 0.0, "error_rate_1d": 0.3}, []),
    ("stalled", {"onboarding_stall_hours": 0.1}, ["onboarding_stalled"]),
    ("72 hours are not over", {"onboarding_stall_hours": 0.0}, []),
    ("unpaid", {"invoice_days_overdue": 0.5, "invoices_failed_90d": 0.0}, ["invoice_unpaid"]),
    ("paid", {"invoice_days_overdue": 0.0, "invoices_unpaid": 0.0, "invoices_failed_90d": 1.0}, []),
    (
        "unpaid, and another one paid since",
        {"invoice_days_overdue": 0.0, "invoices_unpaid": 1.0, "invoices_failed_90d": 0.0},
        ["invoice_unpaid"],
    ),
    (
        "failed and open",
        {"invoice_days_overdue": 0.5, "invoices_failed_90d": 1.0},
        ["payment_failed"],
    ),
    (
        "failed, and another one paid since",
        {"invoice_days_overdue": 0.0, "invoices_unpaid": 1.0, "invoices_failed_90d": 1.0},
        ["payment_failed"],
    ),
    (
        "halved",
        {"use_trend_7d": 0.5, "feature_uses_month_to_last_week_28d": 80.0},
        ["usage_halved"],
    ),
    ("halved from little", {"use_trend_7d": 0.1, "feature_uses_month_to_last_week_28d": 79.0}, []),
    ("not quite halved", {"use_trend_7d": 0.51, "feature_uses_month_to_last_week_28d": 80.0}, []),
    ("falling", {"use_trend_28d": 0.69}, ["sign_usage_drop"]),
    ("falling at the edge", {"use_trend_28d": 0.7}, []),
    (
        "halved and falling",
        {"use_trend_7d": 0.5, "feature_uses_month_to_last_week_28d": 80.0, "use_trend_28d": 0.5},
        ["usage_halved"],
    ),
    ("falling to nothing", {"days_since_login": 31.0, "use_trend_28d": 0.0}, ["login_none_30d"]),
    ("a cross ticket", {"ticket_sentiment_lowest_7d": -0.25}, ["ticket_negative"]),
    ("neutral tickets", {"ticket_sentiment_lowest_7d": -0.24}, []),
    ("does not mean to leave", {"cancellations_pending": 0.0}, []),
    ("means to leave", {"cancellations_pending": 1.0}, ["cancel_intent"]),
    ("spike", {"ticket_spike_28d": 2.0, "tickets_28d": 3.0}, ["sign_support_spike"]),
    ("no spike", {"ticket_spike_28d": 1.9, "tickets_28d": 9.0}, []),
    ("spike of two", {"ticket_spike_28d": 6.0, "tickets_28d": 2.0}, []),
    ("detractor", {"nps_last": 6.0, "survey_answers_90d": 1.0}, ["sign_negative_feedback"]),
    ("passive", {"nps_last": 7.0, "survey_answers_90d": 1.0}, []),
    ("detractor of long ago", {"nps_last": 0.0, "survey_answers_90d": 0.0}, []),
    ("two stars", {"csat_last": 2.0, "survey_answers_90d": 1.0}, ["sign_negative_feedback"]),
    ("three stars", {"csat_last": 3.0, "survey_answers_90d": 1.0}, []),
    (
        "a request without an answer",
        {"feature_requests_unanswered": 1.0},
        ["sign_feature_requests"],
    ),
    ("requests answered", {"feature_requests_unanswered": 0.0, "feature_requests_90d": 9.0}, []),
    ("no login", {"days_since_login": 30.1}, ["login_none_30d"]),
    ("a login 30 days ago", {"days_since_login": 30.0}, []),
    ("no activity", {"days_since_activity": 31.0, "days_since_login": None}, ["login_none_30d"]),
    (
        "never active",
        {"active_days_90d": 0.0, "account_age_days": 31.0, "onboarding_steps_done": None},
        ["login_none_30d"],
    ),
    ("new and not active yet", {"active_days_90d": 0.0, "account_age_days": 30.0}, []),
    (
        "features given up",
        {"features_unused_7d": 3.0, "features_used_28d": 4.0, "days_since_activity": 7.0},
        ["feature_unused_7d"],
    ),
    (
        "fewer features given up",
        {"features_unused_7d": 3.0, "features_used_28d": 4.1, "days_since_activity": 7.0},
        [],
    ),
    (
        "two features given up",
        {"features_unused_7d": 2.0, "features_used_28d": 2.0, "days_since_activity": 7.0},
        [],
    ),
    (
        "all given up with the product",
        {"features_unused_7d": 4.0, "features_used_28d": 4.0, "days_since_activity": 7.1},
        [],
    ),
    ("half of the plan in use", {"adoption_depth_28d": 0.5, "days_since_activity": 1.0}, []),
    (
        "much unused",
        {"adoption_depth_28d": 0.49, "days_since_activity": 7.0},
        ["feature_unused_7d"],
    ),
    ("much unused and silent", {"adoption_depth_28d": 0.1, "days_since_activity": 7.1}, []),
    ("deep and growing", {"adoption_depth_28d": 0.7, "use_trend_28d": 1.2}, ["pattern_high_value"]),
    ("deep and not growing", {"adoption_depth_28d": 0.7, "use_trend_28d": 1.19}, []),
    ("growing and not deep", {"adoption_depth_28d": 0.69, "use_trend_28d": 2.0}, []),
    ("an incident goes on", {"incidents_open": 1.0, "incidents_felt_90d": 1.0}, ["known_issue"]),
    ("the incident is over", {"incidents_open": 0.0, "incidents_felt_90d": 1.0}, []),
    ("an incident whose end nobody tells", {"incidents_felt_90d": 1.0}, ["known_issue"]),
    ("no incident", {"incidents_felt_90d": 0.0}, []),
    ("milestone", {"milestones_overdue_now": 1.0}, ["milestone_overdue"]),
    ("milestone done", {"milestones_overdue_now": 0.0, "milestones_overdue": 1.0}, []),
    ("silent sponsor", {"sponsor_silence_days": 60.1}, ["sponsor_silent"]),
    ("sponsor of a small account", {"sponsor_silence_days": 60.0}, []),
    ("a sponsor left", {"sponsors_left_90d": 1.0, "sponsor_silence_days": 2.0}, ["sponsor_silent"]),
    ("no sponsor left", {"sponsors_left_90d": 0.0, "sponsor_silence_days": 2.0}, []),
    ("the last champion left", {"champions_left_90d": 1.0, "champions": 0.0}, ["sponsor_silent"]),
    ("one champion of two left", {"champions_left_90d": 1.0, "champions": 1.0}, []),
    ("there never was a champion", {"champions_left_90d": 0.0, "champions": 0.0}, []),
]


@pytest.mark.parametrize(
    ("features", "raised"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_rules_on_features(features, raised):
    assert ids(raise_alerts(reading(**features))) == raised


def test_every_rule_is_seen_raised():
    seen = {rule for *_, raised in (*CASES, *HEALTH_EDGES) for rule in raised}
    assert seen == {rule.id for rule in ALERTS}


@every_rule
def test_every_case_of_a_rule_is_seen_to_hold_and_to_fail(rule):
    """So both sides of every threshold are tried."""
    seen = [compute_figures(reading(**features), None) for _, features, _ in CASES]
    seen += [
        compute_figures(reading(tier=tier, sponsor_silence_days=float(days)), None)
        for tier, days, _ in SPONSORS
    ]
    seen += [compute_figures(reading(now), a_week_ago(before)) for before, now, _ in HEALTH_EDGES]
    for case in rule.cases:
        assert {"holds", "fails"} <= {case.verdict(figures) for figures in seen}, case.words


SPONSORS = [
    ("enterprise", 31, True),
    ("mid-market", 31, True),
    ("mid_market", 31, True),
    ("enterprise", 30, False),
    ("small business", 31, False),
    (None, 31, False),
    (None, 61, True),
]


@pytest.mark.parametrize(("tier", "days", "raised"), SPONSORS)
def test_a_sponsor_is_expected_sooner_in_larger_accounts(tier, days, raised):
    now = reading(tier=tier, sponsor_silence_days=float(days))
    assert ids(raise_alerts(now)) == (["sponsor_silent"] if raised else [])


def test_an_alert_says_the_number_and_what_answers_it():
    [alert] = raise_alerts(reading(days_since_login=44.2))
    assert alert.words == "nobody logged in for 44 days"
    assert alert.responses == ("winback_1",)
    assert (alert.source, alert.as_of) == ("small-team#login-frequency", AS_OF)


def test_the_most_urgent_alert_comes_first():
    now = reading(50, cancellations_pending=1.0, feature_requests_unanswered=1.0)
    alerts = raise_alerts(now, a_week_ago(90))
    assert ids(alerts) == [
        "cancel_intent",
        "health_fell_20pct",
        "sign_feature_requests",
    ]


def test_a_worse_alert_speaks_for_the_milder_one():
    assert ids(raise_alerts(reading(35))) == ["health_below_40"]
    assert ids(raise_alerts(reading(45))) == ["health_below_60"]


def test_before_the_first_contract_only_what_concerns_prospects_is_a_sign():
    silent_and_cross = {"days_since_login": 90.0, "ticket_sentiment_lowest_7d": -0.8}
    now = reading(30, **silent_and_cross)
    assert ids(raise_alerts(now)) == ["health_below_40", "login_none_30d", "ticket_negative"]
    prospect = replace(now, attributes={"contract_status": "none"})
    assert ids(raise_alerts(prospect)) == ["ticket_negative"]
    on_trial = replace(now, attributes={"contract_status": "trial"})
    assert ids(raise_alerts(on_trial)) == ids(raise_alerts(now))


def test_one_fall_of_health_is_one_notice_that_says_from_what_and_to_what():
    [alert] = raise_alerts(reading(33), a_week_ago(60))
    assert alert.words == "health fell by 45% in a week, to 33 of 100"
    [still_low] = raise_alerts(reading(33), a_week_ago(34))
    assert still_low.words == "health is 33 of 100"


numbers = st.one_of(
    st.none(),
    st.sampled_from([0.0, 0.5, 1.0, 3.0, 7.0, 30.0, 31.0, 61.0, 90.0]),
    st.floats(-1, 120),
)
READ = sorted(set().union(*(rule.figures for rule in ALERTS)) - set(FIGURES))
readings = st.builds(
    lambda score, features: reading(score, **features),
    st.one_of(st.none(), st.floats(0, 100)),
    st.fixed_dictionaries(dict.fromkeys(READ, numbers)),
)


@given(now=readings)
def test_no_alert_is_raised_beside_one_that_speaks_for_it(now):
    raised = ids(raise_alerts(now))
    assert len(set(raised)) == len(raised)
    assert not any(set(RULES[alert].silent_while) & set(raised) for alert in raised)


def test_scores_of_two_formula_versions_are_not_compared():
    other = FORMULAS["adoption_led"]
    before = Reading(
        as_of=AS_OF - WEEK,
        features={},
        health=health_of_points(other, {c.name: 95.0 for c in other.components}),
    )
    assert compute_figures(reading(70), before)["health_fall"] is None


@pytest.mark.parametrize(
    ("days", "compared"), [(5.9, False), (6, True), (7, True), (8, True), (8.1, False), (28, False)]
)
def test_only_a_reading_of_a_week_ago_is_compared(days, compared):
    before = reading(90, as_of=AS_OF - timedelta(days=days))
    fall = compute_figures(reading(70), before)["health_fall"]
    assert fall == (20 if compared else None)


def test_a_later_reading_is_refused_as_the_earlier_one():
    with pytest.raises(AlertError, match="is not earlier than that of 2026-03-09 08:00"):
        raise_alerts(reading(50), reading(60))


def test_only_incidents_that_are_new_since_a_week_ago_count():
    now = reading(incidents_felt_90d=2.0)
    assert ids(raise_alerts(now, a_week_ago(incidents_felt_90d=1.0))) == ["known_issue"]
    assert ids(raise_alerts(now, a_week_ago(incidents_felt_90d=2.0))) == []
    assert ids(raise_alerts(now, a_week_ago(incidents_felt_90d=3.0))) == []


def test_an_incident_whose_end_is_told_is_over_for_a_fact():
    over = reading(incidents_open=0.0, incidents_felt_90d=5.0)
    assert ids(raise_alerts(over, a_week_ago(incidents_felt_90d=1.0))) == []


def test_a_case_fails_for_sure_when_one_bound_fails_whatever_else_is_unknown():
    case = Case((Bound("a", ">", 1), Bound("b", ">", 1)), "words")
    assert case.verdict({"a": 1.0, "b": None}) == "fails"
    assert case.verdict({"a": 2.0, "b": None}) == "unknown"
    assert case.verdict({"a": 2.0, "b": 2.0}) == "holds"
