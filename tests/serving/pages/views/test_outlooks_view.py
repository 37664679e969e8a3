from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from features.alerts.alert import Alert
from features.catalogue.catalogue import load_catalogue
from features.health.formula import FORMULAS
from features.store.feast import WorkspaceFeatures
from registry.playbook.playbook import load_playbook
from serving.pages.account_page import health_differs, signs_differ
from serving.pages.views.outlooks_view import (
    FAR_HORIZONS,
    OutlookLine,
    growth_note,
    outlook_lines,
    when_renewal_counts,
)
from serving.scoring.models_served import champions
from serving.scoring.score import AccountScore, HorizonProbability
from serving.scoring.scored_columns import score_accounts


@pytest.fixture(scope="module")
def models(store):
    return champions(store)


@pytest.fixture(scope="module")
def scored(shared_workspace, models):
    frame = WorkspaceFeatures(shared_workspace).online([f"acct-{n:02d}" for n in range(48)])

    def scored(using=models, *, days_later: float = 0) -> list[AccountScore]:
        return score_accounts(
            frame,
            using,
            catalogue=load_catalogue(),
            formula=FORMULAS["balanced"],
            now=frame["as_of"][0] + timedelta(days=days_later),
            max_age=timedelta(days=35),
            currency="USD",
        )

    return scored


@pytest.fixture(scope="module")
def one(scored) -> AccountScore:
    found = next(s for s in scored() if not s.has_left and s.churn_probability_90d is not None)
    curve = tuple(
        HorizonProbability(
            horizon_days=h, probability=h / 1000, low=h / 2000, high=h / 500, base_rate=0.05
        )
        for h in (30, 60, 90, 180)
    )
    return replace(found, churn=curve, features={**found.features, "days_to_renewal": 42.0})


def lines(score, models) -> dict[str, OutlookLine]:
    return {line.what: line for line in outlook_lines(score, models)}


def test_the_renewal_has_its_date_its_chance_and_its_source(one, models) -> None:
    line = lines(one, models)["Leaves at its renewal"]
    assert line.when == (
        "within 60 days, by 30 April 2026; the renewal is in 42 days, on 12 April 2026"
    )
    assert (line.chance, line.range) == ("6.0%", "95% interval 3.0% to 12%; average 5.0%")
    assert line.note == (
        "The chance to leave within 60 days: the shortest period we predict that includes the "
        "renewal."
    )
    assert line.source == "From churn version 1."


def test_a_served_far_horizon_is_said_and_one_that_is_not_estimable_says_why(one, models) -> None:
    reason = "16 cutoffs are too few to learn windows of 365 days. Build older snapshots."
    bundle = replace(models.churn.model, not_estimable={365: reason})
    said = lines(one, replace(models, churn=replace(models.churn, model=bundle)))
    assert said["Leaves within 180 days"].chance == "18%"
    assert said["Leaves within 180 days"].when == "by 28 August 2026"
    assert said["Leaves within 180 days"].note == ""
    year = said["Leaves within 365 days"]
    assert (year.chance, year.range, year.source) == ("not known", "", "")
    assert year.when == "by 1 March 2027"
    assert year.note == (
        "There is too little history yet to check a chance 365 days ahead. The model's card, under Models, "
        "says why."
    )


def test_a_model_that_was_not_trained_for_a_horizon_says_so(one, models) -> None:
    assert lines(one, models)["Leaves within 365 days"].note == (
        "The model in use does not look so far ahead."
    )


def test_where_the_formula_answers_the_far_says_why_the_model_does_not(scored, models) -> None:
    old = next(s for s in scored(days_later=40) if not s.has_left)
    for horizon in FAR_HORIZONS:
        assert lines(old, models)[f"Leaves within {horizon} days"].note == old.degraded
        assert "may be at most" in old.degraded


def test_an_ended_contract_has_nothing_to_come(scored, models) -> None:
    gone = next(s for s in scored() if s.has_left)
    for line in outlook_lines(gone, models):
        assert line.chance == "not known"
        assert "contract has ended" in line.note
        assert "the renewal is in" not in line.when


def test_other_outcomes_are_said_by_their_own_model_or_say_why_not(one, scored, models) -> None:
    unknown = lines(one, models)["Pays at least a tenth less"]
    assert (unknown.chance, unknown.when) == ("not known", "within 90 days")
    assert unknown.note == "No model for this is in use yet."
    shrinks = replace(models.expansion, version="contraction version 4")
    served = replace(models, others={"contraction": shrinks})
    known = next(s for s in scored(served) if s.account_id == one.account_id)
    line = lines(known, served)["Pays at least a tenth less"]
    assert line.chance.endswith("%")
    assert line.when.startswith("within 90 days, by 30 May 2026")
    assert line.source == "From contraction version 4."
    assert line.note == ""


def test_the_account_page_shows_every_outlook(client) -> None:
    page = client.get("/accounts/acct-00", headers={"Accept": "text/html"}).text
    section = page.partition('id="outlooks"')[2].partition("</section>")[0]
    for what in (
        "Leaves at its renewal",
        "Leaves within 180 days",
        "Leaves within 365 days",
        "Grows by its renewal",
        "Grows within 180 days",
        "Grows within 365 days",
        "Pays at least a tenth less",
        "Falls silent for 30 days",
    ):
        assert section.count(what) == 1
    assert section.count('class="value"') == 8


