"""The routes of accounts: the list, one account, its score, its timeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from serving.api.dependencies import AtService, family_at
from serving.api.encoded_answers import from_portfolio, from_score
from serving.api.route_problems import problems
from serving.api.schemas.accounts import (
    ACCOUNT_ANSWER,
    AccountAnswer,
    AccountsAnswer,
    TimelineAnswer,
    TimelineEventAnswer,
)
from serving.api.schemas.scores import ScoreAnswer, ScoresAnswer, ScoresRequest
from serving.api.schemas.wire_model import EXAMPLE_ACCOUNT, Moment
from serving.api.serializers import account_answer, account_row, family_answer, score_answer
from serving.auth.roles import READ, needs
from serving.problems import (
    BadCursorError,
    FieldProblem,
    NotReadyError,
    TooManyError,
    UnknownAccountError,
    UnknownHorizonError,
    WrongShapeError,
    check_count,
)
from serving.scoring.portfolio import AccountFilter, page_of, sum_of
from serving.scoring.reasons.at_renewal import renewal_reasons
from serving.scoring.score import RISK_TIERS, TIER_HORIZON_DAYS
from serving.timeline.days import describe_events

router = APIRouter(prefix="/v1", tags=["accounts"])

AccountPath = Annotated[
    str,
    Path(
        min_length=1, max_length=200, description="Id of the account.", examples=[EXAMPLE_ACCOUNT]
    ),
]


class AccountsQuery(BaseModel):
    """Which accounts are listed, and how many at a time."""

    model_config = ConfigDict(extra="forbid")

    segment: str | None = Field(default=None, max_length=200)
    tier: str | None = Field(
        default=None, description="Risk tier: " + ", ".join(tier.name for tier in RISK_TIERS) + "."
    )
    service_tier: str | None = Field(default=None, max_length=200)
    csm: str | None = Field(default=None, max_length=200)
    level: str | None = Field(default=None, description="Health level, a band of the formula.")
    status: Literal["active", "trial", "paused", "ended", "none"] | None = Field(
        default=None, description="State of the contract."
    )
    search: str | None = Field(default=None, max_length=200, description="Part of an id or a name.")
    parent: str | None = Field(
        default=None, max_length=200, description="Id of an account: it and all accounts below it."
    )
    sort: Literal["revenue_at_risk"] = "revenue_at_risk"
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = Field(
        default=None, max_length=1000, description="next_cursor of the page before."
    )

    def wanted(self, levels: Sequence[str]) -> AccountFilter:
        """The filter, its words checked against the tables they come from."""
        _check_word("tier", self.tier, [tier.name for tier in RISK_TIERS])
        _check_word("level", self.level, levels)
        return AccountFilter(
            segment=self.segment,
            tier=self.tier,
            service_tier=self.service_tier,
            csm=self.csm,
            level=self.level,
            status=self.status,
            search=self.search,
            parent=self.parent,
        )


class ScoreQuery(BaseModel):
    """At which horizon."""

    model_config = ConfigDict(extra="forbid")

    horizon_days: int = Field(default=TIER_HORIZON_DAYS, ge=1, le=3660, examples=[90])


class TimelineQuery(BaseModel):
    """How much of a timeline."""

    model_config = ConfigDict(extra="forbid")

    since: Moment | None = Field(default=None, description="Events from this moment on.")
    limit: int = Field(default=200, ge=1, le=1000)


@router.get("/accounts", operation_id="list_accounts", summary="Accounts by revenue at risk")
@from_portfolio
@needs(READ)
@problems(BadCursorError, NotReadyError)
def list_accounts(service: AtService, query: Annotated[AccountsQuery, Query()]) -> AccountsAnswer:
    """Accounts with most revenue at risk first; pass `next_cursor` on for the next page."""
    portfolio = service.portfolio
    chosen = portfolio.chosen(query.wanted([band.name for band in service.formula.bands]))
    page = page_of(chosen, cursor=query.cursor, limit=query.limit)
    total = sum_of(chosen)
    family = family_at(service, portfolio, query.parent) if query.parent else None
    return AccountsAnswer(
        items=[account_row(score) for score in page.scores],
        next_cursor=page.next_cursor,
        as_of=portfolio.as_of,
        accounts=len(chosen),
        contract_ended=total.contract_ended,
        revenue_at_risk=total.revenue_at_risk,
        currency=portfolio.currency,
        family=family_answer(family, portfolio.currency) if family else None,
    )


@router.get(
    "/accounts/{account_id}",
    operation_id="get_account",
    summary="One account",
    response_model=ACCOUNT_ANSWER,
)
@from_portfolio
@needs(READ)
@problems(UnknownAccountError, NotReadyError)
def read_account(service: AtService, account_id: AccountPath) -> AccountAnswer:
    """Everything known of one account: probabilities, health, reasons, features, and what the
    accounts below it come to."""
    portfolio = service.portfolio
    score = portfolio.account(account_id)
    return account_answer(
        score,
        portfolio,
        family_at(service, portfolio, account_id),
        renewal_reasons(
            score,
            portfolio.models,
            peers=portfolio.peers,
            catalogue=service.catalogue,
            formula=service.formula,
        ),
    )


@router.get(
    "/accounts/{account_id}/score",
    operation_id="get_score",
    summary="The score at one horizon",
)
@from_score
@needs(READ)
@problems(UnknownAccountError, UnknownHorizonError, NotReadyError)
def read_score(
    service: AtService, account_id: AccountPath, query: Annotated[ScoreQuery, Query()]
) -> ScoreAnswer:
    """The score of one account within a horizon, with its source, its reasons and its age."""
    portfolio = service.portfolio
    return score_answer(portfolio.account(account_id), portfolio, query.horizon_days)


@router.get(
    "/accounts/{account_id}/timeline",
    operation_id="get_timeline",
    summary="The timeline",
)
@needs(READ)
@problems(UnknownAccountError, NotReadyError)
def read_timeline(
    service: AtService, account_id: AccountPath, query: Annotated[TimelineQuery, Query()]
) -> TimelineAnswer:
    """The newest events that are known of an account, newest first, each in words."""
    portfolio = service.portfolio
    portfolio.account(account_id)
    now = service.now()
    events = service.timelines.events(
        account_id, as_of=service.timelines.seen_as_of(now), since=query.since, most=query.limit
    )
    return TimelineAnswer(
        account_id=account_id,
        as_of=now,
        items=[
            TimelineEventAnswer(
                event_id=event.event_id,
                kind=event.kind,
                occurred_at=event.occurred_at,
                recorded_at=event.recorded_at,
                text=event.text,
                event_count=event.count,
                quantity=event.quantity,
                properties=dict(event.properties or {}),
            )
            for event in describe_events(events, currency=portfolio.currency)
        ],
    )


@router.post("/scores", operation_id="score_accounts", summary="Scores of several accounts")
@needs(READ)
@problems(TooManyError, UnknownHorizonError, NotReadyError)
def score_several(service: AtService, body: ScoresRequest) -> ScoresAnswer:
    """The scores of the accounts asked for; ids without one are listed under `unknown`."""
    portfolio = service.portfolio
    check_count("account ids", len(body.account_ids), service.settings.most_accounts_per_call)
    asked = list(dict.fromkeys(body.account_ids))
    return ScoresAnswer(
        as_of=portfolio.as_of,
        items=[
            score_answer(portfolio.by_id[account_id], portfolio, body.horizon_days)
            for account_id in asked
            if account_id in portfolio.by_id
        ],
        unknown=[account_id for account_id in asked if account_id not in portfolio.by_id],
    )


def _check_word(where: str, word: str | None, allowed: Sequence[str]) -> None:
    if word is not None and word not in allowed:
        message = f"should be one of {', '.join(allowed)}"
        raise WrongShapeError(
            f"{where}: {message}", errors=[FieldProblem(where=where, message=message)]
        )
