from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
from small_company import add_model

from features.catalogue.catalogue import load_catalogue
from features.health.formula import FORMULAS
from features.store.feast import WorkspaceFeatures
from registry.bundle.linear import LinearForm
from registry.bundle.untreated_risk import (
    BY_JUDGEMENT,
    NO_LOG,
    TreatedShare,
    UntreatedRisk,
    UntreatedShift,
)
from registry.store.store import MemoryModelStore
from serving.scoring.models_served import champions
from serving.scoring.outlooks import (
    BY_FORMULA,
    NOT_LOOKED_AT,
    untreated_lines,
    untreated_outlook,
)
from serving.scoring.score import Models, ServedModel
from serving.scoring.scored_columns import score_accounts

SHARE = TreatedShare(
    rows=400,
    treated=100,
    with_outcome=40,
    treated_with_outcome=12,
    actions={"success_call": 70, "tips_email": 30},
)
HORIZONS = (30, 60, 90)


def told(bundle, *, horizons: tuple[int, ...] = HORIZONS) -> UntreatedRisk:
    """Half a unit more in log-odds, and more for who has more of the first feature."""
    n = len(bundle.contract.names)
    touch = LinearForm.plain(
        intercept=0.0,
        fill=np.zeros(n),
        center=np.zeros(n),
        scale=np.ones(n),
        coefficient=np.eye(n)[0],
    )
    return UntreatedRisk(
        shares=dict.fromkeys(HORIZONS, SHARE),
        drawn_share=0.0,
        effective_accounts=200.0,
        not_known={h: "Too few outcomes." for h in HORIZONS if h not in horizons},
        shift=UntreatedShift(
            horizons=horizons,
            shift=0.5,
            weight=0.01,
            centre=0.0,
            bounds=(-5.0, 5.0),
            covariance=((0.01, 0.0), (0.0, 0.0)),
            treatment=touch,
        ),
    )


@pytest.fixture(scope="module")
def served(churn_bundle, store):
    """The champions, with what the churn model says of untouched accounts."""

    def served(untouched: UntreatedRisk | None) -> Models:
        bundle = replace(churn_bundle, untreated_risk=untouched)
        return replace(champions(store), churn=ServedModel(model=bundle, version="churn version 1"))

    return served


@pytest.fixture(scope="module")
def frame(shared_workspace):
    return WorkspaceFeatures(shared_workspace).online([f"acct-{n:02d}" for n in range(48)])


@pytest.fixture(scope="module")
def scored(frame):
    def scored(models: Models, *, days_later: float = 0):
        return score_accounts(
            frame,
            models,
            catalogue=load_catalogue(),
            formula=FORMULAS["balanced"],
            now=frame["as_of"][0] + timedelta(days=days_later),
            max_age=timedelta(days=35),
            currency="USD",
        )

    return scored


def test_it_is_what_the_bundle_says_of_the_same_row(served, scored, frame, churn_bundle) -> None:
    models = served(told(churn_bundle))
    matrix = churn_bundle.contract.matrix(frame)
    plain = {h: churn_bundle.probability(matrix, h) for h in HORIZONS}
    bounds = {h: churn_bundle.probability_interval(matrix, h) for h in HORIZONS}
    expected = told(churn_bundle).risk(
        matrix, plain, {h: b[0] for h, b in bounds.items()}, {h: b[1] for h, b in bounds.items()}
    )
    looked_at = 0
    for row, score in enumerate(scored(models)):
        if score.has_left:
            continue
        found = untreated_outlook(score, models)
        assert [h.horizon_days for h in found.at] == list(HORIZONS)
        for at in found.at:
            assert (at.probability, at.low, at.high) == tuple(
                part[row] for part in expected[at.horizon_days]
            )
            assert at.probability > score.churn_at(at.horizon_days).probability
        for near, far in pairwise(found.at):
            assert near.probability <= far.probability
        assert found.assumption == BY_JUDGEMENT
        looked_at += 1
    assert looked_at > 20


