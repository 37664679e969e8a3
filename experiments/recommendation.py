"""This module is about the answer of the policy: what is recommended, and what was held back.

Values that a person can read and a program can store: every one turns into plain JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from experiments.action_value import ActionValue
from experiments.refusals import Reason, Stage


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One thing that can be done now, with what it is worth and why it came up.

    ``playbook_share`` is how much of the effect is prior and not data (1: all of it);
    ``look_first`` is what a person has to check before it is done.
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

    @property
    def expected_value(self) -> float:
        """Money it is expected to bring after costs."""
        return self.value.expected

    @property
    def cautious_value(self) -> float:
        """What we dare to count on; the ranking goes by this."""
        return self.value.cautious

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "action_id": self.action_id, "name": self.name, "text": self.text,
            "objective": self.objective, "channel": self.channel, "owner_role": self.owner_role,
            "because": self.because, "look_first": list(self.look_first),
            "deadline": _iso(self.deadline), "autonomy": self.autonomy,
            "expected_value": self.expected_value, "cautious_value": self.cautious_value,
            "value_parts": self.value.to_dict(), "evidence_grade": self.grade,
            "evidence": self.evidence, "playbook_share": self.playbook_share,
            "sequence": self.sequence,
        }


@dataclass(frozen=True, kw_only=True)
class Withheld:
    """An action that was brought up and held back: at which stage, why, and until when."""

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
        return {"action_id": self.action_id, "name": self.name, "because": self.because,
                "stage": self.stage, "reason": self.reason, "why": self.why, "until": self.until,
                "allowed_from": _iso(self.allowed_from)}


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The ranked actions of one account, best first, down to doing nothing.

    ``not_relevant`` counts the actions that nothing brought up.
    """

    account_id: str
    as_of: datetime
    score_source: str
    ranked: tuple[Candidate, ...]
    withheld: tuple[Withheld, ...]
    not_relevant: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "account_id": self.account_id, "as_of": _iso(self.as_of),
            "score_source": self.score_source,
            "ranked": [candidate.to_dict() for candidate in self.ranked],
            "withheld": [withheld.to_dict() for withheld in self.withheld],
            "not_relevant": self.not_relevant, "notes": list(self.notes),
        }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
