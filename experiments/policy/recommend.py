"""Recommend what to do next for an account: a ranked list, and what was held back.

One pure function for the service, the weekly plan and the evaluation of policies: no clock, no
disk, the same answer to the same question (the seed of draws is an argument). Its stages, each of
which gives the reason why an action drops out::

    eligibility      contract, product, stage, warning signs, consent, legal hold, region
    suitability      a trigger holds, and no measurement shows that it may harm
    put_off          not snoozed by a person, nor left alone by a lottery
    contact_policy   cool-down, quiet hours, caps of the week, one conversation a week
    value            worth more than doing nothing on a cautious count
    conflicts        later step of a sequence, gives way to another action, one of a family
    rank             urgent first, then what is due, then by cautious value while there is room
    chance           the standing holdout; a lot between near-equals may put another one first

Three things come before value, each declared in the playbook: a situation in which a person speaks
to the account first (``[[urgency]]``), a promise (``due``), and that calls which would be made
together are one (``[conversation]``). What is urgent or due is neither weighed nor held back by
caps.

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
from dataclasses import replace
from datetime import datetime
from functools import partial

from experiments.effects.belief import GOOD_OUTCOME, NO_EFFECTS, MeasuredEffects
from experiments.policy.account_state import (
    STATE_FACTS,
    AccountState,
    Limits,
    PastAction,
    PolicyError,
)
from experiments.policy.arbitration import (
    next_steps_first,
    one_of_each_family,
    refuse_after_conflict,
    resolve_conflicts,
)
from experiments.policy.candidates.conversations import SharedConversation
from experiments.policy.candidates.look_again import (
    AUTOMATION,
    when_to_look_again,
    why_nobody_looks,
)
from experiments.policy.candidates.priorities import (
    choose_lead,
    rank_key,
    why_due,
)
from experiments.policy.candidates.proposals import find_proposals
from experiments.policy.candidates.sentences import (
    DO_NOTHING,
    Proposal,
    build_candidate,
    describe_evidence,
    do_nothing,
)
from experiments.policy.contact.contact_policy import (
    ContactWeek,
    is_contact,
    is_conversation,
    refuse_in_cool_down,
    refuse_in_quiet_hours,
    refuse_second_conversation,
)
from experiments.policy.contact.snooze import Snooze, refuse_snoozed
from experiments.policy.exploration import AccountChance, draw_to_top, refuse_in_holdout
from experiments.policy.question import Question, ask_question, contact_week, stakes_of
from experiments.policy.recommendation import Basis, Candidate, Recommendation, Withheld
from experiments.policy.value import (
    NOTHING,
    chance_of,
    value_of,
)
from experiments.policy.withholding import (
    Refusal,
    refuse_harm,
    refuse_not_allowed,
    refuse_without_price,
    refuse_without_value,
)
from experiments.randomisation.holdout import HoldoutStatus
from registry.playbook.actions import Action
from registry.playbook.playbook import Playbook
from registry.playbook.prices import NO_PRICES, PriceList

__all__ = [
    "DO_NOTHING",
    "STATE_FACTS",
    "AccountState",
    "Basis",
    "Candidate",
    "Limits",
    "PastAction",
    "PolicyError",
    "Recommendation",
    "Withheld",
    "recommend",
]


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
    prices: PriceList = NO_PRICES,
    phrases: Mapping[str, str] | None = None,
    alert_words: Mapping[str, str] | None = None,
) -> Recommendation:
    """Rank the playbook's actions for the account, best first.

    ``as_of`` is the moment of the question, at or after the state's own moment; only history up to
    then counts. ``evidence`` holds the measured effects of actions; without it the playbook's
    priors stand alone. ``chance`` lets a lot decide between nearly equal actions and ``standing``
    leaves the account alone where it is held out; without them nothing is drawn. ``put_off`` are
    the snoozed actions of this account; snoozes and quiet hours are judged at ``asked_at``, the
    actual time of the question (``as_of``, if it is not given). ``prices`` are those of what the
    workspace sells; an offer without one is held back. ``phrases`` (feature name to its phrase) and
    ``alert_words`` (alert id to its words) make the reasons read better.
    """
    question = ask_question(
        state,
        playbook,
        limits,
        history,
        as_of,
        asked_at,
        evidence,
        put_off,
        prices,
        phrases,
        alert_words,
    )
    proposals = find_proposals(playbook, state, question.facts, question.past)
    week = contact_week(question)
    withheld: list[Withheld] = []
    allowed = _each_alone(proposals, question, week, withheld)
    if playbook.one_next_step:
        allowed = _next_steps(allowed, proposals, withheld)
    chosen = _together(allowed, withheld, question, week)
    owed = _owed_of(allowed, chosen, question) if standing is not None else []
    otherwise, lot = owed, None
    if standing is not None and standing.is_held_out:
        otherwise, chosen = chosen, owed
        withheld += _held_out(allowed, otherwise, owed, standing)
    else:
        chosen, lot = draw_to_top(chosen, playbook, state, chance)
    again = (
        None
        if any(c.owner_role != AUTOMATION for c in chosen)
        else when_to_look_again(
            playbook, question.facts, withheld, asked_at=question.asked_at, standing=standing
        )
    )
    return Recommendation(
        account_id=state.account_id,
        as_of=as_of,
        score_source=state.score_source,
        ranked=(
            *chosen,
            do_nothing(
                chosen,
                withheld,
                again,
                "" if chosen else why_nobody_looks(playbook, question.facts),
            ),
        ),
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
    put_off: Iterable[Snooze] = (),
    prices: PriceList = NO_PRICES,
    phrases: Mapping[str, str] | None = None,
    alert_words: Mapping[str, str] | None = None,
) -> Refusal | None:
    """The rule that holds this action back for the account, if any; quiet hours come last.

    For an action that was decided on before: triggers, value, other actions and what people put
    off are not considered; what a lottery leaves alone is. None, too, for an action that the playbook
    no longer has. The arguments are those of `recommend`.
    """
    action = playbook.by_id.get(action_id)
    if action is None:
        return None
    question = ask_question(
        state,
        playbook,
        limits,
        history,
        as_of,
        asked_at,
        evidence,
        (),
        prices,
        phrases,
        alert_words,
    )
    due = why_due(action, question.facts)
    is_held_out = (
        standing is not None
        and standing.is_held_out
        and not action.service_message
        and not (due and action.promise == "plan")
    )
    is_first = any(action.id in urgency.first for urgency in question.urgencies)
    by_lot = [one for one in put_off if one.is_by_lot]
    return (
        _barred(action, question)
        or refuse_snoozed(
            action.id,
            by_lot,
            question.asked_at,
            as_of=as_of,
            is_owed=bool(due) or is_first,
        )
        or refuse_in_cool_down(action, playbook, question.past, as_of)
        or _crowded_out(
            action,
            question,
            contact_week(question),
            "due" if due else "urgent" if is_first else "value",
        )
        or refuse_after_conflict(action.id, playbook, question.facts.last_done, as_of)
        or (refuse_in_holdout(standing) if is_held_out and standing is not None else None)
        or refuse_in_quiet_hours(action, playbook, state, limits, question.asked_at)
    )


def _barred(action: Action, question: Question) -> Refusal | None:
    """Eligibility and suitability: not allowed for the account, or measured to harm."""
    at_stake = stakes_of(action, question) or question.at_stake
    return refuse_not_allowed(action, question.playbook, question.facts) or refuse_harm(
        action,
        chance_of(action, at_stake),
        question.evidence,
        question.state.attributes,
        question.limits.harm_tolerance,
        question.shrinkage.of(action.id),
    )


def _crowded_out(
    action: Action, question: Question, week: ContactWeek, basis: Basis
) -> Refusal | None:
    """The refusal of an action for which the week has no room: contacts before it, or a talk.

    What is due or urgent finds room whatever was before. Who was spoken to this week was spoken to,
    also where it is urgent; only a promise is kept all the same.
    """
    spoken = None
    if basis != "due":
        spoken = refuse_second_conversation(
            action, question.playbook, question.past, question.as_of
        )
    return spoken or week.refuse_over_cap(action, is_owed=basis != "value")


def _each_alone(
    proposals: Sequence[Proposal],
    question: Question,
    week: ContactWeek,
    withheld: list[Withheld],
) -> list[Candidate]:
    """The actions that are allowed each by itself, best first; the others are withheld.

    The one that a person does first is among them, whatever it costs.
    """
    found: dict[str, Candidate] = {}
    refused: dict[str, Withheld] = {}
    leading: dict[str, Candidate] = {}
    first = frozenset(name for urgency in question.urgencies for name in urgency.first)
    for proposal in proposals:
        action = proposal.action
        why = why_due(action, question.facts)
        passed = _alone(proposal, question, week, basis="due" if why else "value", why=why)
        if isinstance(passed, Refusal):
            refused[action.id] = _withhold(action.name, action.id, proposal.because, passed)
        else:
            found[action.id] = passed
        if action.id in first:
            urgent = _alone(proposal, question, week, basis="urgent", why="")
            if not isinstance(urgent, Refusal):
                leading[action.id] = urgent
    chosen = choose_lead(question.urgencies, leading)
    if chosen is not None:
        lead, urgency = chosen
        found[lead.action_id] = replace(lead, basis_why=urgency.why)
        refused.pop(lead.action_id, None)
    withheld += refused.values()
    return sorted(found.values(), key=partial(rank_key, question.playbook))


def _alone(
    proposal: Proposal, question: Question, week: ContactWeek, *, basis: Basis, why: str
) -> Candidate | Refusal:
    """One action through the stages that consider it alone."""
    action, playbook = proposal.action, question.playbook
    kept = question.shrinkage.of(action.id)
    refusal = (
        _barred(action, question)
        or refuse_snoozed(
            action.id,
            question.put_off,
            question.asked_at,
            as_of=question.as_of,
            is_owed=basis != "value",
        )
        or refuse_in_cool_down(action, playbook, question.past, question.as_of)
        or refuse_in_quiet_hours(
            action, playbook, question.state, question.limits, question.asked_at
        )
        or _crowded_out(action, question, week, basis)
    )
    if refusal is not None:
        return refusal
    at_stake = stakes_of(action, question)
    if at_stake is None:
        return refuse_without_price(
            question.state.attributes.get("price_plan"), question.prices, action
        )
    contacts = week.contacts_lately if is_contact(action, playbook) else 0
    good = GOOD_OUTCOME.get(action.prior.outcome)
    effect = (
        None if good is None else question.evidence.of(action.id, good, question.state.attributes)
    )
    value = value_of(action, at_stake, question.limits, contacts=contacts, effect=effect, kept=kept)
    if basis == "value" and (value is None or value.cautious <= question.limits.tolerance):
        return refuse_without_value(value)
    return build_candidate(
        proposal,
        value or NOTHING,
        question.playbook,
        question.facts,
        question.limits.workday,
        basis=basis,
        basis_why=why,
    )


def _next_steps(
    allowed: Sequence[Candidate], proposals: Sequence[Proposal], withheld: list[Withheld]
) -> list[Candidate]:
    """The allowed actions without later steps of a sequence, which are withheld."""
    steps = {one.action.id: one.step for one in proposals if one.step is not None}
    refused = next_steps_first(allowed, steps)
    withheld += [
        _withhold(one.name, one.action_id, one.because, refused[one.action_id])
        for one in allowed
        if one.action_id in refused
    ]
    return [one for one in allowed if one.action_id not in refused]


def _together(
    allowed: Sequence[Candidate], withheld: list[Withheld], question: Question, week: ContactWeek
) -> list[Candidate]:
    """The list after the rules between actions, best first; all others are withheld."""
    playbook = question.playbook
    refused = resolve_conflicts(allowed, playbook, question.facts.last_done, question.as_of)
    left = [candidate for candidate in allowed if candidate.action_id not in refused]
    refused |= one_of_each_family(left, playbook)
    talk = (
        None
        if playbook.conversation is None
        else SharedConversation(playbook.conversation, question.urgencies)
    )
    chosen: list[Candidate] = []
    for candidate in allowed:
        action = playbook.by_id[candidate.action_id]
        refusal = refused.get(action.id)
        shares = talk is not None and refusal is None and is_conversation(action, playbook)
        if talk is not None and shares and talk.has_leader:
            refusal = talk.refuse(candidate)
            if refusal is None:
                continue
        if refusal is None and candidate.basis == "value":
            full = week.refuse_over_cap(action)
            refusal = None if full is None else replace(full, stage="rank")
        if refusal is not None:
            withheld.append(_withhold(action.name, action.id, candidate.because, refusal))
            continue
        if talk is not None and shares:
            talk.lead_by(candidate)
        chosen.append(candidate)
        week.add(action)
    return chosen if talk is None else talk.joined(chosen)


def _ids(chosen: Sequence[Candidate]) -> set[str]:
    """The actions of a list, with the subjects of its conversation."""
    subjects = {one.action_id for c in chosen for one in c.subjects}
    return {c.action_id for c in chosen} | subjects


def _owed_of(
    allowed: Sequence[Candidate], chosen: Sequence[Candidate], question: Question
) -> list[Candidate]:
    """What of the list an account in the holdout gets all the same, joined by the same rules."""
    listed = _ids(chosen)
    owed = [c for c in allowed if c.action_id in listed and _is_owed(c, question.playbook)]
    return _together(owed, [], question, contact_week(question))


def _held_out(
    allowed: Sequence[Candidate],
    chosen: Sequence[Candidate],
    owed: Sequence[Candidate],
    standing: HoldoutStatus,
) -> list[Withheld]:
    """What of the list the account does not get since it is left alone."""
    withheld = _ids(chosen) - _ids(owed)
    refusal = refuse_in_holdout(standing)
    return [
        _withhold(c.name, c.action_id, c.because, refusal)
        for c in allowed
        if c.action_id in withheld
    ]


def _is_owed(candidate: Candidate, playbook: Playbook) -> bool:
    """Whether an account in the holdout gets it all the same: it was told of it, or sold it."""
    action = playbook.by_id[candidate.action_id]
    return action.service_message or (candidate.basis == "due" and action.promise == "plan")


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
