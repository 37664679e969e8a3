"""The question that the policy answers about one account, with what every action needs of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from experiments.effects.belief import MeasuredEffects
from experiments.policy.account_state import AccountState, Limits, PastAction, PolicyError
from experiments.policy.candidates.priorities import urgencies_now
from experiments.policy.candidates.proposals import facts_of
from experiments.policy.conditions import Facts
from experiments.policy.contact.contact_policy import ContactWeek
from experiments.policy.contact.snooze import Snooze
from experiments.policy.prior_shrinkage import PriorShrinkage, shrinkage_for
from experiments.policy.value import Stakes, compute_stakes, stakes_of_offer
from registry.playbook.actions import Action
from registry.playbook.group_rules import Urgency
from registry.playbook.playbook import Playbook
from registry.playbook.prices import PriceList


@dataclass(frozen=True, kw_only=True)
class Question:
    """Everything that the answer depends on."""

    state: AccountState
    playbook: Playbook
    limits: Limits
    past: tuple[PastAction, ...]
    put_off: tuple[Snooze, ...]
    evidence: MeasuredEffects
    shrinkage: PriorShrinkage
    prices: PriceList
    facts: Facts
    urgencies: tuple[Urgency, ...]
    at_stake: Stakes
    as_of: datetime
    asked_at: datetime


def ask_question(
    state: AccountState,
    playbook: Playbook,
    limits: Limits,
    history: Iterable[PastAction],
    as_of: datetime,
    asked_at: datetime | None,
    evidence: MeasuredEffects,
    put_off: Iterable[Snooze],
    prices: PriceList,
    phrases: Mapping[str, str] | None,
    alert_words: Mapping[str, str] | None,
) -> Question:
    """The question with derived values that every action needs.

    Raises:
        PolicyError: a moment has no time zone, or the state is of a later one than is asked about.
    """
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
    facts = facts_of(state, playbook, past, as_of, phrases or {}, alert_words or {})
    return Question(
        state=state,
        playbook=playbook,
        limits=limits,
        past=past,
        as_of=as_of,
        asked_at=as_of if asked_at is None else asked_at,
        put_off=tuple(put_off),
        evidence=evidence,
        shrinkage=shrinkage_for(evidence, playbook),
        prices=prices,
        facts=facts,
        urgencies=urgencies_now(playbook, facts),
        at_stake=compute_stakes(
            state,
            playbook.assumptions,
            limits,
            playbook.renewal_counts_days,
            playbook.renewal_counts_signs,
        ),
    )


def contact_week(question: Question) -> ContactWeek:
    """The contacts of the account in the week before the question."""
    return ContactWeek(
        question.playbook,
        question.state,
        question.limits,
        past=question.past,
        as_of=question.as_of,
        is_new=question.facts.values.get("contract_status") == "trial"
        or question.facts.values.get("stage") == "onboarding",
    )


def stakes_of(action: Action, question: Question) -> Stakes | None:
    """The stakes of one action; None where it sells something without a price."""
    return stakes_of_offer(action, question.state, question.at_stake, question.prices)
