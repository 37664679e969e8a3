"""This module is about the shapes on the wire: what a request may hold and what an answer has.

Requests refuse fields they do not know and numbers that are not finite. Every answer states its
moment, its source and its currency. The examples here are the examples of the OpenAPI document,
and the tests send them.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from serving.settings import ServiceSettings
from serving.words import INTERVAL_COVERS

AccountId = Annotated[str, Field(min_length=1, max_length=200)]
ShortText = Annotated[str, Field(min_length=1, max_length=500)]
LARGEST_INTEGER = 2**53

MOST_ACCOUNTS = f"At most {ServiceSettings.most_accounts_per_call:,}, unless set otherwise."
MOST_EVENTS = f"At most {ServiceSettings.most_events_per_call:,}, unless set otherwise."

EXAMPLE_ACCOUNT, EXAMPLE_MOMENT = "775", "2023-03-31T10:00:00Z"
"""They work as they stand in the workspace of the CRM sample."""

EXAMPLE_DECISION, EXAMPLE_REPORT = "b3a1c1d2-7f0e-5c55-9d0e-2f4f6a1b9c3d", "report"


class Request(BaseModel):
    """A request: unknown fields and numbers that are not finite are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class Answer(BaseModel):
    """An answer."""

    model_config = ConfigDict(frozen=True)


