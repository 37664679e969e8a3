"""Find what may be proposed to an account: the facts that conditions read, and what they bring up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from experiments.policy.account_state import AccountState, PastAction
from experiments.policy.candidates.sentences import Proposal
from experiments.policy.candidates.sequence_steps import DueStep, due_steps
from experiments.policy.candidates.triggers import triggers_of
from experiments.policy.conditions import Facts, explain_condition, holds
from registry.playbook.playbook import Playbook


def facts_of(
    state: AccountState,
    playbook: Playbook,
    past: Sequence[PastAction],
    as_of: datetime,
    phrases: Mapping[str, str],
    alert_words: Mapping[str, str],
) -> Facts:
    """The facts that conditions read, with the stage that follows from them."""
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


def find_proposals(
    playbook: Playbook, state: AccountState, facts: Facts, past: Sequence[PastAction]
) -> list[Proposal]:
    """The actions that a trigger or a due step of a sequence brings up, in the playbook's order."""
    due: dict[str, DueStep] = {}
    for due_step in due_steps(playbook.sequences, state, facts, past):
        due.setdefault(due_step.step.action, due_step)
    found = []
    words: dict[str, str] = {}  # several actions share a trigger
    for action in triggers_of(playbook).find_triggered_actions(facts, due):
        if not action.is_for(state.leaves_by):
            continue
        met = [condition for condition in action.triggers if holds(condition, facts) is True]
        step = due.get(action.id)
        for condition in met:
            if condition.text not in words:
                words[condition.text] = explain_condition(condition, facts).words
        because = [words[condition.text] for condition in met]
        times = [
            state.alert_raised_at[alert]
            for c in met
            for alert in c.alerts
            if alert in state.alert_raised_at
        ]
        if step is not None:
            because.append(step.words if playbook.one_next_step else step.place)
            times.append(step.due_at)
        if because:
            found.append(
                Proposal(
                    action=action,
                    because="; ".join(dict.fromkeys(because)),
                    raised_at=min(times, default=facts.as_of),
                    step=step,
                )
            )
    return found