def test_where_nothing_tells_it_is_not_known_and_never_the_plain_risk(served, scored) -> None:
    no_log = UntreatedRisk(
        shares=dict.fromkeys(HORIZONS, SHARE),
        shift=None,
        drawn_share=0.0,
        not_known=dict.fromkeys(HORIZONS, NO_LOG),
        effective_accounts=0.0,
    )
    for untouched, note in ((None, NOT_LOOKED_AT), (no_log, NO_LOG)):
        models = served(untouched)
        score = next(s for s in scored(models) if not s.has_left)
        found = untreated_outlook(score, models)
        assert (found.at, found.note) == ((), note)
        assert untreated_lines(score, models) == (f"If nobody acts: not known. {note}",)


def test_the_formula_knows_nothing_of_it(served, scored, churn_bundle) -> None:
    models = served(told(churn_bundle))
    for score in scored(models, days_later=40):
        if not score.has_left:
            assert score.source == "health_formula"
            assert untreated_outlook(score, models).note == BY_FORMULA
    missing = replace(models, churn=None)
    score = next(s for s in scored(missing) if not s.has_left)
    assert untreated_lines(score, missing) == (f"If nobody acts: not known. {BY_FORMULA}",)


def test_an_ended_contract_has_nothing_to_be_left_alone(served, scored, churn_bundle) -> None:
    models = served(told(churn_bundle))
    ended = next(s for s in scored(models) if s.has_left)
    assert untreated_outlook(ended, models).note == "The contract has ended."
    assert untreated_lines(ended, models) == ()


def test_the_page_says_it_beside_the_plain_risk(served, scored, churn_bundle) -> None:
    models = served(told(churn_bundle))
    score = next(s for s in scored(models) if not s.has_left)
    first, second = untreated_lines(score, models)
    at = untreated_outlook(score, models).at[-1]
    assert first.startswith(f"If nobody acts: {at.probability:.0%} within 90 days (95% interval ")
    assert f"as of {score.as_of:%-d}" in first
    assert second == (
        "The chance above is of accounts as they were treated: in 25% of the past cases somebody "
        f"acted. {BY_JUDGEMENT}"
    )
    short = served(told(churn_bundle, horizons=(30, 60)))
    score = next(s for s in scored(short) if not s.has_left)
    assert untreated_lines(score, short) == ("If nobody acts: not known. Too few outcomes.",)


def test_the_service_tells_it_with_its_assumption_and_the_share(
    make_client, shared_workspace, store, churn_bundle
) -> None:
    own = MemoryModelStore()
    add_model(
        own, "churn", replace(churn_bundle, untreated_risk=told(churn_bundle, horizons=(30, 60)))
    )
    client = make_client(shared_workspace, own)
    rows = client.get("/v1/accounts").json()["items"]
    account = next(row["account_id"] for row in rows if row["contract_status"] != "ended")
    said = client.get(f"/v1/accounts/{account}").json()
    risk = said["risk_if_untouched"]
    plain = {at["horizon_days"]: at["probability"] for at in said["churn"]}
    assert [at["horizon_days"] for at in risk["probabilities"]] == [30, 60]
    assert all(at["low"] < at["probability"] < at["high"] for at in risk["probabilities"])
    assert all(at["probability"] > plain[at["horizon_days"]] for at in risk["probabilities"])
    assert risk["not_known"] == {"90": "Too few outcomes."}
    assert risk["assumption"] == BY_JUDGEMENT
    assert risk["touched_labels"][2] == {
        "horizon_days": 90,
        "labels": 400,
        "touched": 100,
        "share": 0.25,
        "with_outcome": 40,
        "touched_with_outcome": 12,
        "actions": {"success_call": 70, "tips_email": 30},
    }
    assert "If nobody acts: not known. Too few outcomes." in client.get(f"/accounts/{account}").text


@pytest.mark.parametrize(
    ("shift", "why"),
    [
        (0.5, None),
        (-0.15, "may be chance, as its interval holds both"),
        (-2.0, "It is lower most likely since"),
    ],
)
def test_a_risk_that_is_lower_if_nobody_acts_says_what_to_think_of_it(
    served, scored, churn_bundle, shift, why
) -> None:
    known = told(churn_bundle)
    models = served(replace(known, shift=replace(known.shift, shift=shift)))
    score = max(
        (s for s in scored(models) if not s.has_left), key=lambda s: s.churn_probability_90d
    )
    line = untreated_lines(score, models)[1]
    assert line.startswith(
        "The chance above is of accounts as they were treated: in 25% of the past"
    )
    assert ("does not show that acting does harm" in line) == (why is not None)
    assert why is None or why in line