def test_where_the_contract_has_ended_nothing_else_may_come(client) -> None:
    page = client.get("/accounts/acct-47", headers={"Accept": "text/html"}).text
    assert "The contract has ended" in page
    assert 'id="outlooks"' not in page


def test_a_far_chance_to_grow_is_said_with_its_money_and_its_source(one, models) -> None:
    curve = tuple(
        HorizonProbability(horizon_days=h, probability=h / 1000, low=h / 2000, high=h / 500)
        for h in (30, 60, 90, 180)
    )
    grows = replace(one, growth=curve, expansion_note=None, expansion_amount=50.0)
    line = lines(grows, models)["Grows within 180 days"]
    assert (line.chance, line.range) == ("18%", "95% interval 9.0% to 36%")
    assert line.note == "Expected: 108 USD a year."
    assert line.source == f"From {models.expansion.version}."
    assert lines(grows, models)["Grows within 365 days"].note == (
        "The model in use does not look so far ahead."
    )
    assert lines(grows, models)["Grows by its renewal"].chance == "6.0%"
    assert lines(grows, models)["Grows by its renewal"].note == (
        "The chance to grow within 60 days: the shortest period we predict that includes the "
        "renewal."
    )


def test_where_growth_is_not_known_each_line_says_why(one, models) -> None:
    unknown = replace(one, growth=(), expansion_note="There is no expansion model.")
    for what in ("Grows within 180 days", "Grows within 365 days"):
        line = lines(unknown, models)[what]
        assert (line.chance, line.note) == ("not known", "There is no expansion model.")


def test_the_page_draws_the_chance_to_grow_by_horizon(client) -> None:
    page = client.get("/accounts/acct-01", headers={"Accept": "text/html"}).text
    card = page.partition("Chance to grow")[2].partition("</div>")[0]
    assert "bar-growth" in card
    assert "Within 90 days: " in card


def test_the_chance_at_the_renewal_stands_beside_what_is_usual_then(one, models) -> None:
    at = HorizonProbability(horizon_days=43, probability=0.29, low=0.18, high=0.44)
    ends = replace(one, at_renewal=at, usual_at_renewal=0.3)
    line = lines(ends, models)["Leaves at its renewal"]
    assert line.range == "95% interval 18% to 44%; 30% is usual with a contract like this"
    unknown = replace(ends, usual_at_renewal=None)
    assert lines(unknown, models)["Leaves at its renewal"].range == "95% interval 18% to 44%"


@pytest.mark.parametrize(
    ("days", "signs", "ends"),
    [
        (88.0, (), ""),
        (90.0, (), "actions count it already."),
        (120.0, (), "actions count it already."),
        (126.0, (), "actions count it from 7 March 2026 on, 120 days before it."),
        (126.0, ("cancel_intent",), "actions count it already."),
        (None, (), ""),
    ],
)
def test_a_far_renewal_says_from_when_it_counts(one, days, signs, ends) -> None:
    far = replace(one, features={**one.features, "days_to_renewal": days})
    text = when_renewal_counts(far, signs, load_playbook())
    assert text.endswith(ends)
    assert bool(text) == bool(ends)


def test_the_chance_to_grow_stands_beside_the_average(one) -> None:
    at = HorizonProbability(horizon_days=90, probability=0.02, low=0.01, high=0.03, base_rate=0.045)
    assert "; average of all accounts: 4.5%)" in re.sub(
        "<[^>]+>", "", str(growth_note(replace(one, growth=(at,))))
    )


@pytest.mark.parametrize(
    ("health", "tier", "renewal", "differs"),
    [
        ("healthy", "critical", 0.1, True),
        ("healthy", "low", 0.9, True),
        ("healthy", "low", 0.1, False),
        ("critical", "low", 0.1, True),
        ("critical", "critical", 0.1, False),
        ("at risk", "critical", 0.1, False),
    ],
)
def test_where_health_and_the_chance_to_leave_differ_it_is_said_what_each_is(
    one, health, tier, renewal, differs
) -> None:
    formula = FORMULAS["balanced"]
    at = HorizonProbability(horizon_days=200, probability=renewal, low=0.0, high=1.0)
    score = replace(
        one,
        explain_health=lambda: replace(one.health, band=health),
        risk_tier=tier,
        at_renewal=at,
        usual_at_renewal=0.2,
    )
    assert health in {band.name for band in formula.bands}
    assert bool(health_differs(score, formula)) == differs


@pytest.mark.parametrize(
    ("tier", "renewal", "urgency", "differs"),
    [
        ("low", 0.1, 4, True),
        ("low", 0.1, 3, False),
        ("low", 0.9, 4, False),
        ("high", 0.1, 5, False),
    ],
)
def test_an_urgent_sign_beside_a_low_chance_is_told_from_it(
    one, tier, renewal, urgency, differs
) -> None:
    at = HorizonProbability(horizon_days=200, probability=renewal, low=0.0, high=1.0)
    score = replace(one, risk_tier=tier, at_renewal=at, usual_at_renewal=0.2)
    sign = Alert(
        id="renewal_refused",
        title="Does not intend to renew",
        words="said so",
        urgency=urgency,
        responses=(),
        source="",
        as_of=one.as_of,
    )
    assert bool(signs_differ(score, (sign,))) == differs
