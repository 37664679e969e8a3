"""Explain limits that cannot all be kept: the care that does not fit, and the full limits.

Pure: reads a plan in parts that does not meet the care, and names the limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from experiments.planning.lp_relaxation import Relaxation, relax
from experiments.planning.options import Options
from experiments.planning.team import PlanningError, Team

MOST_NAMED = 6
"""The most full limits that the sentence names; the error lists them all."""

WHAT_HELPS = "Lower the care, or add hours or money there."


@dataclass(frozen=True, kw_only=True)
class LimitConflict:
    """One limit of a conflict: its kind, its owner, and a sentence."""

    limit: Literal["care", "hours", "budget"]
    id: str
    words: str


class ConflictingLimitsError(PlanningError):
    """The care that is asked for does not fit into the hours and budgets.

    ``conflicts`` are the care that is not met, then the limits that are full.
    """

    def __init__(self, message: str, conflicts: Sequence[LimitConflict] = ()) -> None:
        super().__init__(message)
        self.conflicts = tuple(conflicts)


def explain_conflict(options: Options, team: Team, relaxed: Relaxation) -> ConflictingLimitsError:
    """The error that names the care that cannot be met and the limits that prevent it."""
    conflicts = [*_unmet(options, team, relaxed), *_full(options, team)]
    full = [each.words for each in conflicts if each.limit != "care"]
    sentences = [each.words for each in conflicts if each.limit == "care"]
    if full:
        more = f" and {len(full) - MOST_NAMED} more" if len(full) > MOST_NAMED else ""
        sentences.append(f"In the way: {', '.join(full[:MOST_NAMED])}{more}.")
    return ConflictingLimitsError(" ".join([*sentences, WHAT_HELPS]), conflicts)


def explain_rounding(tier: str, asked: int, reached: int) -> ConflictingLimitsError:
    """The error for care that parts of actions meet, but no whole actions that were found."""
    words = (
        f"Care of tier {tier!r} asks for {asked} accounts. Whole actions within the hours and "
        f"budgets reach {reached}"
    )
    return ConflictingLimitsError(
        f"{words}: lower the care, or add hours.",
        [LimitConflict(limit="care", id=tier, words=f"{words}.")],
    )


def _unmet(options: Options, team: Team, relaxed: Relaxation) -> list[LimitConflict]:
    found = []
    for place, care in enumerate(team.care):
        if relaxed.short[place] <= 0:
            continue
        possible = int((options.tier[np.unique(options.account)] == place).sum())
        reached = int(np.floor(care.accounts - relaxed.short[place] + 1e-6))
        words = f"Care of tier {care.tier!r} asks for {care.accounts} accounts, and only "
        words += (
            f"{possible} have an action that is allowed and that somebody can do."
            if possible < care.accounts
            else f"{reached} fit."
        )
        found.append(LimitConflict(limit="care", id=care.tier, words=words))
    return found


def _full(options: Options, team: Team) -> list[LimitConflict]:
    """The limits that care alone would use up."""
    only = relax(options, team, care_only=True)
    hours = [
        LimitConflict(
            limit="hours", id=name, words=f"the {options.capacity[place]:g} hours of {name}"
        )
        for place, name in enumerate(options.resources)
        if only.hour_price[place] > 0
    ]
    money = [
        LimitConflict(
            limit="budget", id=budget.id, words=f"the {budget.amount:,.0f} of budget {budget.id!r}"
        )
        for budget, price in zip(team.budgets, only.budget_price, strict=True)
        if price > 0
    ]
    return [*hours, *money]
