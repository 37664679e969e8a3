"""Decide between actions that are each allowed: which of them gives way.

First the steps of a sequence, of which the earliest comes first, then the playbook's conflicts,
starting with actions to which others give way, then one of each family. Pure: takes the actions that
are worth doing and returns those that are held back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from experiments.policy.candidates.sequence_steps import DueStep
from experiments.policy.recommendation import Candidate
from experiments.policy.withholding import Refusal
from registry.playbook.conflicts import ConflictOfAction
from registry.playbook.playbook import Playbook


def resolve_conflicts(
    paying: Iterable[Candidate],
    playbook: Playbook,
    last_done: Mapping[str, datetime],
    as_of: datetime,
) -> dict[str, Refusal]:
    """The candidates that give way to another candidate, or to a recent action."""
    names = {candidate.action_id for candidate in paying}
    kept: set[str] = set()
    refused: dict[str, Refusal] = {}
    for action_id, ways in playbook.gives_way.items():
        if action_id not in names:
            continue
        for way in ways:
            beside = sorted(way.to & kept)
            if beside:
                first = playbook.by_id[beside[0]].name
                refused[action_id] = Refusal(
                    stage="conflicts",
                    reason="gives_way",
                    until=f"while “{first}” is to be done",
                    why=f"{way.conflict.why} It gives way to “{first}”.",
                )
                break
            done = _done_lately(way, playbook, last_done, as_of)
            if done is not None:
                refused[action_id] = done
                break
        else:
            kept.add(action_id)
    return refused


def refuse_after_conflict(
    action_id: str, playbook: Playbook, last_done: Mapping[str, datetime], as_of: datetime
) -> Refusal | None:
    """The refusal of an action that gives way to a recent one, whatever else is recommended now."""
    found = (
        _done_lately(way, playbook, last_done, as_of)
        for way in playbook.gives_way.get(action_id, ())
    )
    return next((refusal for refusal in found if refusal is not None), None)


def _done_lately(
    way: ConflictOfAction, playbook: Playbook, last_done: Mapping[str, datetime], as_of: datetime
) -> Refusal | None:
    until = _latest(way.to, last_done, timedelta(days=way.conflict.days))
    if until is None or as_of >= until[1]:
        return None
    done, free = until
    return Refusal(
        stage="conflicts",
        reason="gives_way",
        allowed_from=free,
        until=f"until {free:%d %B %Y %H:%M}",
        why=f"{way.conflict.why} “{playbook.by_id[done].name}” was done on "
        f"{last_done[done]:%d %B %Y}.",
    )


def next_steps_first(
    candidates: Iterable[Candidate], steps: Mapping[str, DueStep]
) -> dict[str, Refusal]:
    """The later steps of each sequence of which an earlier step is to be done now.

    ``steps`` are the due steps by action. Steps of the same hour do not wait for each other, and what
    a person does first waits for nothing.
    """
    found = {one.action_id: one for one in candidates if one.action_id in steps}
    names = {action_id: one.name for action_id, one in found.items()}
    earliest: dict[str, DueStep] = {}
    for step in sorted((steps[name] for name in found), key=lambda one: one.number):
        earliest.setdefault(step.sequence.id, step)
    refused = {}
    for action_id, candidate in found.items():
        step = steps[action_id]
        first = earliest[step.sequence.id]
        if step.due_at > first.due_at and candidate.basis != "urgent":
            refused[action_id] = Refusal(
                stage="conflicts",
                reason="gives_way",
                until=f"until “{names[first.step.action]}” is done",
                why=f"It is step {step.number} of the sequence “{step.sequence.name}”. Step "
                f"{first.number}, “{names[first.step.action]}”, comes first.",
            )
    return refused


def one_of_each_family(paying: Iterable[Candidate], playbook: Playbook) -> dict[str, Refusal]:
    """All but the first of each family, best first coming in."""
    paying = tuple(paying)
    first = _first_of_families(paying, playbook)
    refused = {}
    for candidate in paying:
        family = playbook.by_id[candidate.action_id].family
        if family is None or first[family].action_id == candidate.action_id:
            continue
        leader = first[family].name
        refused[candidate.action_id] = Refusal(
            stage="conflicts",
            reason="one_at_a_time",
            until=f"while “{leader}” is ahead of it",
            why=f"One of the {playbook.families[family].name} at a time, and “{leader}” comes "
            f"first.",
        )
    return refused


def _first_of_families(paying: Iterable[Candidate], playbook: Playbook) -> dict[str, Candidate]:
    """The first of each family: the cheapest or the most valuable, as the family declares."""
    first: dict[str, Candidate] = {}
    for candidate in paying:
        family = playbook.by_id[candidate.action_id].family
        if family is None:
            continue
        leader = first.get(family)
        if leader is None or (
            playbook.families[family].order == "cheapest"
            and candidate.value.total_cost < leader.value.total_cost
        ):
            first[family] = candidate
    return first


def _latest(
    names: Iterable[str], last_done: Mapping[str, datetime], wait: timedelta
) -> tuple[str, datetime] | None:
    """The past action whose time runs longest, and its end."""
    done = [(last_done[name] + wait, name) for name in names if name in last_done]
    if not done:
        return None
    free, name = max(done)
    return name, free
