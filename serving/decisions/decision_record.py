"""From a score and a timeline to a recommendation that can be stored.

Fills the state that the policy reads, asks the policy, and writes down what it answered with all
that it was answered on. The same question on the same day, at the same moment of the data and about
the same facts, is the same decision, with the same id. Pure; the ledger stores it.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import cast, get_args

import polars as pl

from experiments.effects.belief import NO_EFFECTS, MeasuredEffects
from experiments.policy.account_state import PastOutcome, zone_named
from experiments.policy.contact.snooze import Snooze
from experiments.policy.recommend import AccountState, Limits, PastAction, Recommendation
from experiments.policy.request import PolicyInputs
from features.alerts.alert import Alert
from features.events.provenance import is_own
from registry.playbook.prices import NO_PRICES, PriceList
from serving.decisions.exploration_settings import ExplorationSettings
from serving.ledger.ledger import Decision, Outcome
from serving.ledger.replay.replay import policy_code
from serving.ledger.snoozes import note_event
from serving.scoring.score import AccountScore
from serving.timeline.event_cache import CachedEvent

MOMENT_KINDS: Mapping[str, str] = {
    "trial.started": "trial_started",
    "contract.started": "contract_started",
    "contract.cancelled": "contract_ended",
    "incident.opened": "incident_opened",
}
"""Kind to the instant of ``registry.playbook.sequences.MOMENTS`` that its newest event is."""

HISTORY_KINDS = ("action.executed", "action.declined", "action.outcome")
POLICY_KINDS = (
    *MOMENT_KINDS,
    *HISTORY_KINDS,
    "contract.renewed",
    "contract.changed",
    "cancellation.intended",
    "consent.updated",
    "account.updated",
    "contact.changed",
    "action.judged",
)
"""The kinds of event that the policy reads."""

VALID_FOR = timedelta(days=7)
"""How long a decision may be carried out: the week that contact caps count in; by the clock."""

TERM_KINDS = ("contract.started", "contract.renewed", "contract.cancelled")

REASONED_KINDS = ("cancellation.intended", "contract.cancelled")
NO_REASON = ("", "other", "unknown", "none")
"""What is written as the reason for leaving where nobody has named one."""

NO_HOLD = ("no", "false")

TOLD = tuple(name for name in CachedEvent._fields if name != "superseded_at")

PAST_OUTCOMES: tuple[str, ...] = get_args(PastOutcome)


@dataclass(frozen=True, kw_only=True)
class PolicyFacts:
    """The facts of a timeline that the policy reads."""

    moments: Mapping[str, datetime]
    consents: Mapping[str, bool]
    history: Mapping[str, PastAction]  # by decision, or by event where there was none
    contacts: Mapping[str, str] = field(default_factory=dict)  # role to person
    time_zone: str | None = None
    legal_hold: bool | None = None
    term_started_at: datetime | None = None  # of the contract that runs
    terms_from: datetime | None = None  # since when its renewal date is what it is
    put_off: tuple[Snooze, ...] = ()


NO_FACTS = PolicyFacts(moments={}, consents={}, history={})


def policy_facts(events: pl.DataFrame) -> dict[str, PolicyFacts]:
    """The facts in each account's events of ``POLICY_KINDS``, by account."""
    by_account: dict[str, list[CachedEvent]] = {}
    for row in events.select(*TOLD).iter_rows():
        event = CachedEvent(*row)
        by_account.setdefault(event.account_id, []).append(event)
    return {
        account_id: facts_of_events(of_account) for account_id, of_account in by_account.items()
    }


