"""What the policy is told about an account is what its score says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from experiments.policy import Limits
from features.catalogue import catalogue
from features.feast_store import WorkspaceFeatures
from features.health import FORMULAS
from registry.playbook import playbook
from serving.champions import champions
from serving.decisions import NO_FACTS, account_state, recommendation
from serving.scoring import AccountScore, score_accounts

CATALOGUE = {feature.name: feature for feature in catalogue().features}


@pytest.fixture(scope="module")
def near_its_limit(shared_workspace, store) -> AccountScore:
    frame = WorkspaceFeatures(shared_workspace).online(["acct-01"])
    (score,) = score_accounts(frame, champions(store), catalogue=CATALOGUE,
                              formula=FORMULAS["003"], now=frame["as_of"][0],
                              max_age=timedelta(days=35), currency="USD")
    full = {"seat_utilisation_28d": 0.95, "limit_utilisation_28d": 0.95, "severe_tickets_open": 0.0}
    return replace(score, features={**score.features, **full})


def recommended(score: AccountScore) -> set[str]:
    answer = recommendation(score, NO_FACTS, (), playbook=playbook(), limits=Limits(),
                            now=score.as_of, phrases={}, alert_words={})
    objectives = {action.id: action.objective for action in playbook().actions}
    return {objectives.get(candidate.action_id, "none") for candidate in answer.ranked}


def test_the_tier_of_the_score_reaches_the_policy(near_its_limit):
    for tier in ("low", "critical", None):
        state = account_state(replace(near_its_limit, risk_tier=tier), NO_FACTS, ())
        assert state.risk_tier == tier


def test_an_account_about_to_leave_is_not_sold_more(near_its_limit):
    for tier in ("low", "medium", None):
        assert "expand" in recommended(replace(near_its_limit, risk_tier=tier))
    for tier in ("high", "critical"):
        assert "expand" not in recommended(replace(near_its_limit, risk_tier=tier))
