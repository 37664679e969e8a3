"""Exploration: the part that chance has in the ranking of one account.

A lot among nearly equal actions decides which comes first; an account in the standing holdout gets
no action. Both come after every filter and cap: an action that chance moves to the top was allowed,
pays, and would have been recommended anyway. Pure: the seed of the draw is a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.policy.account_state import AccountState
from experiments.policy.recommendation import Candidate
from experiments.policy.withholding import Refusal
from experiments.randomisation.holdout import HoldoutStatus
from experiments.randomisation.keyed_draw import Draw, Exploration, LotteryKey, draw, draw_with_seed
from registry.playbook.playbook import Playbook


@dataclass(frozen=True, kw_only=True)
class AccountChance:
    """The rules of chance for one account, and the seed of its draws.

    ``seed`` is stored with the decision: it repeats this account's draw and no other.
    """

    exploration: Exploration
    seed: str
    lottery_id: str
    key_id: str


def chance_for(
    exploration: Exploration, key: LotteryKey, account_id: str, *, period: str
) -> AccountChance:
    """The account's chance in a period; asked again in the same period it is the same."""
    lottery_id = f"actions-{period}"
    return AccountChance(
        exploration=exploration,
        seed=key.seed(lottery_id, account_id),
        lottery_id=lottery_id,
        key_id=key.key_id,
    )


def draw_to_top(
    chosen: Sequence[Candidate],
    playbook: Playbook,
    state: AccountState,
    chance: AccountChance | None,
) -> tuple[list[Candidate], Draw | None]:
    """The ranking with one of the nearly equal best actions drawn to the top.

    The actions that take part depend on values alone and not on the seed, so each has propensity
    1/n. Only reversible actions take part, and never the first word on an incident; if another
    action is best, it stays first.
    """
    ranked = list(chosen)
    if chance is None or not ranked or ranked[0].basis != "value":
        return ranked, None  # what is urgent or promised is left to no lot
    share = chance.exploration.closeness_for(state.monthly_revenue, state.attributes)
    least = ranked[0].cautious_value * (1 - share)
    near = [
        candidate.action_id
        for candidate in ranked
        if candidate.cautious_value >= least
        and (action := playbook.by_id[candidate.action_id]).reversible
        and not action.service_message
    ][: chance.exploration.most_actions]
    if share == 0 or len(near) < 2 or near[0] != ranked[0].action_id:
        return ranked, None
    lot = draw(
        draw_with_seed(chance.seed), near, k=1, lottery_id=chance.lottery_id, key_id=chance.key_id
    )
    first = next(c for c in ranked if c.action_id == lot.drawn[0])
    return [first, *(c for c in ranked if c is not first)], lot


def refuse_in_holdout(standing: HoldoutStatus) -> Refusal:
    """The refusal of every action of an account in the holdout."""
    until = (
        f"until the contract term ends, {standing.until:%d %B %Y}"
        if standing.until
        else "until the contract term ends"
    )
    return Refusal(
        stage="chance",
        reason="held_out",
        until=until,
        allowed_from=standing.until,
        why="Drawn by lot to be left alone for this contract term, so that it can be measured "
        "what our actions do. What is owed (the first word on an incident) still goes out.",
    )
