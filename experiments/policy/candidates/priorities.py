"""What comes before value: situations that a person answers first, and promises.

Both are rules of the playbook. A promise is due while one of its conditions holds; of the actions
that a situation names the first that is allowed leads the list. Pure; weighs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.policy.conditions import Facts, holds
from experiments.policy.recommendation import Candidate
from registry.playbook.actions import Action, Promise
from registry.playbook.group_rules import Urgency
from registry.playbook.playbook import Playbook

PROMISED_BY: Mapping[Promise, str] = {
    "plan": "Promised with their plan.",
    "protocol": "A step of our protocol for accounts in this state.",
}


def urgencies_now(playbook: Playbook, facts: Facts) -> tuple[Urgency, ...]:
    """The situations that the account is in, the most urgent first."""
    return tuple(
        urgency
        for urgency in playbook.urgencies
        if any(holds(condition, facts) is True for condition in urgency.when)
    )


def why_due(action: Action, facts: Facts) -> str:
    """Why an action is promised to the account now; empty where it is not."""
    if action.promise is None:
        return ""
    is_due = any(holds(condition, facts) is True for condition in action.due)
    return PROMISED_BY[action.promise] if is_due else ""


def choose_lead(
    urgencies: Sequence[Urgency], allowed: Mapping[str, Candidate]
) -> tuple[Candidate, Urgency] | None:
    """The action that leads the list, and the situation that it answers: of the first situation
    with an allowed action, its first."""
    for urgency in urgencies:
        for action_id in urgency.first:
            if action_id in allowed:
                return allowed[action_id], urgency
    return None


def rank_key(playbook: Playbook, candidate: Candidate) -> tuple[int, float, float, float, str]:
    """Urgent first, then what is due by its deadline, then by cautious value, then what a program
    does anyway and nobody has to attend to. Ties by deadline and name."""
    deadline = candidate.deadline
    by = deadline.timestamp() if deadline is not None else float("inf")
    group = {"urgent": 0, "due": 1, "value": 2}[candidate.basis]
    if candidate.basis == "due" and _is_routine(playbook.by_id[candidate.action_id]):
        group = 3
    return (
        group,
        by if candidate.basis == "due" else 0.0,
        -candidate.cautious_value,
        by,
        candidate.action_id,
    )


def _is_routine(action: Action) -> bool:
    """Whether a program does it by itself, inside our company or as part of the plan."""
    return action.owner_role == "automation" and (
        action.channel == "internal" or action.promise == "plan"
    )
