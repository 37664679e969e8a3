"""This module is about what people said to recommendations, judged by what became of the accounts.

Every decision counts with the newest thing that was said to it, and every account once in a
follow-up, with the first such decision. Where a person disagrees, either the model sees a risk that
is none, or the person overlooks one; so those who left are counted beside those whom the model
expected to leave, exactly, as a sum of accounts with their own chances each (Poisson binomial)::

    P(at most n left) = Σ over k ≤ n of [z^k] ∏ (1 − p + p z)

What was carried out and what followed on both clocks is counted beside it. It is what followed what
was said, not what it caused: who is disagreed about is chosen by a person.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from experiments.outcomes import RUNNING, contract_states, state_at
from features.lake import Lake
from features.telemetry import UTC_INSTANT
from features.workspace import Workspace
from serving.feedback import Verdict
from serving.ledger.database import LedgerDatabase
from serving.ledger.ledger import PART, batched
from serving.ledger.tables import CHAIN, DECISIONS, FEEDBACK, OUTCOMES
from serving.ledger.times import as_moment
from serving.words import plural

FOLLOW_UP = timedelta(days=90)
"""The horizon of the probability that the decision was made on."""

CHANCE = 0.05
"""A difference that is at least as rare by chance alone is no finding."""

Comparison = Literal["fewer than expected", "as expected", "more than expected", "not known"]


@dataclass(frozen=True, kw_only=True)
class Said:
    """What was said to one decision, and what became of it.

    ``has_left`` is None while the follow-up is not over, and where no contract ran when it was
    decided; ``churn_probability`` (0 to 1, within 90 days) where no model had answered.
    """

    decision_id: str
    account_id: str
    action: str
    verdict: Verdict
    decided_at: datetime
    churn_probability: float | None
    has_left: bool | None
    was_carried_out: bool
    results: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Judged:
    """All that one thing was said to: counts of accounts, and of those the model had scored and
    whose follow-up is over how many left, and how many the model expected to leave.

    ``probability`` is that of a difference at least as large by chance alone, two-sided, were the
    model right about each.
    """

    verdict: Verdict
    action: str | None  # None: any
    said: int
    carried_out: int
    results: Mapping[str, int]
    over: int
    left: int
    expected: float | None
    probability: float | None
    comparison: Comparison

    @property
    def words(self) -> str:
        """What it comes to, as a sentence."""
        if self.expected is None:
            return "nobody's 90 days are over yet, or no model had scored them"
        known = (f"{self.left:,} of {plural(self.over, 'account')} left within 90 days, where the "
                 f"model expected {self.expected:.1f}")
        if self.comparison == "as expected":
            return f"{known}: as many as chance allows (p = {self.probability:.2f})"
        many, did = ("many", "helped") if self.comparison == "fewer than expected" else (
            "few", "harmed")
        perhaps = f", or what was done {did}" if self.carried_out else ""
        return (f"{known}: {self.comparison} (p = {self.probability:.3f}); the model expected too "
                f"{many}{perhaps}")

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**vars(self), "results": dict(self.results)}


def judged(said: Iterable[Said], *, by_action: bool = False) -> tuple[Judged, ...]:
    """What was said, judged: by verdict, or by action and verdict; what nobody said is absent."""
    once = _once_a_follow_up(said)
    actions = sorted({one.action for one in once}) if by_action else [None]
    found = []
    for action in actions:
        for verdict in get_args(Verdict):
            group = [one for one in once if one.verdict == verdict
                     and (action is None or one.action == action)]
            if group:
                found.append(_judged(group, verdict, action))
    return tuple(found)


def at_most(count: int, chances: Sequence[float]) -> float:
    """The probability that at most so many of independent events with these chances happen.

    >>> at_most(0, [0.5, 0.5]), at_most(1, [0.5, 0.5]), at_most(-1, [0.5])
    (0.25, 0.75, 0.0)
    """
    if count < 0:
        return 0.0
    mass = np.ones(1)
    for chance in chances:
        mass = np.convolve(mass, [1 - chance, chance])
    return float(min(mass[:count + 1].sum(), 1.0))


def said_in(database: LedgerDatabase, workspace: Workspace, *, as_of: datetime
            ) -> tuple[Said, ...]:
    """The newest saying to each decision that was made up to a moment, as far as is known by then.

    Raises:
        LedgerUnreachableError: the ledger can not be reached.
    """
    with database.reading() as connection:
        rows = [row for row in _newest_sayings(connection)
                if as_moment(row.decided_at) <= as_of]
        became = _outcomes_of(connection, [row.decision_id for row in rows])
    left = _left(workspace, rows, as_of)
    return tuple(Said(
        decision_id=row.decision_id, account_id=row.account_id, action=row.action,
        verdict=row.verdict, decided_at=as_moment(row.decided_at),
        churn_probability=_churn_probability(row.inputs), has_left=left[row.decision_id],
        was_carried_out="executed" in became.get(row.decision_id, ()),
        results=frozenset(became.get(row.decision_id, ())) - {"executed", "declined"},
    ) for row in rows)


def _judged(group: Sequence[Said], verdict: Verdict, action: str | None) -> Judged:
    known = [(one.churn_probability, one.has_left) for one in group
             if one.churn_probability is not None and one.has_left is not None]
    chances, left = [chance for chance, _ in known], sum(gone for _, gone in known)
    results: dict[str, int] = {}
    for one in group:
        for result in one.results:
            results[result] = results.get(result, 0) + 1
    probability: float | None = None
    comparison: Comparison = "not known"
    if known:
        low, high = at_most(left, chances), 1 - at_most(left - 1, chances)
        probability = min(1.0, 2 * min(low, high))
        comparison = ("as expected" if probability > CHANCE else
                      "fewer than expected" if low < high else "more than expected")
    return Judged(
        verdict=verdict, action=action, said=len(group),
        carried_out=sum(one.was_carried_out for one in group),
        results=dict(sorted(results.items())), over=len(known), left=left,
        expected=sum(chances) if known else None, probability=probability,
        comparison=comparison)


def _once_a_follow_up(said: Iterable[Said]) -> list[Said]:
    last: dict[str, datetime] = {}
    kept = []
    for one in sorted(said, key=lambda one: (one.decided_at, one.decision_id)):
        if one.account_id not in last or one.decided_at - last[one.account_id] >= FOLLOW_UP:
            last[one.account_id] = one.decided_at
            kept.append(one)
    return kept


def _newest_sayings(connection: Connection) -> Sequence[sa.Row[Any]]:
    """What was said last to each decision, in the order in which it was said."""
    wanted = [*(FEEDBACK.c[name] for name in ("decision_id", "account_id", "action", "verdict")),
              DECISIONS.c.decided_at, DECISIONS.c.inputs]
    rows = connection.execute(
        sa.select(*wanted)
        .join(CHAIN, sa.and_(CHAIN.c.table == FEEDBACK.name,
                             CHAIN.c.record_id == FEEDBACK.c.feedback_id))
        .join(DECISIONS, DECISIONS.c.decision_id == FEEDBACK.c.decision_id)
        .order_by(CHAIN.c.place)).all()
    return list({row.decision_id: row for row in rows}.values())


def _outcomes_of(connection: Connection, decision_ids: Sequence[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for part in batched(decision_ids, PART):
        for row in connection.execute(
                sa.select(OUTCOMES.c.decision_id, OUTCOMES.c.kind, OUTCOMES.c.result)
                .where(OUTCOMES.c.decision_id.in_(part))):
            found.setdefault(row.decision_id, set()).update(
                word for word in (row.result if row.kind == "outcome" else row.kind,)
                if word is not None)
    return found


def _left(workspace: Workspace, rows: Sequence[sa.Row[Any]], as_of: datetime
          ) -> dict[str, bool | None]:
    """Whether no contract runs any more when the follow-up ends, by decision."""
    moments = pl.DataFrame(
        [(row.decision_id, row.account_id, as_moment(row.decided_at)) for row in rows],
        schema={"decision_id": pl.String, "account_id": pl.String, "decided_at": UTC_INSTANT},
        orient="row").with_columns((pl.col("decided_at") + FOLLOW_UP).alias("ends"))
    events = Lake(workspace.events_dir, workspace.quarantine_dir).scan().filter(
        pl.col("kind").str.starts_with("contract."), pl.col("recorded_at") < as_of,
        pl.col("superseded_at").is_null() | (pl.col("superseded_at") >= as_of)).collect()
    states = contract_states(events)
    for at, name in (("decided_at", "start"), ("ends", "end")):
        moments = state_at(moments, states, at=at, name=name)
    known = pl.col("start_state").is_in(RUNNING).fill_null(value=False) & (pl.col("ends") <= as_of)
    left = moments.select("decision_id", pl.when(known).then(
        ~pl.col("end_state").is_in(RUNNING)).alias("left"))
    return dict(left.iter_rows())


def _churn_probability(inputs: str | None) -> float | None:
    if inputs is None:
        return None
    said = json.loads(inputs)["question"]["state"]["churn_probability"]
    return None if said is None else float(said)
