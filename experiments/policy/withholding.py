"""Reasons to hold back an action that was triggered, in words and with a date.

Each function considers one action alone: are its values known, is it allowed, may it harm, is it
worth it. Frequency and times are in ``contact_policy.py``, rules between actions in
``arbitration.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from experiments.effects.action_effect import OUTCOME_WORDS
from experiments.effects.belief import GOOD_OUTCOME, MeasuredEffects, mix_belief, most_harm
from experiments.policy.conditions import Facts, explain_condition, holds, label, requirement
from experiments.policy.value import ActionValue
from registry.playbook.actions import Action
from registry.playbook.condition_grammar import Condition
from registry.playbook.playbook import Playbook
from registry.playbook.prices import NEXT_PLAN, PriceList

Stage = Literal[
    "eligibility",
    "suitability",
    "put_off",
    "contact_policy",
    "value",
    "conflicts",
    "rank",
    "chance",
]
"""The stages at which an action can drop out, in their order."""

Reason = Literal[
    "not_known",
    "not_eligible",
    "held_out",
    "may_harm",
    "put_off",
    "cool_down",
    "quiet_hours",
    "week_is_full",
    "does_not_pay",
    "gives_way",
    "one_at_a_time",
    "one_conversation",
    "no_higher_plan",
]

ON_THE_WALL: frozenset[Reason] = frozenset({"put_off", "quiet_hours"})
"""Reasons that end in actual time; all others that end do so in the time of the data."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The stage and the reason, until when (in words), and from when it is allowed, if known."""

    stage: Stage
    reason: Reason
    why: str
    until: str
    allowed_from: datetime | None = None


def refuse_not_allowed(action: Action, playbook: Playbook, facts: Facts) -> Refusal | None:
    """The refusal of an action whose guard or condition fails or is unknown."""
    for guard in playbook.guards_of[action.id]:
        if guard.only_if is not None and holds(guard.only_if, facts) is not True:
            continue
        # words are made only if needed
        if holds(guard.condition, facts) is not True and (
            refusal := _refuse_by(guard.condition, facts, f"{guard.why} Now", guard.until)
        ):
            return refusal
    for condition in action.eligibility:
        if holds(condition, facts) is not True and (
            refusal := _refuse_by(condition, facts, "Not for this account now")
        ):
            return refusal
    return None


def _refuse_by(condition: Condition, facts: Facts, why: str, until: str = "") -> Refusal | None:
    verdict = explain_condition(condition, facts)
    if verdict.holds is None:
        return _unknown(verdict.unknown)
    if verdict.holds:
        return None
    return Refusal(
        stage="eligibility",
        reason="not_eligible",
        why=f"{why}: {verdict.words}.",
        until=until or f"until: {requirement(condition)}",
        allowed_from=verdict.from_when,
    )


def find_unknown_values(action: Action, playbook: Playbook, facts: Facts) -> tuple[str, ...]:
    """Unknown values that a person has to look at before the action is carried out."""
    conditions = [
        guard.condition
        for guard in playbook.guards_of[action.id]
        if guard.only_if is None or holds(guard.only_if, facts) is True
    ]
    names = [
        name
        for condition in (*conditions, *action.eligibility)
        if condition.may_ask
        for name in explain_condition(condition, facts).ask
    ]
    return tuple(dict.fromkeys(names))


def refuse_harm(
    action: Action,
    probability: float,
    evidence: MeasuredEffects,
    attributes: Mapping[str, str | None],
    tolerance: float,
    kept: float = 1.0,
) -> Refusal | None:
    """The refusal of an action whose measured effect may be or is more harmful than is tolerated.

    On the action's own outcome the belief (playbook and data) decides; harm that the data alone
    show, on either outcome, counts as well. Without a measurement nothing is refused.
    """
    if action.id not in evidence.measured_actions:
        return None
    for outcome, words in OUTCOME_WORDS.items():
        effect = evidence.of(action.id, outcome, attributes)
        if effect is None:
            continue
        most = (
            most_harm(effect.estimate, effect.standard_error) if effect.high < 0 else -1.0
        )  # data alone: only proven harm
        if GOOD_OUTCOME.get(action.prior.outcome) == outcome:
            belief = mix_belief(action.prior, probability, effect, kept)
            most = max(most, most_harm(belief.mean, belief.deviation))
        if most > tolerance:
            return Refusal(
                stage="suitability",
                reason="may_harm",
                why=f"Measured (grade {effect.grade}, {effect.n:,} cases): the {words} changes by "
                f"{100 * effect.estimate:+.1f} points ({100 * effect.low:+.1f} to "
                f"{100 * effect.high:+.1f}). It may take away {100 * most:.1f} points, more "
                f"than the {100 * tolerance:.1f} that are tolerated.",
                until="until new measurements rule the harm out",
            )
    return None


def refuse_without_value(value: ActionValue | None) -> Refusal:
    """The refusal of an action that is worth less than doing nothing, or of unknown value (None)."""
    if value is None:
        return _unknown(("mrr",), "value")
    gain = value.cautious + value.total_cost
    return Refusal(
        stage="value",
        reason="does_not_pay",
        why=f"It costs {value.total_cost:,.2f} and brings {gain:,.2f} on a cautious "
        f"count: too little for this account's revenue and risk.",
        until="until the risk, the chance or the revenue is higher",
    )


def refuse_without_price(plan: str | None, prices: PriceList, action: Action) -> Refusal:
    """The refusal of an offer that has no price for this account."""
    sold = action.sells.what if action.sells is not None else ""
    if sold == NEXT_PLAN and prices.is_highest(plan):
        return Refusal(
            stage="value",
            reason="no_higher_plan",
            why="They are on the highest plan of the price list; there is none above it.",
            until="until the price list has a plan above theirs",
        )
    what = "the next plan" if sold == NEXT_PLAN else f"“{sold.replace('_', ' ')}”"
    return Refusal(
        stage="value",
        reason="not_known",
        why=f"Not known: the price of {what} for this account, so the offer is given no money.",
        until="until prices.toml of the workspace names it",
    )


def _unknown(names: Iterable[str], stage: Stage = "eligibility") -> Refusal:
    words = ", ".join(label(name) for name in dict.fromkeys(names))
    return Refusal(
        stage=stage,
        reason="not_known",
        why=f"Not known: {words}.",
        until=f"until this is known: {words}",
    )
