"""Give the last hours of a week to one of nearly equal accounts, by lot.

In a finished plan a few offers of one action may take the same hours of the same person or pool and
the same money, be worth nearly the same, and only some of them fit. Those that fit are drawn: k of
n, so the propensity of each is exactly k/n. Any k of them keep every limit, because
they take the same from each. An account takes part in one draw at most; everything else in the
plan has propensity 1. Who takes part follows from the plan alone, never from the draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from experiments.planning.options import NOBODY, Options
from experiments.planning.rounding import Week
from experiments.randomisation.keyed_draw import Draw, LotteryKey, draw

Places = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class CapacityLottery:
    """The key of the draw of the last hours, the week, and the accounts that take part.

    ``closeness`` is, by account, the share of a better offer's value that may be given up for
    chance (``Exploration.closeness_for``); an account without one takes no part.
    """

    key: LotteryKey
    week: str
    closeness: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Lot:
    """One draw: k of n offers of an action, with the person or pool whose hours they take."""

    action_id: str
    by: str
    hours: float
    draw: Draw

    @property
    def why_not(self) -> str:
        """The reason of an offer that was not drawn."""
        return (
            f"By lot: {len(self.draw.drawn)} of {len(self.draw.of)} nearly equal accounts were "
            f"drawn for the last hours of {self.by}."
        )

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "action_id": self.action_id,
            "by": self.by,
            "hours": self.hours,
            **self.draw.to_dict(),
        }


def draw_lots(options: Options, week: Week, lottery: CapacityLottery) -> tuple[Lot, ...]:
    """Draw who gets the last hours, and change the week accordingly.

    Args:
        options: all of them.
        week: whole actions within every limit; keeps them.
        lottery: the key, the week's name, and who may take part.
    """
    share = np.array([lottery.closeness.get(name, 0.0) for name in options.accounts])
    # care is owed, so it is not drawn
    may = (
        (share[options.account] > 0)
        & (options.tier[options.account] < 0)
        & (options.resource != NOBODY)
        & (options.value > 0)
    )
    taken_offers = np.zeros(options.offers.height, dtype=bool)
    taken_offers[options.offer[week.is_chosen]] = True
    actions = options.offers["action_id"].to_numpy()
    kinds: dict[tuple[object, ...], list[int]] = {}
    for option in np.flatnonzero(may):
        if week.is_chosen[option] or (
            not taken_offers[options.offer[option]] and week.has_room_for_account(int(option))
        ):
            kind = (
                int(options.resource[option]),
                str(actions[options.offer[option]]),
                float(options.hours[option]),
                float(options.cost[option]),
                *(bool(drawn) for drawn in options.budget[:, option]),
            )
            kinds.setdefault(kind, []).append(int(option))
    lots = []
    drawn_for: set[int] = set()
    for kind in sorted(kinds, key=repr):
        free = np.array(
            [o for o in kinds[kind] if options.account[o] not in drawn_for], dtype=np.int64
        )
        near = _near_equal(free, options, week, share)
        if not len(near):
            continue
        lots.append(_one_draw(near, options, week, lottery))
        drawn_for.update(int(account) for account in options.account[near])
    return tuple(lots)


def with_lots(waiting: pl.DataFrame, lots: tuple[Lot, ...]) -> pl.DataFrame:
    """The table of waiting offers, with the reason of those that were not drawn."""
    lost = pl.DataFrame(
        [
            (name, lot.action_id, lot.why_not)
            for lot in lots
            for name in lot.draw.of
            if name not in lot.draw.drawn
        ],
        schema={"account_id": pl.String, "action_id": pl.String, "by_lot": pl.String},
        orient="row",
    )
    return (
        waiting.join(lost, on=["account_id", "action_id"], how="left", maintain_order="left")
        .with_columns(why=pl.coalesce("by_lot", "why"))
        .drop("by_lot")
    )


def propensities(lots: tuple[Lot, ...]) -> pl.DataFrame:
    """For each offer that was drawn: its lottery and propensity."""
    return pl.DataFrame(
        [
            (name, lot.action_id, lot.draw.lottery_id, lot.draw.propensity)
            for lot in lots
            for name in lot.draw.drawn
        ],
        schema={
            "account_id": pl.String,
            "action_id": pl.String,
            "lottery": pl.String,
            "propensity": pl.Float64,
        },
        orient="row",
    )


def _near_equal(free: Places, options: Options, week: Week, share: NDArray[np.float64]) -> Places:
    """The offers around the last one that fits: every one left out is worth nearly what each one
    taken in is, by the stricter share of the two."""
    chosen, out = free[week.is_chosen[free]], free[~week.is_chosen[free]]
    if not len(chosen) or not len(out):
        return chosen[:0]
    value, strict = options.value, share[options.account]
    chosen = chosen[np.lexsort((chosen, value[chosen]))]
    last = chosen[0]
    enough = value[out] >= (1 - np.minimum(strict[out], strict[last])) * value[last]
    out = np.asarray(out[enough], dtype=np.int64)
    if not len(out):
        return out
    taken = [int(last)]
    for option in chosen[1:]:
        if np.any(value[out] < (1 - np.minimum(strict[out], strict[option])) * value[option]):
            break
        taken.append(int(option))
    return np.concatenate([np.array(taken, dtype=np.int64), out])


def _one_draw(near: Places, options: Options, week: Week, lottery: CapacityLottery) -> Lot:
    """Draw among these offers as many as there were, and swap them."""
    by_name = {options.accounts[options.account[option]]: int(option) for option in near}
    first = int(near[0])
    action = str(options.offers["action_id"][int(options.offer[first])])
    by, hours = options.resources[int(options.resource[first])], float(options.hours[first])
    drawn = draw(
        lottery.key.position,
        by_name,
        k=int(week.is_chosen[near].sum()),
        lottery_id=f"capacity-{lottery.week}-{by}-{action}-{hours:g}h-{options.cost[first]:g}",
        key_id=lottery.key.key_id,
    )
    winners = {by_name[name] for name in drawn.drawn}
    for option in near:
        if week.is_chosen[option] and int(option) not in winners:
            week.drop(int(option))
    for option in near:
        if not week.is_chosen[option] and int(option) in winners:
            week.choose(int(option))
    return Lot(action_id=action, by=by, hours=hours, draw=drawn)