def facts_of_events(events: Iterable[CachedEvent]) -> PolicyFacts:
    """The facts in one account's events of ``POLICY_KINDS``, in any order."""
    moments: dict[str, datetime] = {}
    consents: dict[str, bool] = {}
    history: dict[str, PastAction] = {}
    put_off: dict[str, Snooze] = {}
    contacts: dict[str, str] = {}
    zone: str | None = None
    is_held: bool | None = None
    term: datetime | None = None
    terms_from: datetime | None = None
    renewal: object = None
    for event in sorted(events, key=attrgetter("occurred_at", "recorded_at", "event_id")):
        kind, at, user_id = event.kind, event.occurred_at, event.user_id
        properties = json.loads(event.properties)
        if kind in TERM_KINDS:
            term = at if kind != "contract.cancelled" else None
        if kind in (*TERM_KINDS, "contract.changed"):
            before, renewal = renewal, properties.get("renewal_on")
            if kind != "contract.changed" or renewal != before:
                terms_from = at
        if kind in ("contract.started", "contract.renewed"):  # what was said before is settled
            moments.pop("reason_to_leave_given", None)
        if kind in REASONED_KINDS and _names_a_reason(properties):
            moments["reason_to_leave_given"] = at
        if kind in MOMENT_KINDS:
            moments[MOMENT_KINDS[kind]] = at
        elif kind == "consent.updated":
            consents[str(properties.get("channel"))] = properties.get("state") == "given"
        elif kind == "contact.changed":
            role = str(properties.get("role"))
            if properties.get("state") == "joined" and user_id:
                contacts[role] = user_id
            elif user_id in (None, contacts.get(role)):
                contacts.pop(role, None)
        elif kind == "account.updated":
            if zone_named(named := str(properties.get("time_zone") or "")):
                zone = named
            if hold := str(properties.get("legal_hold") or ""):
                is_held = hold.casefold() not in NO_HOLD  # what is unclear is a hold
        elif kind == "action.judged":
            note_event(put_off, properties, at)
        elif "action" in properties:
            key = _past_action_key(event.event_id, str(properties.get("decision_id") or ""))
            history[key] = _past_action(kind, properties, at, history.get(key), contact=user_id)
            if kind == "action.executed":
                history |= _subjects_done(
                    key, history[key], filter(None, str(properties.get("subjects") or "").split())
                )
    return PolicyFacts(
        moments=moments,
        consents=consents,
        history=history,
        contacts=contacts,
        time_zone=zone,
        legal_hold=is_held,
        term_started_at=term,
        terms_from=terms_from,
        put_off=tuple(put_off.values()),
    )


def _past_action_key(event_id: str, decision_id: str) -> str:
    """Under what an action of the past is known: a decision of ours, one of others, or an event.

    What another system calls a decision is none of the ledger's, also where it has the same name.
    """
    if decision_id and not is_own(event_id):
        return f"of others: {decision_id}"
    return decision_id or event_id


def _names_a_reason(properties: Mapping[str, object]) -> bool:
    """Whether an event says why they leave."""
    return str(properties.get("reason") or "").strip().casefold() not in NO_REASON


def add_outcomes(facts: PolicyFacts, outcomes: Iterable[Outcome]) -> PolicyFacts:
    """The facts with the ledger's outcomes, the newest record of each decision counting.

    The ledger knows an outcome at once; the timeline shows it from the next moment on.
    """
    reported: dict[str, PastAction] = {}
    for outcome in outcomes:
        properties = {"action": outcome.action, "outcome": outcome.result}
        reported[outcome.decision_id] = _past_action(
            f"action.{outcome.kind}",
            properties,
            outcome.occurred_at,
            reported.get(outcome.decision_id),
        )
        if outcome.kind == "executed":
            reported |= _subjects_done(
                outcome.decision_id, reported[outcome.decision_id], outcome.subjects
            )
    history = {**facts.history, **reported}
    return replace(facts, history=history)


def account_state(score: AccountScore, facts: PolicyFacts, alerts: Sequence[Alert]) -> AccountState:
    """The state of an account, as the policy reads it."""
    probability = score.churn_probability_90d
    return AccountState(
        account_id=score.account_id,
        as_of=score.as_of,
        attributes=score.attributes,
        features=score.features,
        churn_probability=probability,
        expansion_probability=score.expansion.probability if score.expansion else None,
        expected_amount=score.expansion_amount,
        mrr=score.features.get("mrr"),
        alerts=tuple(alert.id for alert in alerts),
        alert_raised_at={alert.id: score.as_of for alert in alerts},
        moments=facts.moments
        if facts.terms_from is None
        else {**facts.moments, "term_started": facts.terms_from},
        consents=facts.consents,
        contacts=facts.contacts,
        time_zone=facts.time_zone,
        legal_hold=facts.legal_hold,
        health_score=score.health.score,
        health_band=score.health.band,
        risk_tier=score.risk_tier,
        renewal_probability=score.at_renewal.probability if score.at_renewal else None,
        renewal_tier=score.renewal_tier,
        score_source=score.score_source,
        leaves_by=score.leaving.means,
    )