def _is_usable(value: object) -> bool:
    """Whether a value is no number, or one that JSON and the lake can both hold exactly."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) <= LARGEST_INTEGER


# -- scores -------------------------------------------------------------------------------------


class ProbabilityAnswer(Answer):
    """A probability within a horizon; null is unknown."""

    horizon_days: int
    probability: float | None
    low: float | None = Field(description=f"Lower bound of the 95 % interval. {INTERVAL_COVERS}")
    high: float | None = Field(description=f"Upper bound of the 95 % interval. {INTERVAL_COVERS}")
    base_rate: float | None = Field(description="How often it happened among training rows.")


class ReasonAnswer(Answer):
    """One thing that goes with the score: associated with it, not shown to cause it."""

    text: str
    comparison: str | None
    feature: str
    theme: str
    value: float | None
    unit: str
    points: float = Field(description="Share of the score; positive goes with more of it.")
    points_unit: Literal["percentage points", "health points"]
    also: list[str]


class ReasonsAnswer(Answer):
    """Three lists that are never mixed. `start + rest + all points` is the probability × 100."""

    signals: list[ReasonAnswer] = Field(description="What we see the account do.")
    levers: list[ReasonAnswer] = Field(description="What an action of ours can move.")
    context: list[ReasonAnswer] = Field(description="What nobody can change.")
    start: float | None
    rest: float | None


class HealthPartAnswer(Answer):
    """One component of the health score."""

    name: str
    weight: float
    points: float | None
    measure: str


class HealthAnswer(Answer):
    """The health score of 0 to 100 by the named formula; null with too little known."""

    formula: str
    score: float | None
    level: str | None
    action: str | None
    components: list[HealthPartAnswer]
    unknown: list[str]


class FreshnessAnswer(Answer):
    """When a kind of event was last recorded in this workspace."""

    kind: str
    last_recorded_at: datetime
    age_hours: float


class ScoreAnswer(Answer):
    """The score of one account at one horizon."""

    account_id: str
    as_of: datetime
    horizon_days: int
    churn_probability: float | None
    churn_probability_low: float | None = Field(description=INTERVAL_COVERS)
    churn_probability_high: float | None = Field(description=INTERVAL_COVERS)
    base_rate: float | None
    risk_tier: str | None
    expansion_probability_90d: float | None
    expected_expansion: float | None
    health_score: float | None
    health_level: str | None
    source: Literal["model", "health_formula"]
    degraded: str | None = Field(description="Why the formula answers; null when the model does.")
    model_version: str | None
    formula: str
    mrr: float | None
    revenue_at_risk: float | None = Field(
        description="Churn probability within 90 days × MRR × 12.")
    revenue_at_risk_low: float | None
    revenue_at_risk_high: float | None
    currency: str
    reasons: ReasonsAnswer
    freshness: list[FreshnessAnswer]


class AccountRow(Answer):
    """One account of the list."""

    account_id: str
    name: str | None
    as_of: datetime
    segment: str | None
    price_plan: str | None
    service_tier: str | None
    csm: str | None
    contract_status: str | None
    churn_probability_90d: float | None
    churn_probability_90d_low: float | None = Field(description=INTERVAL_COVERS)
    churn_probability_90d_high: float | None = Field(description=INTERVAL_COVERS)
    expansion_probability_90d: float | None
    risk_tier: str | None
    health_score: float | None
    level: str | None
    source: Literal["model", "health_formula"]
    degraded: str | None
    model_version: str | None
    mrr: float | None
    revenue_at_risk: float | None
    expected_expansion: float | None
    currency: str
    top_reason: str | None


class ParentAnswer(Answer):
    """The account that this one names as its parent."""

    account_id: str
    name: str | None
    is_scored: bool = Field(
        description="false: it sends nothing itself; GET /v1/accounts?parent= has its accounts.")


class FamilyFigureAnswer(Answer):
    """One number of a parent and all below it together."""

    feature: str
    description: str
    unit: str
    value: float | None
    at_least: float | None = Field(
        description="Of different people, who may be in two accounts, only bounds are known.")
    at_most: float | None
    how: str = Field(description="How it comes from the numbers of the accounts.")
    known_of: int = Field(description="Of how many of the accounts it is known.")


class FamilyMemberAnswer(Answer):
    """One account directly below a parent."""

    account_id: str
    name: str | None
    as_of: datetime
    health_score: float | None
    level: str | None
    risk_tier: str | None
    source: Literal["model", "health_formula"]
    mrr: float | None
    active_users_28d: float | None
    tickets_28d: float | None


class FamilyAnswer(Answer):
    """What a parent and all accounts below it come to, from their newest features."""

    account_id: str
    as_of: datetime = Field(description="The newest moment among its accounts.")
    oldest_as_of: datetime
    accounts: int = Field(description="How many have features: itself and all below it.")
    children: int = Field(description="How many are directly below it.")
    worst_children: list[FamilyMemberAnswer] = Field(
        description="Worst health first, unknown last; at most 100. All: "
                    "GET /v1/accounts?parent= and the id.")
    formula: str | None = Field(description="The health formula.")
    figures: list[FamilyFigureAnswer]
    features: dict[str, float | None] = Field(
        description="Every feature that follows from those of the accounts; null is unknown.")
    currency: str


class AccountsAnswer(Answer):
    """A page of accounts, most revenue at risk first."""

    items: list[AccountRow]
    next_cursor: str | None
    as_of: datetime
    accounts: int = Field(description="How many accounts pass the filter, on all pages.")
    contract_ended: int = Field(
        description="How many of them have an ended contract; they are not scored for churn.")
    revenue_at_risk: float | None = Field(
        description="The sum over the accounts where it is known; null where it is for none.")
    currency: str
    family: FamilyAnswer | None = Field(
        description="What a parent and all below it come to; null without the filter `parent`.")


class OutlookAnswer(Answer):
    """What a model of another outcome says; without a probability, the note says why."""

    probability: ProbabilityAnswer | None
    note: str | None


class GrowthAnswer(ProbabilityAnswer):
    """The chance to expand before any churn within a horizon, and what it comes to a year."""

    expected_expansion: float | None = Field(
        description="Probability × the usual rise of MRR × 12; null where the MRR is not known.")
    expected_expansion_low: float | None
    expected_expansion_high: float | None


class RenewalAnswer(Answer):
    """Whether the account leaves, or expands, by its coming renewal.

    The probability is that of the shortest served horizon that holds the renewal date.
    """

    days_to_renewal: float | None
    probability: ProbabilityAnswer | None = Field(description="null: not estimable, see the note.")
    note: str | None


class TouchedLabelsAnswer(Answer):
    """Of the labels that the model learned from: how many are of accounts that were acted on."""

    horizon_days: int
    labels: int
    touched: int
    share: float
    with_outcome: int
    touched_with_outcome: int
    actions: dict[str, int] = Field(description="By the first action.")


class UntouchedAnswer(Answer):
    """The risk if nobody acts, beside the plain one; the note says why where it is not known."""

    probabilities: list[ProbabilityAnswer] = Field(
        description="Rising with the horizon. Their interval holds the error of the plain one and "
                    "that of the difference; there is no base rate of them.")
    note: str | None
    not_known: dict[int, str] = Field(description="Horizons that are not known, with the reason.")
    assumption: str | None = Field(description="What has to be true for it to be right.")
    touched_labels: list[TouchedLabelsAnswer]


class AccountAnswer(Answer):
    """All that is known of one account."""

    account_id: str
    name: str | None
    as_of: datetime
    source: Literal["model", "health_formula"]
    degraded: str | None
    model_version: str | None
    churn: list[ProbabilityAnswer]
    risk_if_untouched: UntouchedAnswer
    expansion: ProbabilityAnswer | None = Field(description="Within 90 days.")
    expansion_by_horizon: list[GrowthAnswer] = Field(
        description="Rising with the horizon; empty where it is not known, see `expansion_note`.")
    expansion_note: str | None
    contraction: OutlookAnswer
    silent_churn: OutlookAnswer
    renewal: RenewalAnswer
    renewal_expansion: RenewalAnswer
    risk_tier: str | None
    mrr: float | None
    revenue_at_risk: float | None
    revenue_at_risk_low: float | None
    revenue_at_risk_high: float | None
    expected_expansion: float | None
    expected_expansion_low: float | None
    expected_expansion_high: float | None
    currency: str
    health: HealthAnswer
    reasons: ReasonsAnswer
    expansion_reasons: ReasonsAnswer | None
    parent: ParentAnswer | None
    family: FamilyAnswer | None = Field(
        description="What it and all accounts below it come to; null where none is.")
    attributes: dict[str, str | None]
    features: dict[str, float | None]
    freshness: list[FreshnessAnswer]


class TimelineEventAnswer(Answer):
    """One event."""

    event_id: str | None
    kind: str
    occurred_at: datetime
    recorded_at: datetime
    text: str
    event_count: int
    quantity: float | None
    properties: dict[str, str | float | bool]


class TimelineAnswer(Answer):
    """The newest events of an account that were known at `as_of`, newest first."""

    account_id: str
    as_of: datetime
    items: list[TimelineEventAnswer]


class ScoresRequest(Request):
    """Which accounts to score."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"account_ids": [EXAMPLE_ACCOUNT]}]})

    account_ids: list[AccountId] = Field(min_length=1, description=MOST_ACCOUNTS)
    horizon_days: int = Field(default=90, ge=1, le=3660)


