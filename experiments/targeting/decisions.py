"""Decide the arms of accounts from a lottery, and report it for people and programs.

From a lottery and the accounts to decide about to the arm of each, the expected gain of each arm,
and one sentence: whether deciding by account pays on held-out accounts, or the same for everybody
is as good. Pure but for the rng, which draws the folds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from scipy import stats

from experiments.causal.estimates import CONFIDENCE, mean_and_error
from experiments.causal.estimators.aipw import cross_fit
from experiments.causal.sample import Floats
from experiments.targeting.arm_policy import ArmDecisions, decide_arms
from experiments.targeting.lottery_file import AskedAccounts, LotteryTrials
from experiments.targeting.stages import describe_stages

NOT_LEARNED_FROM = "on accounts that it was not learned from"
DECIMALS = 4
"""Decimals of the amounts in the written file."""


class CostError(ValueError):
    """The costs of the actions are missing or cannot be read."""


@dataclass(frozen=True, kw_only=True)
class GainOverNothing:
    """The gain of an action for everybody per trial, beyond its cost, beside doing nothing."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class LotteryDecisions:
    """The decided arms with their expected gains.

    ``for_everybody`` is by action, doing nothing first.
    """

    lottery: LotteryTrials
    asked: AskedAccounts
    cost: Floats
    currency: str
    decided: ArmDecisions
    for_everybody: tuple[GainOverNothing, ...]

    @property
    def simplest(self) -> int:
        """The index of the action that is expected to be best for every trial."""
        return self.decided.alike

    @property
    def shown_to_pay(self) -> bool:
        """Whether held-out trials show that deciding by account pays."""
        return self.decided.held_out.low > 0

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        held_out = self.decided.held_out
        always = f"always {self.lottery.actions[self.simplest]!r}" + (
            ", that is to act on nobody" if self.simplest == 0 else ""
        )
        gain, low, high = self._format_amounts(
            held_out.gain, held_out.low, held_out.high, sign=True
        )
        gained = (
            f"{gain} {self.currency} a trial beside the same for everybody (95 % interval "
            f"{low} to {high}), {NOT_LEARNED_FROM}"
        )
        if self.shown_to_pay:
            return f"Telling accounts apart pays: {gained}."
        if self.decided.tells_apart and (self.decided.told_apart == self.simplest).all():
            return (
                f"Telling accounts apart was not shown to pay here: {gained}. Of these accounts "
                f"all have the same action either way: {always}."
            )
        if self.decided.tells_apart:
            return (
                f"Telling accounts apart was not shown to pay here: {gained}. Each account has "
                f"its own action in the file, since that brought more; the simplest policy is "
                f"{always}; to follow it, take the column simplest_policy instead of action."
            )
        simplest = f"So every account has the simplest policy in the file: {always}."
        if held_out.high < 0:
            # Not "loses": worlds in which every policy is worth the same end here twice as often
            # as the interval promises (26 of 495; 2.5 % would be 12).
            return (
                f"Telling accounts apart was not shown to pay here, it rather loses: {gained}. "
                f"{simplest}"
            )
        if held_out.low == held_out.high:
            return (
                f"Telling accounts apart was not shown to pay here: {NOT_LEARNED_FROM} it does "
                f"the same for everybody. {simplest}"
            )
        return f"Telling accounts apart was not shown to pay here: {gained}. {simplest}"

    def lines(self) -> list[str]:
        """The lines on the data, the value of the decisions, and the verdict."""
        lottery, held_out = self.lottery, self.decided.held_out
        value, alike = self._format_amounts(held_out.value, held_out.alike)
        repeated = sum(name in lottery.account_ids for name in self.asked.account_ids)
        return [
            f"Of {lottery.rows:,} rows {len(lottery.outcome):,} were learned from, of "
            f"{len(lottery.account_ids):,} accounts; {lottery.without_chance:,} with propensity 1 "
            f"are no evidence; the outcome of {lottery.without_outcome:,} is open.",
            f"Facts: {', '.join(fact.name for fact in lottery.facts)}.",
            *describe_stages(
                lottery.stages,
                lottery.reached,
                lottery.outcome,
                arm=lottery.trials.arm,
                actions=lottery.actions,
            ),
            f"{len(self.asked.account_ids):,} accounts were decided about (in the lottery too: "
            f"{repeated:,}).",
            f"Outcome less cost, {self.currency} a trial, {NOT_LEARNED_FROM}: decided account by "
            f"account {value}; the same for everybody, whichever action was expected to be best "
            f"(none among them), {alike}.",
            *self._table_note(),
            self.verdict,
        ]

    def _table_note(self) -> list[str]:
        plain = int(np.argmax([one.value for one in self.for_everybody]))
        if plain == self.simplest:
            return []
        return [
            f"By the table {self.lottery.actions[plain]!r} brings everybody most; the simplest "
            f"policy goes by expected outcomes, which follow single large ones less."
        ]

    def table(self) -> list[tuple[str, str, str, str, str]]:
        """Lines of action, cost, trials, gain for everybody, and accounts it was decided for."""
        found = []
        for number, (name, cost, trials, accounts) in enumerate(self._actions()):
            one = self.for_everybody[number]
            value, low, high = _amounts(one.value, one.low, one.high, width=one.high - one.low)
            found.append(
                (
                    name,
                    f"{cost:,.2f}",
                    f"{trials:,}",
                    f"{value} ({low} to {high})" if number else "",
                    f"{accounts:,}",
                )
            )
        return found

    def frame(self) -> pl.DataFrame:
        """One row per account: its action, and the gain of each action beyond its cost.

        Gains are in the currency, expected, beside doing nothing; ``told_apart`` is the action with
        the largest for the account, ``simplest_policy`` the one with the largest for all.
        """
        arm, actions = self.decided.arm, self.lottery.actions
        gain = self.decided.gain.round(DECIMALS)
        return pl.DataFrame(
            {
                "account_id": self.asked.account_ids,
                "action": np.array(actions)[arm],
                "gain": gain[np.arange(len(arm)), arm],
                "currency": [self.currency] * len(arm),
                "told_apart": np.array(actions)[self.decided.told_apart],
                "simplest_policy": [actions[self.simplest]] * len(arm),
                **{
                    f"gain:{name}": gain[:, number] for number, name in enumerate(actions) if number
                },
            }
        )

    def to_dict(
        self,
        *,
        lottery_file: str,
        asked_file: str,
        made_at: datetime,
        seed: int,
    ) -> dict[str, object]:
        """Plain values for JSON, with their sources."""
        lottery, held_out = self.lottery, self.decided.held_out
        return {
            "verdict": self.verdict,
            "shown_to_pay": self.shown_to_pay,
            "tells_apart": self.decided.tells_apart,
            "simplest_policy": lottery.actions[self.simplest],
            "currency": self.currency,
            "held_out": {
                "unit": f"{self.currency} a trial, outcome less cost, {NOT_LEARNED_FROM}",
                "told_apart": held_out.value,
                "same_for_everybody": held_out.alike,
                "gain_over_same_for_everybody": held_out.gain,
                "low": held_out.low,
                "high": held_out.high,
                "confidence": CONFIDENCE,
                "trials": len(lottery.outcome),
                "accounts": len(lottery.account_ids),
            },
            "actions": [
                {
                    "action": name,
                    "cost": cost,
                    "trials": trials,
                    "for_everybody_beside_nothing": one.value,
                    "low": one.low,
                    "high": one.high,
                    "accounts_decided": accounts,
                }
                for (name, cost, trials, accounts), one in zip(
                    self._actions(), self.for_everybody, strict=True
                )
            ],
            "lottery": {
                "file": lottery_file,
                "rows": lottery.rows,
                "without_chance": lottery.without_chance,
                "without_outcome": lottery.without_outcome,
                "facts": [fact.name for fact in lottery.facts],
                "stages": [
                    {"stage": name, "trials": trials}
                    for name, trials in zip(
                        lottery.stages, lottery.reached.sum(axis=0).tolist(), strict=True
                    )
                ],
                "outcome_not_zero": int((lottery.outcome != 0).sum()),
            },
            "asked": {
                "file": asked_file,
                "accounts": len(self.asked.account_ids),
                "in_lottery": sum(name in lottery.account_ids for name in self.asked.account_ids),
            },
            "made_at": made_at.isoformat(),
            "seed": seed,
        }

    def _actions(self) -> list[tuple[str, float, int, int]]:
        arms = len(self.lottery.actions)
        trials = np.bincount(self.lottery.trials.arm, minlength=arms).tolist()
        decided = np.bincount(self.decided.arm, minlength=arms).tolist()
        return list(zip(self.lottery.actions, self.cost.tolist(), trials, decided, strict=True))

    def _format_amounts(self, *amounts: float, sign: bool = False) -> list[str]:
        """Amounts rounded to a tenth of the interval of the held-out trials."""
        held_out = self.decided.held_out
        return _amounts(*amounts, width=held_out.high - held_out.low, sign=sign)


