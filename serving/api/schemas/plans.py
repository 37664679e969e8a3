"""The shape of a plan on the wire: the team that is sent, the week that comes.

The same words as the team's file of ``keepwell plan``; everything in it is bounded.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from experiments.planning.infeasibility import LimitConflict
from experiments.planning.plan import Plan
from experiments.planning.team import (
    HOURS_OF_A_WEEK,
    MOST_HOURS_OF_A_POOL,
    Budget,
    Care,
    Csm,
    Pool,
    Team,
)
from registry.playbook.actions import Channel, Role
from serving.api.schemas.wire_model import Answer, Number, Request, Whole

MOST_CSMS, MOST_POOLS, MOST_BUDGETS, MOST_TIERS, MOST_TERRITORIES = 500, 50, 50, 50, 200
MOST_WAITING = 100_000
LARGEST_AMOUNT = 1e12

Name = Annotated[str, Field(min_length=1, max_length=200)]
Territories = Annotated[
    list[Name],
    Field(max_length=MOST_TERRITORIES, description="Regions of accounts; none listed: anywhere."),
]


class CsmRequest(Request):
    """A customer success manager: hours of this week and what may be done with them."""

    id: Name = Field(description="As accounts name their CSM.")
    hours: Number = Field(ge=0, le=HOURS_OF_A_WEEK)
    skills: list[Role] = Field(
        default=["csm"], min_length=1, max_length=20, description="Owner roles of actions."
    )
    territories: Territories = Field(default=[])


class PoolRequest(Request):
    """Hours that several people share."""

    id: Name
    hours: Number = Field(ge=0, le=MOST_HOURS_OF_A_POOL)
    skills: list[Role] = Field(min_length=1, max_length=20, description="Owner roles of actions.")
    territories: Territories = Field(default=[])


class BudgetRequest(Request):
    """Money of this week, in the currency of the workspace."""

    id: Name
    amount: Number = Field(ge=0, le=LARGEST_AMOUNT)
    channels: list[Channel] = Field(
        default=[], max_length=20, description="Of actions that draw on it; none listed: all."
    )
    territories: Territories = Field(default=[])


class CareRequest(Request):
    """So many accounts of a service tier get an action this week, worth it or not."""

    tier: Name
    accounts: Whole = Field(ge=0, le=1_000_000)


class PlanRequest(Request):
    """A team and its week."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "csms": [
                        {"id": "csm-1", "hours": 30, "territories": ["EMEA"]},
                        {"id": "csm-2", "hours": 20, "skills": ["csm", "sales"]},
                    ],
                    "pools": [
                        {"id": "support~~service", "hours": 60, "skills": ["support", "billing"]}
                    ],
                    "budgets": [{"id": "offers", "amount": 5000, "channels": ["offer"]}],
                    "care": [{"tier": "enterprise", "accounts": 0}],
                    "actions_per_account": 1,
                    "most_waiting": 100,
                }
            ]
        }
    )

    csms: list[CsmRequest] = Field(default=[], max_length=MOST_CSMS)
    pools: list[PoolRequest] = Field(default=[], max_length=MOST_POOLS)
    budgets: list[BudgetRequest] = Field(default=[], max_length=MOST_BUDGETS)
    care: list[CareRequest] = Field(default=[], max_length=MOST_TIERS)
    actions_per_account: Whole = Field(default=1, ge=1, le=50)
    keep: bool = Field(
        default=False,
        description="Whether this is the plan of the week, whose prices of an hour "
        "the page of reports shows.",
    )
    most_waiting: Whole = Field(
        default=1000,
        ge=0,
        le=MOST_WAITING,
        description="How many of the actions that wait are listed, most valuable first.",
    )

    def team(self) -> Team:
        """The team as the plan takes it.

        Raises:
            PlanningError: somebody is listed twice, or nobody is.
        """
        return Team(
            csms=tuple(
                Csm(
                    id=c.id, hours=c.hours, skills=tuple(c.skills), territories=tuple(c.territories)
                )
                for c in self.csms
            ),
            pools=tuple(
                Pool(
                    id=p.id, hours=p.hours, skills=tuple(p.skills), territories=tuple(p.territories)
                )
                for p in self.pools
            ),
            budgets=tuple(
                Budget(
                    id=b.id,
                    amount=b.amount,
                    channels=tuple(b.channels),
                    territories=tuple(b.territories),
                )
                for b in self.budgets
            ),
            care=tuple(Care(tier=c.tier, accounts=c.accounts) for c in self.care),
            actions_per_account=self.actions_per_account,
        )

    def field_of(self, conflict: LimitConflict) -> str:
        """The field of this request whose limit has part in a conflict."""
        if conflict.limit == "care":
            return f"care[{[each.tier for each in self.care].index(conflict.id)}].accounts"
        if conflict.limit == "budget":
            return f"budgets[{[each.id for each in self.budgets].index(conflict.id)}].amount"
        csms = [each.id for each in self.csms]
        if conflict.id in csms:
            return f"csms[{csms.index(conflict.id)}].hours"
        return f"pools[{[each.id for each in self.pools].index(conflict.id)}].hours"


