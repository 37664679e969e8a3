"""Whom to act on next with one action: the accounts by what it is expected to bring, and why believe it.

The order is that of the policy: measured effect of the account's segment (shrunk toward all of them,
and mixed with the playbook's guess) × money at stake − cost, on a cautious count. Each row says how
much of it was measured, by which grade, and what could be wrong. Accounts for which the policy holds
the action back are counted by its reason. Part of the accounts can be drawn by lot, so that the next
report can say what the action did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from experiments.policy.recommend import Candidate
from experiments.randomisation.assignment import LotteryError
from experiments.randomisation.keyed_draw import Draw, draw
from serving.decisions.exploration_settings import ExplorationSettings
from serving.recommendations.recommend import ProposedDecision
from serving.timeline.plan_draws import lottery_name

NOT_BROUGHT_UP = "nothing that we know of the account calls for it"

COULD_BE_WRONG: Mapping[str | None, str] = {
    None: "Nobody measured it: this is the playbook's guess (grade E). A lottery would tell.",
    "A": "A lottery measured it; it holds as long as the action and the accounts stay as they were.",
    "B": (
        "An event from outside decided who got it; whatever else that event changed is part of the "
        "effect."
    ),
    "C": (
        "People chose who got it; what they knew, and the telemetry does not, is part of the effect. "
        "A lottery would tell."
    ),
}
"""What could be wrong with an effect, by the grade of what was measured."""

SCHEMA: Mapping[str, type[pl.DataType]] = {
    "place": pl.Int64,
    "account_id": pl.String,
    "account_name": pl.String,
    "segment": pl.String,
    "action": pl.String,
    "gain": pl.Float64,
    "gain_cautious": pl.Float64,
    "currency": pl.String,
    "months": pl.Float64,
    "chance": pl.Float64,
    "effect": pl.Float64,
    "effect_low": pl.Float64,
    "effect_high": pl.Float64,
    "money_at_stake": pl.Float64,
    "cost": pl.Float64,
    "grade": pl.String,
    "measured_share": pl.Float64,
    "measured_cases": pl.Int64,
    "what_could_be_wrong": pl.String,
    "because": pl.String,
    "place_rests_on": pl.String,
    "is_first": pl.Boolean,
    "arm": pl.String,
    "propensity": pl.Float64,
}


@dataclass(frozen=True, kw_only=True)
class NextAccount:
    """An account that may get the action, with the decision in which it does."""

    proposed: ProposedDecision
    candidate: Candidate
    is_first: bool

    @property
    def account_id(self) -> str:
        """Of the account."""
        return self.proposed.score.account_id


@dataclass(frozen=True, kw_only=True)
class WhomNext:
    """Accounts for one action, best first, and how many it is held back for, by reason."""

    action_id: str
    accounts: tuple[NextAccount, ...]
    held_back: Mapping[str, int]

    def frame(self, *, months: float, lot: Draw | None = None) -> pl.DataFrame:
        """One row an account: ``SCHEMA``; money is over ``months``, in the currency that is named."""
        return pl.DataFrame(
            [
                _row(place, one, self.action_id, months, lot)
                for place, one in enumerate(self.accounts, 1)
            ],
            schema=SCHEMA,
        )


def whom_next(decided: Sequence[ProposedDecision], action_id: str) -> WhomNext:
    """The accounts for which the policy allows the action now, by cautious value."""
    accounts: list[NextAccount] = []
    held_back: Counter[str] = Counter()
    for one in decided:
        ranked = one.recommendation.ranked
        found = next((c for c in ranked if c.action_id == action_id), None)
        if found is not None:
            accounts.append(NextAccount(proposed=one, candidate=found, is_first=ranked[0] is found))
            continue
        withheld = next((w for w in one.recommendation.withheld if w.action_id == action_id), None)
        held_back[NOT_BROUGHT_UP if withheld is None else withheld.reason.replace("_", " ")] += 1
    return WhomNext(
        action_id=action_id,
        accounts=tuple(
            sorted(accounts, key=lambda one: (-one.candidate.cautious_value, one.account_id))
        ),
        held_back=dict(held_back.most_common()),
    )


def draw_lottery(found: WhomNext, drawn: int, *, rules: ExplorationSettings, at: datetime) -> Draw:
    """Draw so many of the accounts for the action; the others are left alone.

    Only accounts take part for which it would be done now (it comes first), by its value alone (no
    promise, nothing urgent), in which `chance.toml` lets chance decide.

    Raises:
        LotteryError: there are not more accounts than are to be drawn.
    """
    names = [
        one.account_id
        for one in found.accounts
        if one.is_first
        and one.candidate.basis == "value"
        and rules.exploration.closeness_for(
            one.proposed.score.features.get("mrr"), one.proposed.score.attributes
        )
        > 0
    ]
    if not 0 < drawn < len(names):
        raise LotteryError(
            f"{len(names):,} accounts can take part in a lottery of {found.action_id}: it comes first "
            f"for them by its value, and chance.toml leaves nothing of theirs out. Draw at least 1 and "
            f"at most {max(len(names) - 1, 0):,} of them, so that somebody is left alone."
        )
    return draw(
        rules.key.position,
        names,
        k=drawn,
        lottery_id=lottery_name(found.action_id, f"{at:%Y-%m-%d}"),
        key_id=rules.key.key_id,
    )


def _row(
    place: int, one: NextAccount, action_id: str, months: float, lot: Draw | None
) -> dict[str, object]:
    score, candidate = one.proposed.score, one.candidate
    value, belief = candidate.value, candidate.value.belief
    grade = belief.measured_grade if belief else None
    took_part = lot is not None and one.account_id in lot.of
    return {
        "place": place,
        "account_id": one.account_id,
        "account_name": score.attributes.get("account_name"),
        "segment": score.attributes.get("segment"),
        "action": action_id,
        "gain": value.expected,
        "gain_cautious": value.cautious,
        "currency": score.currency,
        "months": months,
        "chance": value.probability,
        "effect": belief.mean if belief else None,
        "effect_low": belief.low if belief else None,
        "effect_high": belief.high if belief else None,
        "money_at_stake": value.at_stake,
        "cost": value.total_cost,
        "grade": candidate.grade,
        "measured_share": belief.data_share if belief else 0.0,
        "measured_cases": belief.n if belief else 0,
        "what_could_be_wrong": COULD_BE_WRONG[grade],
        "because": candidate.because,
        "place_rests_on": candidate.basis_why or candidate.basis,
        "is_first": one.is_first,
        "arm": None
        if lot is None or not took_part
        else ("offered" if one.account_id in lot.drawn else "left_alone"),
        "propensity": lot.propensity if lot is not None and took_part else None,
    }