class ScoresAnswer(Answer):
    """The scores in the order asked, and what is not known."""

    as_of: datetime
    items: list[ScoreAnswer]
    unknown: list[str]


# -- decisions ----------------------------------------------------------------------------------


class NextActionsRequest(Request):
    """For which accounts to recommend; all with most revenue at risk when left out."""

    model_config = ConfigDict(json_schema_extra={"examples": [
        {"account_ids": [EXAMPLE_ACCOUNT], "limit": 3}]})

    account_ids: list[AccountId] | None = Field(default=None, min_length=1,
                                                description=MOST_ACCOUNTS)
    limit: int = Field(default=20, ge=1, le=1000,
                       description="How many accounts, most revenue at risk first.")
    actions_per_account: int = Field(default=5, ge=1, le=50)


class BeliefAnswer(Answer):
    """What an action changes for the account, in probability points: playbook and data, mixed."""

    effect: float
    effect_low: float = Field(description="With effect_high, of the 95 % interval.")
    effect_high: float
    playbook_share: float
    data_share: float
    n: int = Field(description="Cases that were measured; 0: the playbook stands alone.")
    effective_n: float
    strength: float = Field(description="Of the playbook's prior, in accounts.")
    measured: float | None = Field(description="The data alone; null: nothing was measured.")
    measured_low: float | None
    measured_high: float | None
    measured_grade: str | None
    measured_from: datetime | None
    measured_to: datetime | None
    segment: str | None
    source: str | None


