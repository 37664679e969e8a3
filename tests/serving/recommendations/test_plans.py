"""A week's plan holds what the policy recommends, and nothing that it withholds."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from small_company import AS_OF

from experiments.planning.infeasibility import ConflictingLimitsError
from experiments.planning.team import Care, Csm, Pool, Team
from experiments.policy.recommend import DO_NOTHING
from serving.recommendations.plans import document_of, offers_of, plan_as_of
from serving.recommendations.snapshot import decisions_as_of

ROLES = (
    "csm",
    "ceo",
    "support",
    "billing",
    "sales",
    "marketing",
    "product",
    "sponsor",
    "automation",
)


@pytest.fixture(scope="module")
def decided(shared_workspace, store):
    return decisions_as_of(shared_workspace, store, AS_OF)


def document(workspace, store, team: Team) -> dict[str, Any]:
    return document_of(
        plan_as_of(workspace, store, AS_OF, team), as_of=AS_OF, currency=workspace.settings.currency
    )


def everybody(hours: float, **changed: object) -> Team:
    return Team(
        csms=tuple(Csm(id=f"csm-{n}", hours=hours) for n in range(3)),
        pools=(Pool(id="others", hours=hours, skills=ROLES[1:]),),
        **changed,
    )


def test_offers_are_the_ranked_actions_with_their_owners(decided) -> None:
    offers = offers_of(decided)
    ranked = {
        (one.score.account_id, c.action_id): c
        for one in decided
        for c in one.recommendation.ranked
        if c.action_id != DO_NOTHING
    }
    assert len(ranked) > 20
    assert set(offers.select("account_id", "action_id").iter_rows()) == set(ranked)
    for row in offers.iter_rows(named=True):
        candidate = ranked[row["account_id"], row["action_id"]]
        if candidate.basis == "value":
            assert row["value"] == candidate.cautious_value
        else:
            assert row["value"] > candidate.cautious_value
        assert (row["hours"], row["role"]) == (candidate.value.hours, candidate.owner_role)
    csms = {one.score.account_id: one.score.attributes.get("csm") for one in decided}
    assert all(row["csm"] == csms[row["account_id"]] for row in offers.iter_rows(named=True))
    assert offers["csm"].n_unique() >= 3


def test_with_hours_enough_every_account_gets_its_best_action(
    decided,
    shared_workspace,
    store,
) -> None:
    plan = document(shared_workspace, store, everybody(160.0))
    best = {
        one.score.account_id: one.recommendation.ranked[0].action_id
        for one in decided
        if one.recommendation.ranked[0].action_id != DO_NOTHING
    }
    assert {row["account_id"]: row["action_id"] for row in plan["actions"]} == best
    assert plan["currency"] == shared_workspace.settings.currency
    json.dumps(plan, allow_nan=False)


def test_few_hours_go_where_they_bring_most_and_have_a_price(shared_workspace, store) -> None:
    few = document(shared_workspace, store, everybody(1.0))
    enough = document(shared_workspace, store, everybody(160.0))
    assert 0 < few["value"] < enough["value"]
    for hours in few["hours"]:
        assert hours["planned"] <= 1.0 + 1e-9
    assert max(hours["price"] for hours in few["hours"]) > 0
    assert pl.DataFrame(few["waiting"])["why"].str.contains("more valuable work").any()


def test_care_for_more_accounts_than_there_are_is_refused(shared_workspace, store) -> None:
    with pytest.raises(ConflictingLimitsError, match="'enterprise' asks for 400 accounts"):
        plan_as_of(
            shared_workspace,
            store,
            AS_OF,
            everybody(160.0, care=(Care(tier="enterprise", accounts=400),)),
        )
