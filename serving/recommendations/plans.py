"""Plan a team's week: what the policy allows for every account, as one plan.

Turns ranked actions into the offers that ``experiments.planning`` chooses from. Stores nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from experiments.planning.options import OFFER_SCHEMA
from experiments.planning.plan import Plan, make_plan
from experiments.planning.team import Team
from experiments.policy.recommend import DO_NOTHING, Candidate
from features.workspace import Workspace
from registry.store.store import ModelStore
from serving.decisions.company_rules import SHIPPED_RULES, CompanyRules, rules_of
from serving.decisions.exploration_settings import ExplorationSettings
from serving.recommendations.recommend import ProposedDecision
from serving.recommendations.snapshot import decisions_as_of


def offers_of(
    decided: Iterable[ProposedDecision], company: CompanyRules = SHIPPED_RULES
) -> pl.DataFrame:
    """Every action that the policy recommends, with whose account it is: ``OFFER_SCHEMA``.

    The value is the cautious one, what the hours cost taken off. What is urgent or due counts as a
    little more than the best that is weighed for the account, so that the plan takes it first. A
    territory is the region.
    """
    actions = company.playbook.by_id
    return pl.DataFrame(
        [
            {
                "account_id": one.score.account_id,
                "action_id": candidate.action_id,
                "family": actions[candidate.action_id].family,
                "role": candidate.owner_role,
                "channel": candidate.channel,
                "value": value_in_plan(candidate, one.recommendation.ranked),
                "hours": candidate.value.hours,
                "cost": candidate.value.cost,
                "csm": one.score.attributes.get("csm"),
                "territory": one.score.attributes.get("region"),
                "tier": one.score.attributes.get("service_tier"),
            }
            for one in decided
            for candidate in one.recommendation.ranked
            if candidate.action_id != DO_NOTHING
        ],
        schema=OFFER_SCHEMA,
    )


FIRST = 1.0
"""Money by which what is urgent or due stands above what is weighed, in a plan."""


def value_in_plan(candidate: Candidate, ranked: Sequence[Candidate]) -> float:
    """The value by which a plan chooses among the actions of all accounts."""
    if candidate.basis == "value":
        return candidate.cautious_value
    best = max(one.cautious_value for one in ranked)  # doing nothing is among them: at least 0
    return max(best, candidate.cautious_value) + FIRST


def plan_as_of(
    workspace: Workspace,
    store: ModelStore,
    as_of: datetime,
    team: Team,
    *,
    rules: ExplorationSettings | None = None,
    asked_at: datetime | None = None,
) -> Plan:
    """The plan of the week that begins at a moment; ``asked_at`` as for ``decisions_as_of``.

    Raises:
        PlanningError: the team's limits cannot all be kept.
    """
    decided = decisions_as_of(workspace, store, as_of, rules=rules, asked_at=asked_at)
    return make_plan(
        offers_of(decided, rules_of(workspace)),
        team,
        lottery=None
        if rules is None
        else (rules.capacity_lottery([one.score for one in decided], as_of)),
    )


def document_of(plan: Plan, *, as_of: datetime, currency: str) -> dict[str, Any]:
    """A plan as plain values: the file of ``keepwell plan``."""
    return {"as_of": as_of.isoformat(), "currency": currency, **plan.to_dict()}
