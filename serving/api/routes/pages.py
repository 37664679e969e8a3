"""The addresses of pages for people."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.responses import HTMLResponse, Response

from experiments.policy.recommend import Recommendation
from registry.store.store import ModelStoreError
from serving.api.dependencies import AtCaller, AtService, family_at
from serving.api.route_problems import problems
from serving.auth.roles import PRODUCT, READ, Caller, needs
from serving.decisions.saved_plan import SavedPlanError, newest_plan
from serving.decisions.saved_reports import report_named, reports_in
from serving.http.headers import self_contained_policy
from serving.http.ledger_problems import PROBLEM_KINDS
from serving.ledger.errors import LedgerUnreachableError
from serving.ledger.feedback import FeedbackRecords
from serving.ledger.kill_switch import Control, Controls
from serving.ledger.pending_approvals import (
    DecisionAnswer,
    answers_of_account,
    pending_decisions,
)
from serving.pages.account_page import account_page, stand_still
from serving.pages.approvals_page import describe_waiting
from serving.pages.developer_pages import api_page, problems_page
from serving.pages.frame import ICON, Templates, in_navigation
from serving.pages.help_page import START, help_page
from serving.pages.model_card_page import CARD, is_served_label, model_card_page
from serving.pages.models_page import models_page, reports_page
from serving.pages.portfolio_page import RUNNING, portfolio_page, source_line
from serving.pages.views.autonomy_view import (
    Within,
    standing_of,
    stop_notices,
    with_answers,
)
from serving.pages.views.capacity_view import hours_view
from serving.pages.views.feedback_view import FeedbackView, feedback_view
from serving.problems import (
    BadCursorError,
    NotReadyError,
    UnknownAccountError,
    UnknownAddressError,
    UnknownModelCardError,
    UnknownReportError,
)
from serving.recommendations.recommend import decide
from serving.scoring.models_served import model_rows, withheld_segments, without_paths
from serving.scoring.portfolio import AccountFilter, Portfolio
from serving.state.service_state import ServiceState
from serving.timeline.days import describe_events, group_by_day, weeks_of_use

router = APIRouter(include_in_schema=False)

WEEKS_SHOWN = 26
DAYS_SHOWN = 30
MOST_EVENTS_READ = 20_000

WAY_BACK = '<p><a href="/reports">← All reports</a></p>'

Label = Annotated[str, Path(max_length=40)]
HelpName = Annotated[str, Path(max_length=200)]
Version = Annotated[int, Path(ge=1, le=1_000_000)]
Blank = BeforeValidator(lambda value: value or None)
Word = Annotated[Annotated[str, Field(max_length=200)] | None, Blank]


class PortfolioQuery(BaseModel):
    """The filters of the portfolio page; an empty one is none."""

    model_config = ConfigDict(extra="ignore")

    segment: Word = None
    tier: Word = None
    service_tier: Word = None
    csm: Word = None
    level: Word = None
    search: Word = None
    parent: Word = None
    status: Literal["running", "active", "trial", "paused", "ended", "none", "all"] = RUNNING
    cursor: str | None = Field(default=None, max_length=1000)


@router.get("/")
@needs(READ)
@problems(BadCursorError, NotReadyError)
@in_navigation("accounts", "Accounts", place=1)
def show_portfolio(
    request: Request, service: AtService, query: Annotated[PortfolioQuery, Query()]
) -> Response:
    """Accounts by revenue at risk."""
    wanted = AccountFilter(
        segment=query.segment,
        tier=query.tier,
        csm=query.csm,
        service_tier=query.service_tier,
        level=query.level,
        search=query.search,
        parent=query.parent,
    )
    portfolio = service.portfolio
    page = portfolio_page(
        portfolio,
        wanted=wanted,
        status=query.status,
        cursor=query.cursor,
        family=family_at(service, portfolio, query.parent) if query.parent else None,
        formula=service.formula,
        tenant=service.workspace.settings.tenant,
        stopped=stop_notices(_controls(service), _names(service), _within(portfolio)),
    )
    return templates_of(request).page("portfolio.html", page)


@router.get("/accounts/{account_id}")
@needs(READ)
@problems(UnknownAccountError, NotReadyError)
def show_account(
    request: Request,
    service: AtService,
    caller: AtCaller,
    account_id: Annotated[str, Path(max_length=200)],
) -> Response:
    """One account. Looking at it decides nothing: no recommendation is stored."""
    portfolio = service.portfolio
    score = portfolio.account(account_id)
    known_at = service.timelines.seen_as_of(service.now())
    events = service.timelines.events(
        account_id,
        as_of=known_at,
        since=known_at - timedelta(weeks=WEEKS_SHOWN),
        most=MOST_EVENTS_READ,
    )
    answer = decide(service, [score])[0].recommendation
    controls = _controls(service)
    segment, csm = score.attributes.get("segment"), score.attributes.get("csm")
    page = account_page(
        score,
        portfolio,
        catalogue=service.catalogue,
        formula=service.formula,
        family=family_at(service, portfolio, account_id),
        answer=answer,
        say=_judgement_form(service, caller, account_id, answer),
        held=with_answers(
            standing_of(
                answer.ranked,
                controls,
                service.company.current().playbook.by_id,
                segment=segment,
                csm=csm,
            ),
            _answers(service, account_id),
        ),
        stopped=stop_notices(controls, _names(service), Within(segments={segment}, csms={csm})),
        waits=_pending_approvals(service, account_id),
        days=group_by_day(
            describe_events(events, currency=portfolio.currency), most_days=DAYS_SHOWN
        ),
        clock=service.wall_clock(),
        weeks=weeks_of_use(
            events,
            as_of=known_at,
            weeks=WEEKS_SHOWN,
            known_since=service.timelines.known_since(account_id, as_of=known_at),
        ),
        tenant=service.workspace.settings.tenant,
    )
    return templates_of(request).page("account.html", page)


def _judgement_form(
    service: ServiceState, caller: Caller, account_id: str, answer: Recommendation
) -> FeedbackView:
    """The form to judge with, for callers who may, and earlier judgements."""
    try:
        heard = FeedbackRecords(service.ledger.database).of_account(account_id)
    except LedgerUnreachableError:
        return feedback_view(
            None, (), {}, clock=service.wall_clock()
        )  # nothing could be stored now
    may = "judge" in caller.permissions
    clock = service.wall_clock()
    return feedback_view(
        answer.ranked[0].action_id if may else None,
        heard,
        _names(service),
        clock=clock,
        data_stand_still=stand_still(answer.as_of, clock),
    )


def _pending_approvals(service: ServiceState, account_id: str) -> str:
    """What of an account waits for a person, in words."""
    try:
        waiting = pending_decisions(
            service.ledger.database, now=service.wall_clock(), accounts=[account_id]
        )
    except LedgerUnreachableError:
        return ""  # nothing can be approved now
    return describe_waiting(waiting, _names(service))


def _answers(service: ServiceState, account_id: str) -> dict[str, DecisionAnswer]:
    """What was answered already about the actions of an account."""
    try:
        return answers_of_account(
            service.ledger.database, now=service.wall_clock(), account_id=account_id
        )
    except LedgerUnreachableError:
        return {}  # nothing can be carried out now


def _controls(service: ServiceState) -> tuple[Control, ...] | None:
    """What is stopped and set; None where the ledger cannot be reached."""
    try:
        return Controls(service.ledger.database).all()
    except LedgerUnreachableError:
        return None


def _within(portfolio: Portfolio) -> Within:
    """Whose segments and CSMs there are among the accounts that are reached."""
    return Within(
        segments={score.attributes.get("segment") for score in portfolio.scores},
        csms={score.attributes.get("csm") for score in portfolio.scores},
    )


def _names(service: ServiceState) -> dict[str, str]:
    return {one.id: one.name for one in service.company.current().playbook.actions}


@router.get("/models")
@needs(PRODUCT)
@problems(NotReadyError)
@in_navigation("models", "Models", place=3)
def show_models(request: Request, service: AtService) -> Response:
    """The models beside their baselines."""
    rows, refusals = model_rows(service.store)
    portfolio = service.portfolio
    page = models_page(
        rows,
        refusals,
        withheld=withheld_segments(service.workspace, rows),
        source=source_line(portfolio),
        tenant=service.workspace.settings.tenant,
    )
    return templates_of(request).page("models.html", page)


@router.get("/models/{label}/{version}")
@needs(PRODUCT)
@problems(UnknownModelCardError)
def show_model_card(
    request: Request, service: AtService, label: Label, version: Version
) -> Response:
    """The card of one version, as its training wrote it."""
    card = _stored_file(service, label, version, CARD).decode()
    page = model_card_page(
        card, label=label, version=version, tenant=service.workspace.settings.tenant
    )
    return templates_of(request).page("model_card.html", page)


@router.get("/models/{label}/{version}/plots/{name}")
@needs(PRODUCT)
@problems(UnknownModelCardError)
def show_model_plot(
    service: AtService,
    label: Label,
    version: Version,
    name: Annotated[str, Path(pattern=r"^[a-z_0-9]{1,80}\.png$")],
) -> Response:
    """A picture that the training of one version stored."""
    return Response(_stored_file(service, label, version, f"plots/{name}"), media_type="image/png")


def _stored_file(service: ServiceState, label: str, version: int, name: str) -> bytes:
    """A file that a training stored under a name.

    Raises:
        UnknownModelCardError: it is not there, or the store does not answer.
    """
    try:
        found = (
            service.store.load_document(label, version, name) if is_served_label(label) else None
        )
    except ModelStoreError as error:
        raise UnknownModelCardError(without_paths(str(error))) from error
    if found is None:
        raise UnknownModelCardError("Nothing of this name is kept of this version.")
    return found


@router.get("/reports")
@needs(PRODUCT)
@in_navigation("reports", "Reports", place=4)
def show_reports(request: Request, service: AtService, caller: AtCaller) -> Response:
    """The causal reports; for callers who reach every account, what one more hour would bring."""
    hours = None
    if caller.reach is None and "watch" in caller.permissions:
        plan, problem = None, ""
        try:
            plan = newest_plan(service.workspace)
        except SavedPlanError as error:
            problem = str(error)
        hours = hours_view(plan, now=service.now(), problem=problem)
    page = reports_page(
        reports_in(service.workspace.reports_dir),
        hours=hours,
        tenant=service.workspace.settings.tenant,
    )
    return templates_of(request).page("reports.html", page)


@router.get("/reports/{name}")
@needs(PRODUCT)
@problems(UnknownReportError)
def show_report(service: AtService, name: Annotated[str, Path(max_length=200)]) -> Response:
    """One report as it was written, shut off from everything else but the way back."""
    written = report_named(service.workspace.reports_dir, name).page()
    return HTMLResponse(
        written.replace("<main>", f"<main>{WAY_BACK}", 1),
        headers={"content-security-policy": self_contained_policy(written)},
    )


@router.get("/problems")
@needs(PRODUCT)
def show_problems(request: Request, service: AtService) -> Response:
    """Every kind of problem the API answers with."""
    page = problems_page(PROBLEM_KINDS, tenant=service.workspace.settings.tenant)
    return templates_of(request).page("problems.html", page)


@router.get("/help")
@needs(PRODUCT)
@in_navigation("help", "Help", place=6)
def show_help_start(request: Request, service: AtService) -> Response:
    """Where the documentation starts."""
    return _help(request, service, START)


@router.get("/help/{page}")
@needs(PRODUCT)
@problems(UnknownAddressError)
def show_help(request: Request, service: AtService, page: HelpName) -> Response:
    """A page of the documentation of this version, offline."""
    return _help(request, service, page)


@router.get("/help/{folder}/{page}")
@needs(PRODUCT)
@problems(UnknownAddressError)
def show_help_of_folder(
    request: Request, service: AtService, folder: HelpName, page: HelpName
) -> Response:
    """A tutorial, how-to, explanation, reference or decision."""
    return _help(request, service, f"{folder}/{page}")


def _help(request: Request, service: ServiceState, name: str) -> Response:
    found = help_page(name, tenant=service.workspace.settings.tenant)
    if found is None:
        raise UnknownAddressError(
            f"The documentation has no page {name!r}.", next_step="GET /help lists every page."
        )
    return templates_of(request).page("help.html", found)


@router.get("/docs")
@needs(PRODUCT)
@in_navigation("api", "API", place=5)
def show_api(request: Request, service: AtService) -> Response:
    """Every address of the API with an example."""
    page = api_page(request.app.openapi(), tenant=service.workspace.settings.tenant)
    return templates_of(request).page("api.html", page)


@router.get("/assets/keepwell.svg")
@needs(PRODUCT)
def icon() -> Response:
    """The icon of a browser's tab."""
    return Response(
        ICON.read_bytes(),  # as a whole, whatever part of it a Range asks for
        media_type="image/svg+xml",
        headers={"cache-control": "public, max-age=86400"},
    )


@router.get("/assets/{name}")
@needs(PRODUCT)
@problems(UnknownAddressError)
def style_sheet(request: Request, name: str) -> Response:
    """The style sheet; its address changes with its content."""
    templates = templates_of(request)
    if name != f"keepwell-{templates.style_version}.css":
        raise UnknownAddressError("There is no such file.")
    return Response(
        templates.style,
        media_type="text/css",
        headers={"cache-control": "public, max-age=31536000, immutable"},
    )


def templates_of(request: Request) -> Templates:
    """What pages are made of."""
    templates = request.app.state.templates
    assert isinstance(templates, Templates)
    return templates