class PlannedAnswer(Answer):
    """One action of the week."""

    account_id: str
    action_id: str
    by: str | None = Field(description="A CSM or a pool; null: it takes no hours of anybody.")
    hours: float
    cost: float
    value: float = Field(description="Money on a cautious count, what the hours cost taken off.")
    is_new_csm: bool = Field(description="true: the account had no CSM, and gets this one.")
    csm: str | None
    propensity: float = Field(description="Probability to be planned; 1: no lot was drawn.")
    lottery: str | None = Field(description="The lot that was drawn; null: none.")


class WaitingAnswer(Answer):
    """An action that would pay and is not in the plan."""

    account_id: str
    action_id: str
    value: float
    why: str


class HoursAnswer(Answer):
    """The week of one CSM or pool."""

    id: str
    available: float = Field(description="Hours.")
    planned: float = Field(description="Hours.")
    price: float = Field(description="Money that one more hour would add to the plan.")


class MoneyAnswer(Answer):
    """One budget of the week."""

    id: str
    available: float
    planned: float
    price: float = Field(description="Money that one more unit of money would add to the plan.")


class TendedAnswer(Answer):
    """The care of one service tier."""

    tier: str
    asked: int
    tended: int
    price: float = Field(description="Money that the last account asked for costs the plan.")


class LotAnswer(Answer):
    """A draw among nearly equal offers of one action for the last hours: k of n."""

    lottery_id: str
    key_id: str
    action_id: str
    by: str
    hours: float
    k: int
    n: int
    propensity: float
    of: list[str] = Field(description="Accounts that took part.")
    drawn: list[str]


class PlanAnswer(Answer):
    """The plan of a week: who does what for which account, and why the rest waits."""

    as_of: datetime
    currency: str
    source: Literal["POST /v1/plans"]
    value: float = Field(description="Of the actions, on a cautious count.")
    bound: float = Field(description="What no plan within the limits can exceed.")
    share_of_bound: float
    actions: list[PlannedAnswer]
    waiting: list[WaitingAnswer] = Field(description="Most valuable first, `most_waiting` of them.")
    waiting_in_all: int
    hours: list[HoursAnswer]
    budgets: list[MoneyAnswer]
    care: list[TendedAnswer]
    lots: list[LotAnswer] = Field(description="Empty where no key for draws is set.")
    draws_recorded: int = Field(
        description="Accounts of these lots whose draw is now on record: 0 without `keep`, and "
        "where the draw of this week was recorded before."
    )


def plan_answer(
    plan: Plan, *, as_of: datetime, currency: str, most_waiting: int, draws_recorded: int
) -> PlanAnswer:
    """A plan as it is answered with."""
    values = plan.to_dict()
    return PlanAnswer.model_validate(
        {
            **values,
            "as_of": as_of,
            "currency": currency,
            "source": "POST /v1/plans",
            "waiting": plan.waiting.head(most_waiting).to_dicts(),
            "waiting_in_all": plan.waiting.height,
            "draws_recorded": draws_recorded,
        }
    )
