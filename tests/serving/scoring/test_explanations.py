from __future__ import annotations

import re

import polars as pl
import pytest
from health_of_points import health_of_points

from features.catalogue.catalogue import load_catalogue
from features.health.formula import FORMULAS
from features.health.score import score_health
from serving.scoring.explanations import (
    LEAST_PEERS,
    TERM,
    TERM_WORD,
    PeerGroup,
    comparison,
    health_reasons,
    peer_words,
    peers_of,
    reason_text,
)

CATALOGUE = {feature.name: feature for feature in load_catalogue().features}
CAUSAL_WORDS = ("because", "caused", "due to", "leads to", "drives")


def test_a_value_is_said_in_the_features_own_phrase():
    assert reason_text("errors_7d", 14.0, CATALOGUE) == "14 errors in the last 7 days"
    assert reason_text("errors_7d", 1.0, CATALOGUE) == "1 error in the last 7 days"


def test_an_unknown_value_is_said_to_be_unknown():
    assert reason_text("errors_7d", None, CATALOGUE).startswith("Not known: errors met")


def test_a_column_without_a_declaration_is_still_said():
    assert reason_text("column_of_ours", 41.5, CATALOGUE) == "column of ours: 41.5"
    assert reason_text("health_score", 41.5, CATALOGUE) == "Health is 42 of 100 by the formula"
    assert reason_text("health_score", None, CATALOGUE) == "Health score: not known"


@pytest.mark.parametrize(
    ("days", "sentence"),
    [
        (0.0, "Renews today"),
        (1.0, "1 day to the renewal"),
        (12.0, "12 days to the renewal"),
        (-3.0, "The renewal date passed 3 days ago"),
    ],
)
def test_a_renewal_is_said_as_people_say_it(days, sentence):
    assert reason_text("days_to_renewal", days, CATALOGUE) == sentence


@pytest.mark.parametrize(
    ("value", "median", "sentence"),
    [
        (14.0, 2.0, "2 is usual on this plan"),
        (2.0, 9.0, "9 is usual on this plan"),
        (2.2, 2.0, "usual on this plan"),
        (None, 2.0, None),
    ],
)
def test_the_comparison_is_with_the_middle_of_similar_accounts(value, median, sentence):
    group = PeerGroup(where="on this plan", medians={"errors_7d": median})
    assert comparison("errors_7d", value, CATALOGUE, [group]) == sentence


def test_the_comparison_has_the_format_of_the_phrase():
    group = PeerGroup(where="on this plan", medians={"error_rate_7d": 0.0213})
    assert comparison("error_rate_7d", 0.1, CATALOGUE, [group]) == "2.1% is usual on this plan"


def test_without_a_group_nothing_is_compared():
    assert comparison("errors_7d", 3.0, CATALOGUE, []) is None


def snapshot(rows: int, plan: str | None = "starter", segment: str | None = "small"):
    return pl.DataFrame(
        {
            "account_id": [f"a{n}" for n in range(rows)],
            "segment": [segment] * rows,
            "price_plan": [plan] * rows,
            "contract_status": ["active"] * rows,
            "errors_7d": [float(n) for n in range(rows)],
        },
        schema_overrides={"segment": pl.String, "price_plan": pl.String},
    )


def test_the_most_similar_group_that_is_large_enough_comes_first():
    frame = pl.concat(
        [snapshot(LEAST_PEERS), snapshot(LEAST_PEERS, segment="large"), snapshot(5, segment="tiny")]
    )
    peers = peers_of(frame, CATALOGUE)
    enough = peers.of({"segment": "small", "price_plan": "starter"})
    assert enough[0].where == "in this segment and plan"
    assert enough[0].medians["errors_7d"] == 9.5
    few = peers.of({"segment": "tiny", "price_plan": "starter"})
    assert few[0].where == "on this plan"
    nothing = peers.of({"segment": None, "price_plan": None})
    assert [g.where for g in nothing] == ["among all accounts"]


