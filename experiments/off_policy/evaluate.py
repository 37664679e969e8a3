"""Evaluate a candidate policy on logged decisions: would it have earned more?

From a table of logged decisions to values by every estimator, the gate of a promotion, and a
sentence for people. Without decisions by chance nothing is known about the other actions, and the
result states that. Pure but for the rng, which draws the folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from experiments.off_policy.estimators import (
    LEAST_EFFECTIVE,
    EstimatorName,
    LoggedChoices,
    PolicyComparison,
    PolicyValue,
    compare,
    evaluate,
    mean_weight,
    predict_rewards,
)
from experiments.off_policy.log import ROUNDING, ChoiceTable

DEFAULT: EstimatorName = "dr_shrunk"
"""The estimator whose value is shown first; the gate is ``dr``, paired."""

MOST_UNSUPPORTED = 0.01
"""The largest share of the candidate's choices that the log may never have tried."""

TITLES: Mapping[EstimatorName, str] = {
    "dr_shrunk": "DR with shrinkage",
    "dr": "DR",
    "snips": "SNIPS",
    "ips": "IPS",
    "direct": "prediction alone",
}
A_LOTTERY = (
    "Let chance decide where it costs least: a lottery among accounts that compete for the last "
    "hours, or among nearly equal actions for one account, with its propensity logged. After some "
    "weeks, once outcomes are known, ask again."
)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The evaluation of a candidate on a log.

    ``values`` and ``comparison`` are None where nothing can be learned; ``why_nothing`` is the
    reason. ``unsupported`` is the share of the candidate's choices that the log never tried;
    ``weights`` the mean of its weights with a 99 % interval, which is 1 where the propensities are
    right and everything that it would choose could have been chosen.
    """

    unit: str
    rows: int
    used: int
    accounts: int
    without_chance: int
    without_reward: int
    actions: tuple[str, ...]
    earned: float | None
    values: Mapping[EstimatorName, PolicyValue] | None
    comparison: PolicyComparison | None
    unsupported: float | None
    weights: tuple[float, float, float] | None
    not_context: tuple[str, ...]
    why_nothing: str | None

    @property
    def passes(self) -> bool:
        """Whether the log shows that the candidate earns more."""
        return (
            self.comparison is not None
            and self.comparison.passes
            and (self.unsupported or 0.0) <= MOST_UNSUPPORTED
            and self._weighs_one
        )

    @property
    def _weighs_one(self) -> bool:
        return self.weights is None or (
            self.weights[1] - ROUNDING <= 1 <= self.weights[2] + ROUNDING
        )

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        if self.comparison is None:
            return f"Nothing can be learned from this log. {self.why_nothing} {A_LOTTERY}"
        gain = self.comparison
        gained = (
            f"by {gain.difference:+,.2f} {self.unit} a decision (95 % interval "
            f"{gain.low:+,.2f} to {gain.high:+,.2f}; at least {gain.bound:+,.2f} with "
            f"one-sided 95 % confidence)"
        )
        if self.passes:
            return f"The candidate passes: it would have earned more, {gained}."
        if (self.unsupported or 0.0) > MOST_UNSUPPORTED:
            return (
                f"The candidate does not pass: {self.unsupported:.0%} of its choices are "
                f"actions that the log never tried in such a decision, so that nobody knows "
                f"what they bring. {A_LOTTERY}"
            )
        if not self._weighs_one and self.weights is not None:
            mean, low, high = self.weights
            return (
                f"The candidate does not pass: its weights average {mean:.2f} (99 % interval "
                f"{low:.2f} to {high:.2f}) and not 1. Either the logged propensities are not "
                f"those with which was chosen, or part of what it would choose could never "
                f"have been chosen. Look at how the propensities were logged."
            )
        if gain.effective < LEAST_EFFECTIVE:
            return (
                f"The candidate does not pass: the log is worth {gain.effective:.0f} decisions "
                f"of its own, and {LEAST_EFFECTIVE:.0f} are the least for a verdict. Wait for "
                f"more decisions, or let chance choose what it would choose more often."
            )
        return f"The candidate does not pass: its value differs {gained}, and that bound is not above 0."

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "passes": self.passes,
            "verdict": self.verdict,
            "unit": self.unit,
            "rows": self.rows,
            "used": self.used,
            "accounts": self.accounts,
            "without_chance": self.without_chance,
            "without_reward": self.without_reward,
            "actions": list(self.actions),
            "earned": self.earned,
            "unsupported": self.unsupported,
            "weights": None
            if self.weights is None
            else dict(zip(("mean", "low", "high"), self.weights, strict=True)),
            "values": None
            if self.values is None
            else {name: _finite(asdict(value)) for name, value in self.values.items()},
            "comparison": None if self.comparison is None else _finite(asdict(self.comparison)),
            "not_context": list(self.not_context),
            "why_nothing": self.why_nothing,
        }

    def table(self) -> list[tuple[str, str, str]]:
        """Lines of estimator, value and 95 % interval; the one that is shown first comes first."""
        if self.values is None:
            return []
        return [
            (TITLES[name], f"{value.mean:,.2f}", f"{value.low:,.2f} to {value.high:,.2f}")
            for name in TITLES
            for value in (self.values[name],)
        ]

    def lines(self) -> list[str]:
        """The lines about the decisions that were read and used."""
        found = [
            f"{self.rows:,} decisions: {self.used:,} in which chance had a say and whose "
            f"outcome is known, of {self.accounts:,} accounts; {self.without_chance:,} with "
            f"propensity 1, which are no evidence; {self.without_reward:,} whose outcome is "
            f"not known yet."
        ]
        if self.not_context:
            found.append(
                f"Not read as context, being neither numbers nor few words: "
                f"{', '.join(self.not_context)}."
            )
        if self.values is not None:
            value = self.values[DEFAULT]
            found.append(
                f"What was logged earned {self.earned:,.2f} {self.unit} a decision. For "
                f"the candidate the log is worth {value.effective:,.0f} decisions; the "
                f"largest weight of one is {value.largest_weight:.1%} of all."
            )
        return [*found, self.verdict]


def evaluate_choices(choices: ChoiceTable, *, unit: str, rng: np.random.Generator) -> Evaluation:
    """Evaluate the candidate on a log, beside the policy that logged.

    Raises:
        OffPolicyError: the log cannot have been made.
    """
    why = why_nothing(choices)
    n, k = len(choices.chosen), len(choices.actions)
    values = comparison = unsupported = weights = None
    if why is None:
        predicted = predict_rewards(
            choices.covariates, choices.chosen, choices.reward, choices.cluster, actions=k, rng=rng
        )
        log = LoggedChoices(
            chosen=choices.chosen,
            propensity=choices.propensity,
            reward=choices.reward,
            cluster=choices.cluster,
            predicted=predicted,
        )
        values = evaluate(log, choices.candidate)
        comparison = compare(log, choices.candidate, choices.logged)
        unsupported = _unsupported(choices)
        weights = mean_weight(log, choices.candidate)
    return Evaluation(
        unit=unit,
        rows=choices.rows,
        used=n,
        accounts=len(np.unique(choices.cluster)),
        without_chance=choices.without_chance,
        without_reward=choices.without_reward,
        actions=choices.actions,
        earned=float(choices.reward.mean()) if n else None,
        values=values,
        comparison=comparison,
        unsupported=unsupported,
        weights=weights,
        not_context=choices.not_context,
        why_nothing=why,
    )


def why_nothing(choices: ChoiceTable) -> str | None:
    """Why no other policy can be judged on this log; None where one can."""
    n = len(choices.chosen)
    if choices.rows == 0:
        return "It holds no decision."
    if choices.rows == choices.without_reward:
        return "No outcome is known yet."
    if n == 0:
        return (
            "Every decision has propensity 1: chance had no say, and what was not chosen was "
            "never tried on accounts like those, so that no number could say what it brings."
        )
    if n < LEAST_EFFECTIVE:
        return (
            f"Chance had a say in {n} decisions whose outcome is known, and "
            f"{LEAST_EFFECTIVE:.0f} are the least for a verdict."
        )
    if len(np.unique(choices.cluster)) < LEAST_EFFECTIVE:
        return (
            f"The decisions are about {len(np.unique(choices.cluster))} accounts, and "
            f"{LEAST_EFFECTIVE:.0f} are the least for a verdict."
        )
    if len(np.unique(choices.chosen)) < 2:
        return (
            f"{choices.actions[int(choices.chosen[0])]!r} was chosen in every decision, so "
            f"that nothing is known of any other action."
        )
    return None


def _unsupported(choices: ChoiceTable) -> float:
    """The share of the candidate's probability on actions that the log could not have chosen: by
    its probabilities where it has them, else by the actions it ever chose."""
    if choices.logged is not None:
        return float(choices.candidate[choices.logged <= 0].sum() / len(choices.chosen))
    tried = np.bincount(choices.chosen, minlength=len(choices.actions)) > 0
    return float(choices.candidate[:, ~tried].sum() / len(choices.chosen))


def _finite(values: dict[str, object]) -> dict[str, object]:
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in values.items()
    }
