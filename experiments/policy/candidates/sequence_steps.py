"""Find the step of each sequence that is due for an account.

Day zero comes from a known instant, from a feature that counts days, from an alert, or from the
first step that was taken. Missed steps lapse; they are not sent late one after the other. A sequence
has one next step (or several of the same hour): the earliest that is due and not done; later ones come
after it. Pure: history and the moment come in.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass
from datetime import datetime, timedelta

from experiments.policy.account_state import AccountState, PastAction
from experiments.policy.conditions import Facts, holds
from registry.playbook.condition_grammar import Condition
from registry.playbook.sequences import Sequence, Start, Step


@dataclass(frozen=True, kw_only=True)
class DueStep:
    """A step whose time has come: ``due_at`` ≤ now < ``lapses_at``.

    ``unrecorded`` and ``unfit`` are the numbers of earlier steps that were not done: of which nothing
    is recorded, and whose own condition does not hold.
    """

    sequence: Sequence
    step: Step
    number: int
    due_at: datetime
    lapses_at: datetime
    unrecorded: tuple[int, ...] = ()
    unfit: tuple[int, ...] = ()

    @property
    def place(self) -> str:
        """The account's place in the sequence, in words."""
        return (
            f"step {self.number} of {len(self.sequence.steps)} of the sequence "
            f"“{self.sequence.name}”"
        )

    @property
    def words(self) -> str:
        """The place, with the earlier steps that were left out."""
        left_out = [
            *([f"nothing is recorded of {_numbered(self.unrecorded)}"] if self.unrecorded else []),
            *([f"{_numbered(self.unfit)} did not apply"] if self.unfit else []),
        ]
        return f"{self.place} ({', '.join(left_out)})" if left_out else self.place


def due_steps(
    sequences: Many[Sequence], state: AccountState, facts: Facts, history: Many[PastAction]
) -> tuple[DueStep, ...]:
    """The steps that are due; of each calendar only the first sequence that applies counts."""
    due: list[DueStep] = []
    calendars: set[str] = set()
    for sequence in sequences:
        if sequence.calendar in calendars or not _all_hold(sequence.applies, facts):
            continue
        if sequence.calendar is not None:
            calendars.add(sequence.calendar)
        if not any(holds(condition, facts) for condition in sequence.stop):
            due.extend(_due_in(sequence, state, facts, history))
    return tuple(due)


def day_zero(
    sequence: Sequence, state: AccountState, facts: Facts, history: Many[PastAction]
) -> datetime | None:
    """The start of the sequence's clock, the earliest if there are several; None: not known.

    An alert that is raised again and again does not restart a sequence with an ``entry`` start:
    its clock runs from the first step that was taken.
    """
    as_of = facts.as_of
    known = [
        (start.kind, at)
        for start in sequence.day_zero
        if (at := _known_start(start, state, facts)) is not None
    ]
    exact = [at for kind, at in known if kind != "alert"]
    if exact:
        return min(exact)
    raised = [at for _, at in known]
    if not any(start.kind == "entry" for start in sequence.day_zero):
        return min(raised, default=None)
    offsets = {step.action: step.after_hours for step in reversed(sequence.steps)}
    taken = [
        past.at - timedelta(hours=offsets[past.action_id])
        for past in history
        if past.action_id in offsets
        and past.was_carried_out
        and as_of - timedelta(days=sequence.window_days) < past.at <= as_of
    ]
    now = as_of - timedelta(hours=sequence.steps[0].after_hours)
    return min([*raised, *taken], default=now)


def _due_in(
    sequence: Sequence, state: AccountState, facts: Facts, history: Many[PastAction]
) -> list[DueStep]:
    as_of = facts.as_of
    zero = day_zero(sequence, state, facts, history)
    if zero is None:
        return []
    end = zero + timedelta(days=sequence.window_days)
    if as_of >= end:
        return []
    since = [past for past in history if zero <= past.at <= as_of and past.was_carried_out]
    own = {step.action for step in sequence.steps}
    if sequence.declined_ends and any(
        past.outcome == "declined" and past.action_id in own for past in since
    ):
        return []
    times = [zero + timedelta(hours=step.after_hours) for step in sequence.steps]
    is_done = [
        _is_done(step, due_at, zero, sequence, since)
        for step, due_at in zip(sequence.steps, times, strict=True)
    ]
    fits = [_all_hold(step.only_if, facts) for step in sequence.steps]
    due = []
    for number, (step, due_at) in enumerate(zip(sequence.steps, times, strict=True), 1):
        later = [at for at in times if at > due_at]
        lapses_at = min(later) if later and sequence.stays == "until_next" else end
        if due_at <= as_of < lapses_at and not is_done[number - 1] and fits[number - 1]:
            missed = [n for n, at in enumerate(times, 1) if at < due_at and not is_done[n - 1]]
            due.append(
                DueStep(
                    sequence=sequence,
                    step=step,
                    number=number,
                    due_at=due_at,
                    lapses_at=lapses_at,
                    unrecorded=tuple(n for n in missed if fits[n - 1]),
                    unfit=tuple(n for n in missed if not fits[n - 1]),
                )
            )
    return due


def _numbered(numbers: Many[int]) -> str:
    """Numbers of steps, in words.

    >>> _numbered((1, 2, 3)), _numbered((1, 2, 4)), _numbered((2,))
    ('steps 1 to 3', 'steps 1, 2 and 4', 'step 2')
    """
    first, *others = numbers
    if not others:
        return f"step {first}"
    if len(others) > 1 and others[-1] - first == len(others):
        return f"steps {first} to {others[-1]}"
    return f"steps {', '.join(map(str, numbers[:-1]))} and {others[-1]}"


def _is_done(
    step: Step, due_at: datetime, zero: datetime, sequence: Sequence, since: Many[PastAction]
) -> bool:
    """Done since day zero; a step that comes several times, since it was due."""
    repeats = sum(other.action == step.action for other in sequence.steps) > 1
    start = due_at if repeats else zero
    return any(past.action_id == step.action and past.at >= start for past in since)


def _known_start(start: Start, state: AccountState, facts: Facts) -> datetime | None:
    shift = timedelta(days=start.shift_days)
    match start.kind:
        case "moment":
            at = state.moments.get(start.name)
            return None if at is None else at + shift
        case "alert":
            at = state.alert_raised_at.get(start.name) if start.name in state.alerts else None
            return None if at is None else at + shift
        case "age" | "ahead":
            days = facts.values.get(start.name)
            if not isinstance(days, float):
                return None
            distance = timedelta(days=-days if start.kind == "age" else days)
            return state.as_of + distance + shift
        case "entry":
            return None


def _all_hold(conditions: Many[Condition], facts: Facts) -> bool:
    return all(holds(condition, facts) is True for condition in conditions)