def test_accounts_that_renewed_come_before_all_of_a_kind():
    frame = pl.concat(
        [
            snapshot(LEAST_PEERS).with_columns(renewals_count=pl.lit(2.0), errors_7d=pl.lit(1.0)),
            snapshot(LEAST_PEERS).with_columns(renewals_count=pl.lit(0.0), errors_7d=pl.lit(9.0)),
            snapshot(LEAST_PEERS, segment="new").with_columns(renewals_count=pl.lit(0.0)),
        ]
    )
    peers = peers_of(frame, CATALOGUE)
    first, second, *_ = peers.of({"segment": "small", "price_plan": "starter"})
    assert first.where == "among accounts of this segment and plan that renewed"
    assert (first.medians["errors_7d"], second.medians["errors_7d"]) == (1.0, 5.0)
    none_renewed, *_ = peers.of({"segment": "new", "price_plan": "starter"})
    assert none_renewed.where == "in this segment and plan"


def test_accounts_are_compared_with_those_of_the_same_term_where_terms_differ():
    monthly, yearly, odd = (
        snapshot(n).with_columns(term_months=pl.lit(months), errors_7d=pl.lit(errors))
        for n, months, errors in ((LEAST_PEERS, 1.0, 9.0), (30, 12.0, 1.0), (2, 24.0, 5.0))
    )
    peers = peers_of(pl.concat([monthly, yearly, odd]), CATALOGUE)
    found = {
        months: peers.of(peer_words({"segment": "small", "price_plan": "starter"}, {TERM: months}))
        for months in (1.0, 12.0, 24.0, None)
    }
    of_term, mixed = "in this segment, plan and term", "in this segment and plan"
    assert [(found[m][0].where, found[m][0].medians["errors_7d"]) for m in found] == [
        (of_term, 9.0),
        (of_term, 1.0),
        (mixed, 1.0),  # two are too few
        (mixed, 1.0),
    ]
    said = comparison("errors_7d", 12.0, CATALOGUE, found[1.0])
    assert said == "9 is usual in this segment, plan and term"
    alike = peers_of(yearly, CATALOGUE)  # all of one term: nothing to tell apart
    words = peer_words({"segment": "small", "price_plan": "starter"}, {TERM: 12.0})
    assert alike.of(words)[0].where == mixed
    assert not any(members for kind, members in alike.groups.items() if TERM_WORD in kind.columns)


def test_a_date_is_compared_with_nobodys():
    group = PeerGroup(where="on this plan", medians={"days_to_renewal": 40.0, "seats": 9.0})
    assert comparison("days_to_renewal", 12.0, CATALOGUE, [group]) is None
    assert comparison("seats", 12.0, CATALOGUE, [group]) == "9 is usual on this plan"


def test_accounts_that_left_are_nobodys_peers():
    frame = pl.concat(
        [
            snapshot(LEAST_PEERS),
            snapshot(LEAST_PEERS).with_columns(
                contract_status=pl.lit("ended"), errors_7d=pl.lit(1000.0)
            ),
        ]
    )
    assert peers_of(frame, CATALOGUE).of({})[0].medians["errors_7d"] == 9.5


def test_too_few_accounts_are_compared_with_nobody():
    assert peers_of(snapshot(LEAST_PEERS - 1), CATALOGUE).of({"price_plan": "starter"}) == ()


def test_the_formulas_reasons_are_what_each_part_takes_away():
    health = score_health(
        FORMULAS["balanced"],
        {
            "days_since_activity": 12.0,
            "adoption_depth_28d": 0.35,
            "nps_last": 4.0,
            "invoice_days_overdue": 0.0,
            "invoices_failed_90d": 0.0,
        },
    )
    found = health_reasons(health)
    assert {r.feature for r in found.signals} == {"usage", "satisfaction", "engagement"}
    assert [r.points for r in found.signals] == sorted(
        (r.points for r in found.signals), reverse=True
    )
    assert {r.points_unit for r in found.signals} == {"health points"}
    assert sum(r.points for r in found.signals) == pytest.approx(100 - health.score)
    assert found.start is None


