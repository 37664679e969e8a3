"""This module is about whether what was decided would still be allowed when somebody claims it.

A decision is valid for a week, and in a week consent is taken back, an account is put on legal
hold, a severe ticket is opened, or another system makes the same call and only its timeline tells.
So the policy is asked again on all that is known now. What it holds back for a rule is not claimed;
that an action is worth less than before, or another came ahead of it, is no reason to stop who
has set out.
"""

from __future__ import annotations

from collections.abc import Iterable

from experiments.recommendation import Withheld
from serving.desk import Desk
from serving.ledger.ledger import Decision
from serving.recommending import decide

RULES = frozenset({"not_known", "not_eligible", "held_out", "may_harm", "cool_down",
                   "one_at_a_time", "week_is_full", "gives_way"})
"""Reasons of rules. Put-offs and quiet hours are asked in the claim's own transaction."""

ORDERING = frozenset({"value", "rank"})
"""Stages that compare what an action is worth; of conflicts one of a family goes with them."""


def held_back_now(desk: Desk, decision: Decision) -> str | None:
    """Why a rule would hold the decided action back now, in a sentence; None if none would.

    What nothing brings up any more goes ahead, and so does what concerns an account that is not
    scored: the ledger's own checks remain.

    Raises:
        NotReadyError: no account has been scored yet.
    """
    score = desk.portfolio.by_id.get(decision.account_id)
    if score is None:
        return None
    [decided] = decide(desk, [score])
    found = by_rule(decided.recommendation.withheld, decision.action)
    if found is None:
        return None
    until = "" if found.until is None else f" ({found.until})"
    return (f"On what is known now, {decision.action} is held back: {found.why.rstrip('.')}"
            f"{until}.")


def by_rule(withheld: Iterable[Withheld], action_id: str) -> Withheld | None:
    """What is held back of this action, if a rule does it."""
    return next((one for one in withheld if one.action_id == action_id and one.reason in RULES
                 and one.stage not in ORDERING
                 and (one.stage, one.reason) != ("conflicts", "one_at_a_time")), None)