def _amounts(*amounts: float, width: float, sign: bool = True) -> list[str]:
    """Amounts rounded to a tenth of an interval of this width, at most to the cent."""
    places = max(2, 1 - math.floor(math.log10(width))) if width > 0 else 2
    return [f"{amount:{'+' if sign else ''},.{places}f}" for amount in amounts]


def decide_by_lottery(
    lottery: LotteryTrials,
    asked: AskedAccounts,
    *,
    cost: Floats,
    currency: str,
    rng: np.random.Generator,
) -> LotteryDecisions:
    """Decide the arms of these accounts, learned from a lottery."""
    scores = cross_fit(lottery.trials, lottery.outcome, rng=rng)
    decided = decide_arms(
        scores, lottery.outcome, cost=cost, asked=asked.covariates, rng=rng, reached=lottery.reached
    )
    for_everybody = [GainOverNothing(value=0.0, low=0.0, high=0.0)]
    for action in range(1, len(lottery.actions)):
        effect, error, clusters = mean_and_error(scores.of(action), lottery.trials.cluster)
        value = effect - cost[action]
        reach = stats.t.ppf((1 + CONFIDENCE) / 2, clusters - 1) * error
        for_everybody.append(
            GainOverNothing(value=float(value), low=float(value - reach), high=float(value + reach))
        )
    return LotteryDecisions(
        lottery=lottery,
        asked=asked,
        cost=cost,
        currency=currency,
        decided=decided,
        for_everybody=tuple(for_everybody),
    )