def test_unknown_parts_leave_the_formulas_reasons_to_the_known_ones():
    health = score_health(
        FORMULAS["balanced"], {"days_since_activity": 12.0, "adoption_depth_28d": 0.35}
    )
    found = health_reasons(health)
    assert health.known_weight == 70
    assert sum(r.points for r in found.signals) == pytest.approx(100 - health.score)


def test_a_part_that_is_only_shown_takes_nothing_where_nothing_else_is_known():
    shown = [
        (formula, part.name)
        for formula in FORMULAS.values()
        for part in formula.components
        if part.weight == 0
    ]
    assert shown
    for formula, name in shown:
        assert health_reasons(health_of_points(formula, {name: 20.0})).top(5) == ()


def test_an_account_of_which_nothing_is_known_has_no_reasons():
    assert health_reasons(score_health(FORMULAS["balanced"], {})).signals == ()


@pytest.mark.parametrize(("said", "word"), [(0.0, "no"), (0.5, "maybe"), (1.0, "yes")])
def test_the_intent_to_renew_is_told_in_words(said, word):
    text = f'The latest answer to whether they mean to renew is "{word}"'
    assert reason_text("renewal_intent", said, CATALOGUE) == text
    usual = PeerGroup(where="on this plan", medians={"renewal_intent": 1.0})
    assert comparison("renewal_intent", 0.0, CATALOGUE, (usual,)) == '"yes" is usual on this plan'


def test_nothing_is_taken_from_a_health_score_that_there_is_not():
    silent = score_health(FORMULAS["balanced"], {"days_since_activity": 138.0})
    assert silent.score is None
    assert silent.components[0].points == 0
    assert health_reasons(silent).signals == ()


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_no_reason_claims_a_cause(name):
    texts = [reason_text(name, 3.0, CATALOGUE), reason_text(name, None, CATALOGUE)]
    assert not [w for w in CAUSAL_WORDS for text in texts if w in text.lower()]


SEVERAL = re.compile(r"(?<![\d.,])1 (?:[a-z]+ )?(?!(?:was|is)\b)(?:[a-z-]*[^s]s|people)\b")
"""One of a thing, said as if there were several."""

every_feature = pytest.mark.parametrize("feature", load_catalogue().features, ids=lambda f: f.name)


@every_feature
def test_one_of_anything_is_said_in_the_singular(feature):
    text = reason_text(feature.name, 1.0, {feature.name: feature})
    assert not SEVERAL.search(text), text


@every_feature
def test_none_of_anything_is_not_said_as_a_zero(feature):
    assert not re.match(r"0 [a-z]", reason_text(feature.name, 0.0, {feature.name: feature}))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("days_to_first_use", 0.0, "First used on the day it joined"),
        ("days_to_first_use", 1.2, "First used 1 day after it joined"),
        ("days_to_first_use", 9.0, "First used 9 days after it joined"),
        (
            "feature_value_28d",
            724.0,
            "Work recorded with a value adds up to 724 in the last 28 days",
        ),
        (
            "active_days_trend_28d",
            None,
            "Not known: active days compared with those of the 28 days before",
        ),
        ("incidents_felt_90d", 1.0, "1 incident felt in the last 90 days"),
        ("renewals_count", 0.0, "No renewals so far"),
        ("billing_months", 1.0, "Billed every month"),
        ("term_months", 1.0, "A term of a month"),
        ("term_months", 24.0, "A term of 24 months"),
        ("billing_months", 12.0, "Billed every 12 months"),
    ],
)
def test_a_success_manager_can_read_it(name, value, text):
    assert reason_text(name, value, CATALOGUE) == text
