"""Recommend what to do next for an account: a ranked list, and what was held back.

One pure function for the service, the weekly plan and the evaluation of policies: no clock, no
disk, the same answer to the same question (the seed of draws is an argument). Its stages, each of
which gives the reason why an action drops out::

    eligibility      contract, product, stage, severe ticket, consent, legal hold, region
    suitability      a trigger holds, and no measurement shows that it may harm
    put_off          not snoozed by a person
    contact_policy   cool-down, quiet hours, caps of the week for channel, person, account
    value            worth more than doing nothing on a cautious count
    conflicts        gives way to another action, one of a family
    rank             by cautious value, while the week has room
    chance           the standing holdout; a lot between near-equals may put another one first

There are two clocks. Dates and hours of people (the date of a snooze, the hour where the account
is) use ``asked_at``, the actual time; all else uses ``as_of``, the time of the data, which may
stand still for months.

Actions without a trigger are counted, not listed. All others that are not recommended are listed
with their reason and, if known, the moment from which they would be allowed. "Do nothing" competes
at zero.

>>> from datetime import UTC
>>> from registry.playbook.playbook import load_playbook
>>> moment = datetime(2026, 3, 2, tzinfo=UTC)
>>> state = AccountState(account_id="a1", as_of=moment, mrr=2000.0, health_score=31.0,
...                      attributes={"contract_status": "active"}, features={})
>>> answer = recommend(state, playbook=load_playbook(), limits=Limits(), history=(), as_of=moment)
>>> answer.ranked[0].action_id, answer.ranked[-1].action_id
('success_call', 'do_nothing')
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from experiments.effects.belief import GOOD_OUTCOME, NO_EFFECTS, MeasuredEffects
from experiments.policy.account_state import (
    STATE_FACTS,
    AccountState,
    Limits,
    PastAction,
    PolicyError,
)
from experiments.policy.arbitration import (
    one_of_each_family,
    refuse_after_conflict,
    resolve_conflicts,
)
from experiments.policy.candidates.sentences import (
    DO_NOTHING,
    Proposal,
    build_candidate,
    describe_evidence,
    do_nothing,
)
from experiments.policy.candidates.sequence_steps import DueStep, due_steps
from experiments.policy.candidates.triggers import triggers_of
from experiments.policy.conditions import Facts, explain_condition, holds
from experiments.policy.contact.contact_policy import (
    ContactWeek,
    is_contact,
    refuse_in_cool_down,
    refuse_in_quiet_hours,
)
from experiments.policy.contact.snooze import Snooze, refuse_snoozed
from experiments.policy.exploration import AccountChance, draw_to_top, refuse_in_holdout
from experiments.policy.prior_shrinkage import PriorShrinkage, shrinkage_for
from experiments.policy.recommendation import Candidate, Recommendation, Withheld
from experiments.policy.value import Stakes, chance_of, compute_stakes, value_of
from experiments.policy.withholding import (
    Refusal,
    refuse_harm,
    refuse_not_allowed,
    refuse_without_value,
)
from experiments.randomisation.holdout import HoldoutStatus
from registry.playbook.actions import Action
from registry.playbook.playbook import Playbook

__all__ = [
    "DO_NOTHING",
    "STATE_FACTS",
    "AccountState",
    "Candidate",
    "Limits",
    "PastAction",
    "PolicyError",
    "Recommendation",
    "Withheld",
    "recommend",
]


@dataclass(frozen=True, kw_only=True)
class _Question:
    """Everything that the answer depends on."""

    state: AccountState
    playbook: Playbook
    limits: Limits
    past: tuple[PastAction, ...]
    put_off: tuple[Snooze, ...]
    evidence: MeasuredEffects
    shrinkage: PriorShrinkage
    facts: Facts
    at_stake: Stakes
    as_of: datetime
    asked_at: datetime


def recommend(
    state: AccountState,
    *,
    playbook: Playbook,
    limits: Limits,
    history: Iterable[PastAction],
    as_of: datetime,
    evidence: MeasuredEffects = NO_EFFECTS,
    chance: AccountChance | None = None,
    standing: HoldoutStatus | None = None,
    put_off: Iterable[Snooze] = (),
    asked_at: datetime | None = None,
    phrases: Mapping[str, str] | None = None,
    alert_words: Mapping[str, str] | None = None,
) -> Recommendation:
    """Rank the playbook's actions for the account, best first.

    ``as_of`` is the moment of the question, at or after the state's own moment; only history up to
    then counts. ``evidence`` holds the measured effects of actions; without it the playbook's
    priors stand alone. ``chance`` lets a lot decide between nearly equal actions and ``standing``
    leaves the account alone where it is held out; without them nothing is drawn. ``put_off`` are
    the snoozed actions of this account; snoozes and quiet hours are judged at ``asked_at``, the
    actual time of the question (``as_of``, if it is not given). ``phrases`` (feature name to its
    phrase) and ``alert_words`` (alert id to its words) make the reasons read better.
    """
    question = _asked(
        state, playbook, limits, history, as_of, asked_at, evidence, put_off, phrases, alert_words
    )
    proposals = _proposals(question)
    week = _week(question)
    paying: list[Candidate] = []
    withheld: list[Withheld] = []
    for proposal in proposals:
        passed = _alone(proposal, question, week)
        if isinstance(passed, Refusal):
            withheld.append(
                _withhold(proposal.action.name, proposal.action.id, proposal.because, passed)
            )
        else:
            paying.append(passed)
    paying.sort(key=_rank)
    chosen = _together(paying, withheld, question, week)
    owed = [c for c in chosen if playbook.by_id[c.action_id].service_message]
    otherwise, lot = (chosen if standing is not None and standing.is_held_out else owed), None
    if standing is not None and standing.is_held_out:
        withheld += [
            _withhold(c.name, c.action_id, c.because, refuse_in_holdout(standing))
            for c in chosen
            if c not in owed
        ]
        chosen = owed
    else:
        chosen, lot = draw_to_top(chosen, playbook, state, chance)
    return Recommendation(
        account_id=state.account_id,
        as_of=as_of,
        score_source=state.score_source,
        ranked=(*chosen, do_nothing(chosen, withheld)),
        withheld=tuple(sorted(withheld, key=lambda w: w.action_id)),
        not_relevant=len(playbook.actions) - len(proposals),
        notes=(
            *question.at_stake.notes,
            *describe_evidence(proposals, evidence, state.attributes, question.shrinkage),
        ),
        lot=lot,
        standing=standing,
        otherwise=None
        if standing is None
        else (otherwise[0].action_id if otherwise else DO_NOTHING),
    )


def rule_against(
    action_id: str,
    state: AccountState,
    *,
    playbook: Playbook,
    limits: Limits,
    history: Iterable[PastAction],
    as_of: datetime,
    asked_at: datetime | None = None,
    evidence: MeasuredEffects = NO_EFFECTS,
    standing: HoldoutStatus | None = None,
    phrases: Mapping[str, str] | None = None,
    alert_words: Mapping[str, str] | None = None,
) -> Refusal | None:
    """The rule that holds this action back for the account, if any; quiet hours come last.

    For an action that was decided on before: triggers, value, other actions and snoozes are not
    considered. None, too, for an action that the playbook no longer has. The arguments are those
    of `recommend`.
    """
    action = playbook.by_id.get(action_id)
    if action is None:
        return None
    question = _asked(
        state, playbook, limits, history, as_of, asked_at, evidence, (), phrases, alert_words
    )
    is_held_out = standing is not None and standing.is_held_out and not action.service_message
    return (
        _barred(action, question)
        or refuse_in_cool_down(action, playbook, question.past, as_of)
        or _week(question).refuse_over_cap(action)
        or refuse_after_conflict(action.id, playbook, question.facts.last_done, as_of)
        or (refuse_in_holdout(standing) if is_held_out and standing is not None else None)
        or refuse_in_quiet_hours(action, playbook, state, limits, question.asked_at)
    )


def _asked(
    state: AccountState,
    playbook: Playbook,
    limits: Limits,
    history: Iterable[PastAction],
    as_of: datetime,
    asked_at: datetime | None,
    evidence: MeasuredEffects,
    put_off: Iterable[Snooze],
    phrases: Mapping[str, str] | None,
    alert_words: Mapping[str, str] | None,
) -> _Question:
    """The question with derived values that every action needs."""
    if as_of.utcoffset() is None:
        raise PolicyError("as_of has no time zone; write it in UTC.")
    if asked_at is not None and asked_at.utcoffset() is None:
        raise PolicyError("asked_at has no time zone; write it in UTC.")
    if as_of < state.as_of:
        raise PolicyError(
            f"The state of account {state.account_id!r} is of {state.as_of}, after "
            f"the {as_of} that is asked about. Ask about a later moment, or give "
            f"the state as it was then."
        )
    past = tuple(
        sorted(
            (p for p in history if p.at <= as_of and p.was_carried_out),
            key=lambda p: (p.at, p.action_id, p.outcome or ""),
        )
    )
    return _Question(
        state=state,
        playbook=playbook,
        limits=limits,
        past=past,
        as_of=as_of,
        asked_at=as_of if asked_at is None else asked_at,
        put_off=tuple(put_off),
        evidence=evidence,
        shrinkage=shrinkage_for(evidence, playbook),
        facts=_facts(state, playbook, past, as_of, phrases or {}, alert_words or {}),
        at_stake=compute_stakes(state, playbook.assumptions, limits),
    )


def _week(question: _Question) -> ContactWeek:
    return ContactWeek(
        question.playbook,
        question.state,
        question.limits,
        past=question.past,
        as_of=question.as_of,
        is_new=_is_new(question),
    )


def _barred(action: Action, question: _Question) -> Refusal | None:
    """Eligibility and suitability: not allowed for the account, or measured to harm."""
    return refuse_not_allowed(action, question.playbook, question.facts) or refuse_harm(
        action,
        chance_of(action, question.at_stake),
        question.evidence,
        question.state.attributes,
        question.limits.harm_tolerance,
        question.shrinkage.of(action.id),
    )


def _alone(proposal: Proposal, question: _Question, week: ContactWeek) -> Candidate | Refusal:
    """One action through the stages that consider it alone."""
    action, playbook = proposal.action, question.playbook
    kept = question.shrinkage.of(action.id)
    refusal = (
        _barred(action, question)
        or refuse_snoozed(action.id, question.put_off, question.asked_at)
        or refuse_in_cool_down(action, playbook, question.past, question.as_of)
        or refuse_in_quiet_hours(
            action, playbook, question.state, question.limits, question.asked_at
        )
        or week.refuse_over_cap(action)
    )
    if refusal is not None:
        return refusal
    contacts = week.contacts_lately if is_contact(action, playbook) else 0
    good = GOOD_OUTCOME.get(action.prior.outcome)
    effect = (
        None if good is None else question.evidence.of(action.id, good, question.state.attributes)
    )
    value = value_of(
        action, question.at_stake, question.limits, contacts=contacts, effect=effect, kept=kept
    )
    if value is None or value.cautious <= question.limits.tolerance:
        return refuse_without_value(value)
    return build_candidate(
        proposal, value, question.playbook, question.facts, question.limits.workday
    )


def _together(
    paying: Sequence[Candidate], withheld: list[Withheld], question: _Question, week: ContactWeek
) -> list[Candidate]:
    """The actions that remain after the rules between actions, best first; the others are
    withheld."""
    playbook = question.playbook
    refused = resolve_conflicts(paying, playbook, question.facts.last_done, question.as_of)
    left = [candidate for candidate in paying if candidate.action_id not in refused]
    refused |= one_of_each_family(left, playbook)
    chosen: list[Candidate] = []
    for candidate in paying:
        action = playbook.by_id[candidate.action_id]
        refusal = refused.get(action.id)
        if refusal is None:
            full = week.refuse_over_cap(action)
            refusal = None if full is None else replace(full, stage="rank")
        if refusal is None:
            chosen.append(candidate)
            week.add(action)
        else:
            withheld.append(_withhold(action.name, action.id, candidate.because, refusal))
    return chosen


def _is_new(question: _Question) -> bool:
    """Whether the account is still being welcomed, and hears from us more often."""
    return (
        question.facts.values.get("contract_status") == "trial"
        or question.facts.values.get("stage") == "onboarding"
    )


def _facts(
    state: AccountState,
    playbook: Playbook,
    past: Sequence[PastAction],
    as_of: datetime,
    phrases: Mapping[str, str],
    alert_words: Mapping[str, str],
) -> Facts:
    facts = Facts(
        as_of=as_of,
        values_as_of=state.as_of,
        values=state.values(),
        alerts=frozenset(state.alerts),
        last_done={p.action_id: p.at for p in past},
        phrases=phrases,
        alert_words=alert_words,
        shows=playbook.alert_shows,
    )
    stage = next(
        (
            stage.name
            for stage in playbook.stages
            if all(holds(c, facts) is True for c in stage.conditions)
        ),
        None,
    )
    return replace(facts, values={**facts.values, "stage": stage})


def _proposals(question: _Question) -> list[Proposal]:
    facts, as_of = question.facts, question.as_of
    due: dict[str, DueStep] = {}
    for due_step in due_steps(question.playbook.sequences, question.state, facts, question.past):
        due.setdefault(due_step.step.action, due_step)
    found = []
    words: dict[str, str] = {}  # several actions share a trigger
    for action in triggers_of(question.playbook).find_triggered_actions(facts, due):
        met = [condition for condition in action.triggers if holds(condition, facts) is True]
        step = due.get(action.id)
        for condition in met:
            if condition.text not in words:
                words[condition.text] = explain_condition(condition, facts).words
        because = [words[condition.text] for condition in met]
        times = [
            question.state.alert_raised_at[alert]
            for c in met
            for alert in c.alerts
            if alert in question.state.alert_raised_at
        ]
        if step is not None:
            because.append(step.words)
            times.append(step.due_at)
        if because:
            found.append(
                Proposal(
                    action=action,
                    because="; ".join(dict.fromkeys(because)),
                    raised_at=min(times, default=as_of),
                    step=step,
                )
            )
    return found


def _rank(candidate: Candidate) -> tuple[float, float, str]:
    """Best first: cautious value, then the nearest deadline, then the name."""
    deadline = candidate.deadline
    return (
        -candidate.cautious_value,
        deadline.timestamp() if deadline is not None else float("inf"),
        candidate.action_id,
    )


def _withhold(name: str, action_id: str, because: str, refusal: Refusal) -> Withheld:
    return Withheld(
        action_id=action_id,
        name=name,
        because=because,
        stage=refusal.stage,
        reason=refusal.reason,
        why=refusal.why,
        until=refusal.until,
        allowed_from=refusal.allowed_from,
    )
