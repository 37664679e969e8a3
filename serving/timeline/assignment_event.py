"""The event that says what chance decided in a decision: arm, odds and draw.

Read from the question that the ledger stores, so that an analysis of effects finds the assignment
on the timeline. The recommendation counts (intention to treat); what was done is another record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from features.events.provenance import HOLDOUT
from serving.ledger.ledger import Decision, DecisionSummary


@dataclass(frozen=True, kw_only=True)
class DrawnArm:
    """What chance decided. ``arm`` is None where something is offered either way; ``probability``
    is that of being offered an action, or without an arm that of the one that came first."""

    chance: str
    draw_id: str
    probability: float
    arm: str | None = None
    intervention: str | None = None

    @property
    def properties(self) -> Mapping[str, str | None]:
        """The properties of the event."""
        return {
            "chance": self.chance,
            "draw_id": self.draw_id,
            "arm": self.arm,
            "intervention": self.intervention,
        }


def drawn_arm(decision: Decision | DecisionSummary) -> DrawnArm | None:
    """The arm that chance drew in a decision; None if nothing was drawn, or the question was not stored.

    In the holdout the first action of one account is compared with none of another, so the odds
    are the holdout's, also where a lot between actions said which action that is.
    """
    if not 0 < decision.propensity < 1 or decision.inputs is None:
        return None
    question: Mapping[str, Any] = json.loads(decision.inputs)["question"]
    standing, chance = question["standing"], question["chance"]
    if standing is not None:
        is_held_out, odds = standing["is_held_out"], standing["propensity"]
        return DrawnArm(
            chance="holdout",
            draw_id=standing["lottery_id"],
            intervention=HOLDOUT,
            arm="held_out" if is_held_out else "offered",
            probability=1 - odds if is_held_out else odds,
        )
    return DrawnArm(
        chance="between_actions", draw_id=chance["lottery_id"], probability=decision.propensity
    )