class CandidateAnswer(Answer):
    """One action that may be done now, or doing nothing."""

    action: str
    name: str
    text: str
    why: str
    objective: str
    channel: str
    owner_role: str
    expected_value: float = Field(description="Money it is expected to bring after costs.")
    cautious_value: float = Field(description="What we dare to count on; ranks the list.")
    uplift: float = Field(description="Probability points, after fatigue.")
    at_stake: float
    margin: float = Field(description="Share of revenue that is left; 1 where a worth is stated.")
    benefit: float = Field(description="Uplift × at stake × margin.")
    cost: float = Field(description="Outlay, what is given away and what the hours cost.")
    hours: float
    hours_cost: float
    contacts_28d: int = Field(description="Contacts of the last four weeks before it.")
    fatigue: float = Field(description="Share of the effect that those contacts use up.")
    belief: BeliefAnswer | None = Field(description="What the uplift comes from; null: no action.")
    evidence_grade: str
    evidence: str
    playbook_share: float = Field(
        description="How much of the belief is the playbook's prior; 1 is all.")
    deadline: datetime | None
    max_autonomy: int
    sequence: str | None
    look_first: list[str]


class WithheldAnswer(Answer):
    """An action that was brought up and held back, and why."""

    action: str
    name: str
    stage: str = Field(description="Where it dropped out: eligibility, suitability, "
                                   "put_off, contact_policy, value, conflicts, rank or chance.")
    reason: str
    why: str
    allowed_from: datetime | None = Field(
        description="By the clock of the service for the reasons put_off and quiet_hours, on the "
                    "time of the data, which may stand still, for all others.")
    until: str


class LotInfo(Answer):
    """A draw between nearly equal actions, which decided what comes first."""

    lottery_id: str
    key_id: str = Field(description="Of the key that the draw can be redone with.")
    of: list[str] = Field(description="Actions that took part; each had the same probability.")
    drawn: list[str]


class HoldoutInfo(Answer):
    """Where the account stands in the holdout of its contract term."""

    is_held_out: bool
    until: datetime | None = Field(description="null: when the term ends is not known.")
    lottery_id: str
    key_id: str
    otherwise: str = Field(description="What would have come first on the other side.")


class RecommendationAnswer(Answer):
    """What is recommended for one account, stored under its decision id.

    Where the ledger can not be reached there is no decision, only a suggestion: nothing was
    stored, nothing can be claimed, and a person decides.
    """

    decision_id: str | None = Field(description="null: the ledger can not be reached; suggestion.")
    valid_until: datetime | None = Field(description="By the clock of the service; after it the "
                                                     "decision can not be claimed.")
    autonomy: int = Field(description="How far the action may go by itself now, and no further: "
                                      "0 logged only, 1 suggested, 2 approved by a person, 3 "
                                      "automatic after a veto window, 4 automatic.")
    account_id: str
    as_of: datetime = Field(description="Of the features, on the time of the data.")
    decided_at: datetime = Field(description="On the time of the data, which may stand still.")
    action: str
    expected_value: float
    currency: str
    propensity: float = Field(
        description="The probability of what comes first; 1: chance had no say.")
    lot: LotInfo | None = Field(description="null: no lot was drawn.")
    holdout: HoldoutInfo | None = Field(description="null: chance has no say about the account.")
    dropped: dict[str, int] = Field(description="How many actions each stage held back.")
    source: Literal["model", "health_formula"]
    degraded: str | None
    ranked: list[CandidateAnswer]
    withheld: list[WithheldAnswer]
    notes: list[str]


class NextActionsAnswer(Answer):
    """Recommendations, one an account."""

    items: list[RecommendationAnswer]
    unknown: list[str]


class OutcomeRequest(Request):
    """What came of a decision."""

    model_config = ConfigDict(json_schema_extra={"examples": [
        {"kind": "executed", "by": "csm-17"},
        {"kind": "declined", "reason": "The account is in a re-organisation", "by": "csm-17"},
        {"kind": "outcome", "result": "renewed"},
    ]})

    kind: Literal["executed", "declined", "outcome"]
    result: ShortText | None = Field(default=None, description="Needed with `outcome`.")
    reason: ShortText | None = Field(default=None, description="Needed with `declined`.")
    by: ShortText | None = Field(default=None, description="Pseudonym of who did it.")
    occurred_at: AwareDatetime | None = Field(
        default=None, description="On the time of the data, and not after it; the moment it was "
                                  "received when left out.")

    @model_validator(mode="after")
    def _is_complete(self) -> OutcomeRequest:
        if self.kind == "outcome" and self.result is None:
            raise ValueError("an outcome needs `result`, what came of it, such as renewed")
        if self.kind == "declined" and self.reason is None:
            raise ValueError("a decision against an action needs its `reason`")
        return self


