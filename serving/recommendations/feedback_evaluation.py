"""Judge people's feedback on recommendations by whether the accounts left.

The newest feedback on an action of a decision counts. Where a person disagrees, either the model
sees a risk that is none, or the person overlooks one. So the number that left is compared with the
number that the model expected, exactly, as a sum of accounts with their own probabilities (Poisson
binomial)::

    P(at most n left) = Σ over k ≤ n of [z^k] ∏ (1 − p + p z)

Every account counts once in a horizon, and the rows of one table share its 5 % of false alarms
(Bonferroni). What was carried out, and what followed on both clocks, is counted beside it. These are
observations and not effects: a person chose whom to disagree about. Pure, except for
``load_judged_advice``; the caller says whether an account left, by the label that the model predicts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, get_args

import numpy as np

from experiments.policy.account_state import PolicyError
from experiments.policy.request import PolicyInputs
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.feedback import Verdict
from serving.ledger.stores.decision_history import judged_actions
from serving.scoring.score import TIER_HORIZON_DAYS
from serving.text_format import plural

HORIZON = timedelta(days=TIER_HORIZON_DAYS)
"""Of the probability that a decision was made on, and so of the outcome of the account."""

CHANCE = 0.05
"""A table in which the model is right about everybody speaks up no more often than this."""

Comparison = Literal["fewer than expected", "as expected", "more than expected", "not known"]


@dataclass(frozen=True, kw_only=True)
class JudgedAdvice:
    """The newest feedback on one action of one decision, and whether the account left.

    ``churn_probability`` (0 to 1, within the horizon from ``as_of``) is a model's, None where none
    had answered; ``has_left`` is None while that is not known. ``was_carried_out`` and ``results``
    are of this action.
    """

    decision_id: str
    account_id: str
    action: str
    verdict: Verdict
    as_of: datetime
    churn_probability: float | None
    has_left: bool | None = None
    was_carried_out: bool = False
    results: frozenset[str] = frozenset()

    @property
    def is_judged(self) -> bool:
        """Whether the model's probability can be compared with what the account did."""
        return self.churn_probability is not None and self.has_left is not None


