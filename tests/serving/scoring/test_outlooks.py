from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue.catalogue import load_catalogue
from features.health.formula import FORMULAS
from features.store.feast import WorkspaceFeatures
from serving.scoring.models_served import champions
from serving.scoring.outlooks import growth_by_renewal, other_outlooks, renewal_outlook
from serving.scoring.score import AccountScore, HorizonProbability, Models
from serving.scoring.scored_columns import score_accounts


@pytest.fixture(scope="module")
def frame(shared_workspace):
    return WorkspaceFeatures(shared_workspace).online([f"acct-{n:02d}" for n in range(48)])


@pytest.fixture(scope="module")
def models(store):
    return champions(store)


@pytest.fixture(scope="module")
def scored(frame, models):
    def scored(using: Models = models, *, days_later: float = 0) -> list[AccountScore]:
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
    return next(s for s in scored() if not s.has_left and s.churn_probability_90d is not None)


def with_renewal(score: AccountScore, days: float | None) -> AccountScore:
    curve = tuple(HorizonProbability(horizon_days=h, probability=h / 1000) for h in (30, 60, 90))
    return replace(score, churn=curve, features={**score.features, "days_to_renewal": days})


@pytest.mark.parametrize(
    ("days", "within"), [(0, 30), (29.9, 30), (30, 60), (59, 60), (60, 90), (89.99, 90)]
)
def test_leaving_at_the_renewal_is_leaving_by_the_horizon_that_holds_it(one, days, within) -> None:
    found = renewal_outlook(with_renewal(one, days))
    assert found.note is None
    assert found.at is not None
    assert (found.at.horizon_days, found.at.probability) == (within, within / 1000)


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (None, "No renewal date is known."),
        (-3, "The renewal date passed 3 days ago, and no new one is known."),
        (90, "The renewal is 90 days away, not within the 90 days for which a chance is given."),
        (400, "The renewal is 400 days away, not within the 90 days for which a chance is given."),
    ],
    ids=["unknown", "past", "at the end", "far"],
)
def test_where_the_date_can_not_be_reached_it_is_not_estimable(one, days, said) -> None:
    found = renewal_outlook(with_renewal(one, days))
    assert (found.at, found.note) == (None, said)


@given(st.floats(0, 89), st.floats(0, 89))
def test_a_later_renewal_is_never_less_likely_to_be_the_end(one, a, b) -> None:
    near, far = (renewal_outlook(with_renewal(one, days)).at for days in sorted((a, b)))
    assert near is not None
    assert far is not None
    assert near.probability <= far.probability


def test_an_ended_contract_and_an_unscored_account_have_no_renewal_to_predict(one) -> None:
    ended = replace(with_renewal(one, 10), attributes={"contract_status": "ended"})
    assert renewal_outlook(ended).note == "The contract has ended."
    blank = replace(
        with_renewal(one, 10), churn=(HorizonProbability(horizon_days=30, probability=None),)
    )
    assert renewal_outlook(blank).note == ("No chance to leave is given for this account.")


def test_without_a_model_the_other_outcomes_are_unknown_and_say_why(scored) -> None:
    for score in scored():
        for name, outlook in other_outlooks(score).items():
            assert outlook.at is None
            assert outlook.note is not None
            if name == "trial_conversion" and not score.has_left:
                assert outlook.note == "It is not in a trial."
            elif not score.has_left and "silent for" not in outlook.note:
                assert outlook.note == f"No {name.replace('_', ' ')} model has been promoted."


def test_other_outcomes_are_shown_where_a_model_serves(scored, models) -> None:
    both = {"contraction": models.expansion, "silent_churn": models.expansion}
    served = replace(models, others=both)
    shown = 0
    for score in scored(served):
        for name, outlook in other_outlooks(score).items():
            idle = score.features.get("days_since_activity")
            if score.has_left:
                assert outlook.note == "The contract has ended."
            elif name == "trial_conversion":
                assert outlook.note == "It is not in a trial."
            elif name == "silent_churn" and idle is not None and idle > 30:
                assert outlook.note == f"It has been silent for {idle:.0f} days already."
            else:
                assert outlook.note is None
                assert score.expansion is not None
                assert outlook.at == score.expansion
                shown += 1
    assert shown > 20


def test_old_features_say_nothing_of_other_outcomes(scored, models) -> None:
    served = replace(models, others={"contraction": models.expansion})
    for score in scored(served, days_later=40):
        assert other_outlooks(score)["contraction"].at is None


def test_an_account_shows_its_renewal_and_other_outcomes(client) -> None:
    rows = client.get("/v1/accounts").json()["items"]
    said = client.get(f"/v1/accounts/{rows[0]['account_id']}").json()
    assert set(said["renewal"]) == {"days_to_renewal", "probability", "risk_tier", "note"}
    assert said["contraction"]["probability"] is None
    assert said["contraction"]["note"]
    at = said["renewal"]["probability"]
    if at is not None:
        assert at in said["churn"]


def rising(score: AccountScore, days: float | None) -> AccountScore:
    """The account with chances to expand of a tenth of a percent a day."""
    curve = tuple(
        HorizonProbability(horizon_days=h, probability=h / 1000, low=h / 2000, high=h / 500)
        for h in (30, 60, 90, 365)
    )
    return replace(
        score,
        growth=curve,
        expansion_note=None,
        features={**score.features, "days_to_renewal": days},
    )


@pytest.mark.parametrize(("days", "within"), [(0, 30), (30, 60), (100, 365)])
def test_growing_by_the_renewal_is_read_off_the_curve_of_expansion(one, days, within) -> None:
    found = growth_by_renewal(rising(one, days))
    assert found.at is not None
    assert (found.at.horizon_days, found.at.probability) == (within, within / 1000)


def test_growing_by_the_renewal_says_why_it_is_not_known(one) -> None:
    assert growth_by_renewal(rising(one, 400)).note == (
        "The renewal is 400 days away, not within the 365 days for which a chance is given."
    )
    unknown = replace(rising(one, 10), growth=(), expansion_note="There is no expansion model.")
    assert growth_by_renewal(unknown).note == "There is no expansion model."
    assert growth_by_renewal(unknown).days_to_renewal == 10


def test_every_horizon_of_expansion_is_served_rises_and_is_money(scored, models) -> None:
    seen = 0
    for score in scored():
        if not score.growth:
            assert score.expansion_note
            continue
        seen += 1
        chances = [at.probability for at in score.growth]
        assert [at.horizon_days for at in score.growth] == list(models.expansion.model.horizons)
        assert chances == sorted(chances)
        assert score.expansion == score.growth_at(90)
        for at in score.growth:
            money = score.expected_growth(at).expected
            assert money == pytest.approx(at.probability * score.expansion_amount * 12)
    assert seen > 20


def test_the_api_says_growth_by_horizon_and_by_the_renewal(client) -> None:
    rows = client.get("/v1/accounts").json()["items"]
    known = 0
    for row in rows[:10]:
        said = client.get(f"/v1/accounts/{row['account_id']}").json()
        by_horizon = said["expansion_by_horizon"]
        at_90 = next((a for a in by_horizon if a["horizon_days"] == 90), None)
        if at_90 is None:
            assert said["expansion_note"]
            continue
        known += 1
        assert at_90["probability"] == said["expansion"]["probability"]
        assert at_90["expected_expansion"] == said["expected_expansion"]
        assert at_90["expected_expansion_low"] == said["expected_expansion_low"]
        at = said["renewal_expansion"]["probability"]
        assert at is None or at["probability"] in [a["probability"] for a in by_horizon]
    assert known > 5
