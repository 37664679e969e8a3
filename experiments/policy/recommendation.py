"""The answer of the policy: what is recommended, and what was held back.

Values that a person can read and a program can store; each can be written as JSON.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from experiments.policy.value import ActionValue
from experiments.policy.withholding import Reason, Stage
from experiments.randomisation.holdout import HoldoutStatus
from experiments.randomisation.keyed_draw import Draw

Basis = Literal["urgent", "due", "value"]
"""What an action's place in the list rests on: a situation that a person answers first, a promise,
or its cautious value."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An action that becomes a subject of another action's conversation."""

    action_id: str
    name: str
    text: str
    because: str

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One action that can be done now, with its value and its reasons.

    ``playbook_share`` is how much of the effect is prior and not data (1: all of it);
    ``look_first`` lists the values that a person has to check before it is done. ``basis`` is what
    its place rests on, with the reason in ``basis_why``; ``subjects`` are the actions that are
    talked about in the same conversation. ``look_again_on`` is the day to look again where no person
    does anything, on the time of the data.
    """

    action_id: str
    name: str
    text: str
    objective: str
    channel: str
    owner_role: str
    because: str
    look_first: tuple[str, ...]
    deadline: datetime | None
    autonomy: int
    value: ActionValue
    grade: str
    evidence: str
    playbook_share: float
    sequence: str | None
    basis: Basis = "value"
    basis_why: str = ""
    subjects: tuple[Subject, ...] = ()
    look_again_on: datetime | None = None
    look_again_why: str = ""

    @property
    def expected_value(self) -> float:
        """Money it is expected to bring after costs."""
        return self.value.expected

    @property
    def cautious_value(self) -> float:
        """The cautious net value, by which actions are ranked."""
        return self.value.cautious

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; what older decisions do not have is there only if it says more."""
        ours: dict[str, object] = {}
        if self.basis != "value":
            ours |= {"basis": self.basis, "basis_why": self.basis_why}
        if self.subjects:
            ours["subjects"] = [subject.to_dict() for subject in self.subjects]
        return {
            **ours,
            "action_id": self.action_id,
            "name": self.name,
            "text": self.text,
            "objective": self.objective,
            "channel": self.channel,
            "owner_role": self.owner_role,
            "because": self.because,
            "look_first": list(self.look_first),
            "deadline": _iso(self.deadline),
            "autonomy": self.autonomy,
            "expected_value": self.expected_value,
            "cautious_value": self.cautious_value,
            "value_parts": self.value.to_dict(),
            "evidence_grade": self.grade,
            "evidence": self.evidence,
            "playbook_share": self.playbook_share,
            "sequence": self.sequence,
        }


@dataclass(frozen=True, kw_only=True)
class Withheld:
    """A triggered action that is held back: its stage, reason and end."""

    action_id: str
    name: str
    because: str
    stage: Stage
    reason: Reason
    why: str
    until: str
    allowed_from: datetime | None

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "action_id": self.action_id,
            "name": self.name,
            "because": self.because,
            "stage": self.stage,
            "reason": self.reason,
            "why": self.why,
            "until": self.until,
            "allowed_from": _iso(self.allowed_from),
        }


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The ranked actions of one account, best first, down to doing nothing.

    ``not_relevant`` counts the actions without a trigger. ``lot`` is the draw that decided the
    first place, ``standing`` the account's holdout status; ``otherwise`` is the action that would
    have come first with the other result of the holdout's draw.
    """

    account_id: str
    as_of: datetime
    score_source: str
    ranked: tuple[Candidate, ...]
    withheld: tuple[Withheld, ...]
    not_relevant: int
    notes: tuple[str, ...]
    lot: Draw | None = None
    standing: HoldoutStatus | None = None
    otherwise: str | None = None

    @property
    def look_again_on(self) -> datetime | None:
        """The day to look again; None where a person has something to do now."""
        return self.ranked[-1].look_again_on

    @property
    def look_again_why(self) -> str:
        """What it is about on that day; empty where there is none."""
        return self.ranked[-1].look_again_why

    @property
    def propensity(self) -> float:
        """The probability of the first action, given the account; 1: chance had no part."""
        by_lot = self.lot.propensity if self.lot else 1.0
        if self.standing is None or self.otherwise == self.ranked[0].action_id:
            return by_lot
        return by_lot * self.standing.propensity

    @property
    def dropped(self) -> dict[Stage, int]:
        """The number of actions that each stage held back."""
        counts = Counter(w.stage for w in self.withheld)
        return {stage: counts[stage] for stage in get_args(Stage) if counts[stage]}

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "account_id": self.account_id,
            "as_of": _iso(self.as_of),
            "score_source": self.score_source,
            "ranked": [candidate.to_dict() for candidate in self.ranked],
            "withheld": [withheld.to_dict() for withheld in self.withheld],
            "not_relevant": self.not_relevant,
            "dropped": dict(self.dropped),
            "notes": list(self.notes),
            "propensity": self.propensity,
            "lot": self.lot.to_dict() if self.lot else None,
            "holdout": self.standing.to_dict() if self.standing else None,
            "otherwise": self.otherwise,
            "look_again_on": _iso(self.look_again_on),
            "look_again_why": self.look_again_why,
        }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