class OutcomeAnswer(Answer):
    """An outcome as it was stored."""

    outcome_id: str
    decision_id: str
    account_id: str
    action: str
    kind: Literal["executed", "declined", "outcome"]
    occurred_at: datetime = Field(description="On the time of the data.")
    received_at: datetime = Field(description="On the time of the data.")
    result: str | None
    reason: str | None
    by: str | None


# -- telemetry ----------------------------------------------------------------------------------


class EventsRequest(Request):
    """Events as rows of the telemetry schema; every row is checked by itself."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"events": [{
        "event_id": "crm-2093-77", "account_id": EXAMPLE_ACCOUNT, "kind": "survey.answered",
        "occurred_at": EXAMPLE_MOMENT, "quantity": 9,
        "properties": {"survey": "nps", "scale": "10"},
    }]}]})

    events: list[dict[str, Any]] = Field(min_length=1, description=MOST_EVENTS)

    @model_validator(mode="after")
    def _is_finite(self) -> EventsRequest:
        for number, row in enumerate(self.events):
            for name, value in row.items():
                inner = value.values() if isinstance(value, dict) else [value]
                if not all(_is_usable(one) for one in inner):
                    raise ValueError(f"events[{number}].{name[:40]} holds a number that is not "
                                     f"finite, or too large to be exact")
        return self


class EventResult(Answer):
    """What became of one row, counted from 0 as in the request."""

    row: int
    status: Literal["on_timeline", "refused", "left_out"]
    event_id: str | None
    reason: str | None


class EventsAnswer(Answer):
    """What became of every row. A row that is on the timeline is on disk; a refused row is in
    quarantine with its reason."""

    landed: int
    duplicates: int = Field(description="Identical repeats; they change nothing.")
    corrected: int
    refused: int
    left_out: int
    items: list[EventResult]


# -- what there is ------------------------------------------------------------------------------


class ActionsAnswer(Answer):
    """The playbook."""

    items: list[dict[str, Any]]
    sequences: list[dict[str, Any]]


class WithheldSegmentAnswer(Answer):
    """Accounts for which a serving model does not answer: monitoring found against it there."""

    segment: str = Field(description="`everyone`, `segment NAME` or `unknown segment`.")
    since: datetime | None = Field(description="null: the switch can not be read.")
    why: str


class ModelAnswer(Answer):
    """One version of a model. Metrics carry their interval as `name_low` and `name_high`."""

    label: str
    version: int
    run_name: str
    serving: bool
    challenger: bool
    fingerprint: str
    metrics: dict[str, float]
    card: str = Field(description="The address of its model card, a page.")
    withheld: list[WithheldSegmentAnswer]


class ModelsAnswer(Answer):
    """Every version of every model, and why a label has none that serves."""

    items: list[ModelAnswer]
    refusals: dict[str, str]


class ReportRow(Answer):
    """One report of this workspace."""

    name: str
    title: str
    headline: str | None
    written_at: datetime | None
    html: str | None
    json_url: str


class ReportsAnswer(Answer):
    """The reports, newest first."""

    items: list[ReportRow]


class StatusAnswer(Answer):
    """Whether the service works."""

    status: Literal["ok", "starting", "failing"]
    detail: str | None = None
    as_of: datetime | None = None
    accounts: int | None = None


class FieldProblemAnswer(Answer):
    """One thing that is wrong with a request."""

    where: str
    message: str


class ProblemAnswer(Answer):
    """Every error has this shape (RFC 9457), as application/problem+json."""

    model_config = ConfigDict(json_schema_extra={"examples": [{
        "type": "/problems#unknown-account", "title": "Unknown account", "status": 404,
        "detail": "No account 'acme' is in the snapshot of 2023-04-01.",
        "instance": "/v1/accounts/acme",
        "next": "Check the spelling, or look the account up with GET /v1/accounts.",
    }]})

    type: str
    title: str
    status: int
    detail: str
    instance: str
    next: str
    errors: list[FieldProblemAnswer] | None = None