def question(
    score: AccountScore,
    facts: PolicyFacts,
    alerts: Sequence[Alert],
    *,
    limits: Limits,
    now: datetime,
    asked_at: datetime | None = None,
    evidence: MeasuredEffects = NO_EFFECTS,
    rules: ExplorationSettings | None = None,
    prices: PriceList = NO_PRICES,
) -> PolicyInputs:
    """All that the policy is told about one account: ``now`` on the time of the data, ``asked_at``
    on the clock of the service."""
    as_of = max(now, score.as_of)
    clock = as_of if asked_at is None else asked_at
    return PolicyInputs(
        state=account_state(score, facts, alerts),
        limits=limits,
        evidence=evidence,
        history=tuple(facts.history.values()),
        as_of=as_of,
        asked_at=asked_at,
        prices=prices,
        put_off=tuple([one for one in facts.put_off if one.holds_at(clock, as_of)]),
        chance=rules.chance_of(score, as_of) if rules else None,
        standing=rules.standing_of(score, facts.term_started_at, as_of) if rules else None,
    )


def build_decision(
    answer: Recommendation,
    asked: PolicyInputs,
    score: AccountScore,
    *,
    now: datetime,
    asked_at: datetime | None = None,
    proposed_by: str | None = None,
    shared: str | None = None,
    company: str = "",
) -> Decision:
    """A recommendation as the record that is stored, with the probability of what comes first:
    1 unless chance had a say.

    ``now`` is on the time of the data, ``asked_at`` the same moment by the clock of the service: a
    decision is valid by that, and on another day is another one, also where the data stand still.
    Of the clock its id takes no more than that day, and until when it is quiet where the account
    is: asked again a minute later, it is the same decision. ``shared`` is the digest of what all
    questions have in common, ``company`` the version of the company's own rules ("": it has none).
    """
    asked_fields = asked.to_dict()
    clock = json.dumps(
        asked_fields.pop("asked_at")
    )  # stored with the question, but no part of its digest
    read = json.dumps(asked_fields, sort_keys=True, allow_nan=False)
    digest = hashlib.blake2b(read.encode(), digest_size=16).hexdigest()
    best = answer.ranked[0]
    day = "" if asked_at is None else f":{asked_at.astimezone(UTC):%Y-%m-%d}"
    rest = (
        "" if asked.quiet_until_of is None else f":quiet until {asked.quiet_until_of.isoformat()}"
    )
    identity = f"keepwell:{score.account_id}:{now.isoformat()}:{digest}{day}{rest}"
    return Decision(
        decision_id=str(uuid.uuid5(uuid.NAMESPACE_URL, identity)),
        account_id=score.account_id,
        decided_at=now,
        as_of=score.as_of,
        action=best.action_id,
        expected_value=best.expected_value,
        currency=score.currency,
        eligible=tuple([one.to_dict() for one in answer.ranked]),
        withheld=tuple([one.to_dict() for one in answer.withheld]),
        versions={
            "score_source": score.score_source,
            "model": score.model_version or "none",
            "formula": score.formula,
            "policy": policy_code(),
            **({"rules": company} if company else {}),
        },
        input_digest=digest,
        propensity=answer.propensity,
        valid_until=(asked_at or now) + VALID_FOR,
        asked_at=asked_at,
        segment=score.attributes.get("segment"),
        csm=score.attributes.get("csm"),
        autonomy=best.autonomy,
        proposed_by=proposed_by,
        subjects=tuple(subject.action_id for subject in best.subjects),
        inputs=None
        if shared is None
        else (f'{{"question": {{"asked_at": {clock}, {read[1:]}, "shared": "{shared}"}}'),
    )


def _subjects_done(key: str, done: PastAction, subjects: Iterable[str]) -> dict[str, PastAction]:
    """What was done with an action in the same conversation, by keys of their own."""
    return {f"{key} {subject}": replace(done, action_id=subject) for subject in subjects}


def _past_action(
    kind: str,
    properties: Mapping[str, object],
    at: datetime,
    known: PastAction | None,
    *,
    contact: str | None = None,
) -> PastAction:
    """One more record about an action: its execution dates it, its outcome names it."""
    action = str(properties["action"])
    if kind == "action.executed":
        return PastAction(action_id=action, at=at, outcome="done", contact=contact)
    if kind == "action.declined":
        return PastAction(action_id=action, at=at, outcome="not_done")
    result = properties.get("outcome")
    before = known.outcome if known else None  # what else is said later takes back no refusal
    outcome = cast(PastOutcome, result) if result in PAST_OUTCOMES else before or "done"
    return PastAction(
        action_id=action,
        at=known.at if known else at,
        outcome=outcome,
        contact=known.contact if known else None,
    )