@dataclass(frozen=True, kw_only=True)
class FeedbackEvaluation:
    """All that one thing was said to, and of the accounts that can be judged how many left.

    ``said`` counts judgements, ``carried_out`` those whose action was done, ``results`` what followed
    it. ``accounts`` were scored by a model and their horizon is over, ``acted_on`` of them were
    acted on; ``left`` of them did, where the model ``expected`` so many to. ``probability`` is that
    of a difference at least as large by chance alone, two-sided, were the model right about each.
    What is not known is None.
    """

    verdict: Verdict
    action: str | None  # None: any
    said: int
    carried_out: int
    results: Mapping[str, int]
    accounts: int
    acted_on: int
    left: int | None
    expected: float | None
    probability: float | None
    comparison: Comparison

    @property
    def words(self) -> str:
        """The finding as a sentence."""
        if self.expected is None or self.probability is None:
            return (
                f"not known yet: nobody's {TIER_HORIZON_DAYS} days are over, or no model had "
                f"scored them"
            )
        known = (
            f"{self.left:,} of {plural(self.accounts, 'account')} left within "
            f"{TIER_HORIZON_DAYS} days, where the model expected {self.expected:.1f}"
        )
        p = f"p = {self.probability:.3f}" if self.probability >= 0.001 else "p < 0.001"
        if self.comparison == "as expected":
            return f"{known}: no more off than by chance ({p})"
        many, did = (
            ("many", "helped") if self.comparison == "fewer than expected" else ("few", "harmed")
        )
        perhaps = f", or what was done {did}" if self.acted_on else ""
        return f"{known}: {self.comparison} ({p}); the model expected too {many}{perhaps}"

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON, with what they come to in words."""
        return {**asdict(self), "results": dict(self.results), "words": self.words}


def evaluate_feedback(
    judged: Iterable[JudgedAdvice], *, by_action: bool = False
) -> tuple[FeedbackEvaluation, ...]:
    """Compare feedback, in the order in which it was given, with what happened: by verdict, or by
    action and verdict. Verdicts that nobody gave are absent."""
    groups: dict[tuple[str | None, Verdict], list[JudgedAdvice]] = {}
    for one in judged:
        groups.setdefault((one.action if by_action else None, one.verdict), []).append(one)
    order: Sequence[Verdict] = get_args(Verdict)
    rows = [
        _judged(group, verdict, action)
        for (action, verdict), group in sorted(
            groups.items(), key=lambda item: (item[0][0] or "", order.index(item[0][1]))
        )
    ]
    looks = sum(row.expected is not None for row in rows)
    return tuple(
        _compared(row, level=CHANCE / looks) if row.expected is not None else row for row in rows
    )


def at_most(count: int, chances: Sequence[float]) -> float:
    """The probability that at most this many of independent events with these chances happen.

    >>> at_most(0, [0.5, 0.5]), at_most(1, [0.5, 0.5]), at_most(-1, [0.5])
    (0.25, 0.75, 0.0)
    """
    if count < 0:
        return 0.0
    mass = np.ones(1)
    for chance in chances:
        mass = np.convolve(mass, [1 - chance, chance])
    return float(min(mass[: count + 1].sum(), 1.0))


def load_judged_advice(database: LedgerDatabase, *, as_of: datetime) -> tuple[JudgedAdvice, ...]:
    """The newest judgement of each action of each decision, in the order in which they were given, as
    far as was known at a moment on the time of the data; whether accounts left is not known here.

    Raises:
        LedgerUnreachableError: the ledger cannot be reached.
        PolicyError: a stored question cannot be read.
    """
    found = []
    for one in judged_actions(database, as_of=as_of):
        is_own = one.action == one.recommended  # what was reported is about what came first
        found.append(
            JudgedAdvice(
                decision_id=one.decision_id,
                account_id=one.account_id,
                action=one.action,
                verdict=one.verdict,
                as_of=one.as_of,
                churn_probability=_promised(one.decision_id, one.inputs),
                was_carried_out=is_own and one.was_executed,
                results=one.results if is_own else frozenset(),
            )
        )
    return tuple(found)


def with_leavers(
    judged: Iterable[JudgedAdvice],
    left: Mapping[tuple[str, datetime], bool | None],
) -> tuple[JudgedAdvice, ...]:
    """The advice with whether each account left in the horizon from then on, by account and as_of."""
    return tuple(replace(one, has_left=left.get((one.account_id, one.as_of))) for one in judged)


def _judged(
    group: Sequence[JudgedAdvice], verdict: Verdict, action: str | None
) -> FeedbackEvaluation:
    results: dict[str, int] = {}
    for one in group:
        for result in one.results:
            results[result] = results.get(result, 0) + 1
    known = _once_a_horizon(one for one in group if one.is_judged)
    chances = [one.churn_probability for one in known if one.churn_probability is not None]
    left = sum(bool(one.has_left) for one in known)
    probability = min(1.0, 2 * min(at_most(left, chances), 1 - at_most(left - 1, chances)))
    return FeedbackEvaluation(
        verdict=verdict,
        action=action,
        said=len(group),
        carried_out=sum(one.was_carried_out for one in group),
        results=dict(sorted(results.items())),
        accounts=len(known),
        acted_on=sum(one.was_carried_out for one in known),
        left=left if known else None,
        expected=sum(chances) if known else None,
        probability=probability if known else None,
        comparison="not known",
    )


def _compared(row: FeedbackEvaluation, *, level: float) -> FeedbackEvaluation:
    assert row.expected is not None
    assert row.left is not None
    assert row.probability is not None
    comparison: Comparison = "as expected"
    if row.probability <= level:
        comparison = "fewer than expected" if row.left < row.expected else "more than expected"
    return replace(row, comparison=comparison)


def _once_a_horizon(judged: Iterable[JudgedAdvice]) -> list[JudgedAdvice]:
    """Of each account the first, then the first that is a horizon later, and so on."""
    last: dict[str, datetime] = {}
    kept = []
    for one in sorted(judged, key=lambda one: one.as_of):  # else in the order in which it was given
        if one.account_id not in last or one.as_of - last[one.account_id] >= HORIZON:
            last[one.account_id] = one.as_of
            kept.append(one)
    return kept


def _promised(decision_id: str, inputs: str | None) -> float | None:
    """The churn probability that a model gave; the formula's is no model's promise."""
    if inputs is None:
        return None
    try:
        state = PolicyInputs.from_dict(json.loads(inputs)["question"]).state
    except PolicyError as error:
        raise PolicyError(f"Decision {decision_id!r}: {error}") from error
    return state.churn_probability if state.score_source == "model" else None
