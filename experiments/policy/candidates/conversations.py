"""One conversation for one customer: calls that would be made together become one.

The first opens it, unless another one that is to keep the account is worth more; an urgent one always
does. The others become its subjects, and it stands where the first of them stood. A conversation that
answers an urgent situation may be about few things only: the others wait. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from experiments.policy.recommendation import Candidate, Subject
from experiments.policy.withholding import Refusal
from registry.playbook.group_rules import Conversation, Talk, Urgency


class SharedConversation:
    """The conversation of a list: the action that stands for it, and those that joined."""

    def __init__(self, rule: Conversation, urgencies: Sequence[Urgency] = ()) -> None:
        self._rule = rule
        self._talks = {one.why: one.talk for one in reversed(urgencies)}
        self._leader: Candidate | None = None
        self._subjects: list[Candidate] = []

    @property
    def has_leader(self) -> bool:
        """Whether there is a conversation that others may join."""
        return self._leader is not None

    def lead_by(self, candidate: Candidate) -> None:
        """Let an action open the conversation."""
        self._leader = candidate

    def refuse(self, candidate: Candidate) -> Refusal | None:
        """Let an action join as a subject, or refuse it where it does not fit or finds no room.

        Promises always find room, but for a conversation that is about one thing.
        """
        talk = self._talk
        if talk is not None and not talk.fits(candidate.action_id, candidate.objective):
            return self._refusal(talk.why)
        if talk is not None:
            is_full = len(self._subjects) >= talk.most
        else:
            weighed = sum(other.basis == "value" for other in self._subjects)
            is_full = candidate.basis == "value" and weighed >= self._rule.most_subjects
        if is_full:
            name = "" if self._leader is None else self._leader.name
            return self._refusal(f"{self._rule.why} “{name}” has enough subjects.")
        self._subjects.append(candidate)
        return None

    @property
    def _talk(self) -> Talk | None:
        """What the conversation is limited to, where an urgent action opens it."""
        if self._leader is None or self._leader.basis != "urgent":
            return None
        return self._talks.get(self._leader.basis_why)

    def _refusal(self, why: str) -> Refusal:
        name = "" if self._leader is None else self._leader.name
        return Refusal(
            stage="rank",
            reason="one_conversation",
            why=why,
            until=f"until {self._rule.days:g} days after “{name}”",
        )

    def joined(self, chosen: Sequence[Candidate]) -> list[Candidate]:
        """The list, with the subjects in the action that opens the conversation."""
        return [
            with_subjects(one, self._subjects) if one is self._leader else one for one in chosen
        ]


def with_subjects(first: Candidate, joined: Sequence[Candidate]) -> Candidate:
    """A conversation with its subjects: by the earliest deadline, as free as its least free part."""
    if not joined:
        return first
    leader = first
    if first.basis != "urgent":
        saves = [one for one in joined if one.objective == "retain" != first.objective]
        best = max((first, *saves), key=lambda one: one.cautious_value)  # the first of equals
        leader = replace(best, basis=first.basis, basis_why=first.basis_why)
    others = [one for one in (first, *joined) if one.action_id != leader.action_id]
    deadlines = [one.deadline for one in (leader, *others) if one.deadline is not None]
    return replace(
        leader,
        subjects=tuple(
            Subject(action_id=one.action_id, name=one.name, text=one.text, because=one.because)
            for one in others
        ),
        deadline=min(deadlines, default=None),
        autonomy=min(one.autonomy for one in (leader, *others)),
        look_first=tuple(
            dict.fromkeys(line for one in (leader, *others) for line in one.look_first)
        ),
    )