def parse_costs(given: Sequence[str], actions: tuple[str, ...]) -> Floats:
    """The cost of every action, from words such as ``call=12.50``; doing nothing costs nothing.

    Raises:
        CostError: an action without or with two costs, an unknown action, or an invalid amount.
    """
    costs: dict[str, float] = {}
    for words in given:
        name, is_set, amount = words.rpartition("=")
        name = name.strip()
        if not is_set or not name:
            raise CostError(
                f"{words!r} is no cost. Write --cost ACTION=AMOUNT, such as --cost "
                f"'{actions[-1]}=12.50'."
            )
        if name not in actions:
            raise CostError(
                f"No row of the lottery has the action {name!r} of --cost {words!r}. "
                f"It has {', '.join(actions[1:])}."
            )
        if name in costs:
            raise CostError(f"The cost of {name!r} is given twice. Give it once.")
        try:
            costs[name] = float(amount)
        except ValueError as error:
            raise CostError(
                f"{amount!r} is no amount, in --cost {words!r}. Write a number such as 12.50."
            ) from error
        if not math.isfinite(costs[name]) or costs[name] < 0:
            raise CostError(
                f"The cost of {name!r} is {amount}. Give what it costs to do it once, 0 or more."
            )
    if costs.get(actions[0], 0.0) != 0:
        raise CostError(
            f"{actions[0]!r} is to do nothing, with which the others are compared, and "
            f"costs nothing. Count what it costs off the others."
        )
    lacking = [name for name in actions[1:] if name not in costs]
    if lacking:
        words = " ".join(f"--cost '{name}=AMOUNT'" for name in lacking)
        raise CostError(
            f"The cost of {', '.join(lacking)} is not known. Add {words}; 0 where it costs nothing."
        )
    return np.array([costs.get(name, 0.0) for name in actions])
