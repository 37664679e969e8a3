"""The decisions of a workspace as a table on which another policy is evaluated.

One row is one decision of the ledger; only those in which chance had a say can teach something. The
reward is the revenue of the account's contracts over the follow-up, less what was certain at the
start (its MRR times the months) and less the cost of the recommended action. What was *recommended*
counts, whether it was done or not. Reads; writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import polars as pl

from experiments.causal.outcomes import DAYS_A_MONTH, contract_states, state_at
from experiments.off_policy.log import CANDIDATE, CANDIDATE_OF, PROBABILITY, ChoicesError
from features.events.schema import UTC_INSTANT
from features.lake.lake import Lake
from features.workspace import Workspace
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.stores.decision_history import LoggedDecision, decisions_before
from serving.recommendations.candidate_policy import CandidatePolicy, replay_with_candidate

HELD_OUT = "held_out"
DECISION_SCHEMA: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "decision_id": pl.String,
    "account_id": pl.String,
    "decided_at": UTC_INSTANT,
    "action": pl.String,
    "propensity": pl.Float64,
    "cost": pl.Float64,
    CANDIDATE: pl.String,
    "best_value": pl.Float64,
    "at_stake": pl.Float64,
    "allowed_actions": pl.Int64,
}


def load_logged_decisions(
    database: LedgerDatabase, workspace: Workspace, *, as_of: datetime, follow_up: timedelta
) -> pl.DataFrame:
    """The workspace's decisions before a moment, oldest first, as ``build_logged_choices`` reads them.

    The candidate is the policy without chance: of what was allowed, the action that ranks first.
    Where an account was held out from several actions that is null: see ``without_chance``.
    Of decisions in which chance had a say an account has one in each follow-up, the first, so that
    no revenue counts twice.
    """
    rows = [_row(record) for record in decisions_before(database, as_of)]
    table = pl.DataFrame(rows, schema=DECISION_SCHEMA)
    apart = _apart(table.filter(pl.col("propensity") < 1), follow_up)
    table = pl.concat([table.filter(pl.col("propensity") >= 1), apart]).sort(
        "decided_at", "decision_id"
    )
    events = (
        Lake(workspace.events_dir, workspace.quarantine_dir)
        .as_of(as_of)
        .filter(pl.col("kind").str.starts_with("contract."))
        .collect()
    )
    return with_rewards(table, contract_states(events), as_of=as_of, follow_up=follow_up)


def without_chance(database: LedgerDatabase, table: pl.DataFrame) -> pl.DataFrame:
    """The table with a candidate for who was held out from several actions: their ranks were not
    stored, so the decision's own question is asked again, where it can tell something.

    Raises:
        ChoicesError: a decision was stored before questions were kept.
    """
    held = table.filter(
        pl.col(CANDIDATE).is_null(), pl.col("propensity") < 1, pl.col("reward").is_not_null()
    )
    first = replay_with_candidate(
        database, held["decision_id"].to_list(), CandidatePolicy(playbook=None, limits={})
    )
    asked = pl.col("decision_id").replace_strict(first, default=None, return_dtype=pl.String)
    return table.with_columns(pl.coalesce(CANDIDATE, asked).alias(CANDIDATE))


def with_rewards(
    table: pl.DataFrame, states: pl.DataFrame, *, as_of: datetime, follow_up: timedelta
) -> pl.DataFrame:
    """The table with ``reward``, null where the follow-up is not over or no contract ran."""
    ends = pl.col("decided_at") + follow_up
    framed = table.with_columns(ends.alias("_ends"))
    for at, name in (("decided_at", "start"), ("_ends", "end")):
        framed = state_at(framed, states, at=at, name=name)
    months = follow_up / timedelta(days=1) / DAYS_A_MONTH
    brought = (
        pl.col("end_earned")
        - pl.col("start_earned")
        - pl.col("start_mrr") * months
        - pl.col("cost")
    )
    ran = pl.col("start_state").is_in(["active", "paused"]) & (pl.col("_ends") <= as_of)
    return framed.with_columns(
        reward=pl.when(ran.fill_null(value=False)).then(brought),
        mrr=pl.col("start_mrr"),
    ).select(*(name for name in table.columns if name != "cost"), "mrr", "reward")


def with_candidate(table: pl.DataFrame, candidate: pl.DataFrame) -> pl.DataFrame:
    """The table with another candidate, whose choices are given by ``decision_id``.

    Raises:
        ChoicesError: the choices have no ids, one is there twice, or a decision is left out.
    """
    given = [
        name
        for name in candidate.columns
        if name in (CANDIDATE, PROBABILITY) or name.startswith(CANDIDATE_OF)
    ]
    if "decision_id" not in candidate.columns or not given:
        raise ChoicesError(
            f"The candidate's file needs the column decision_id, and {CANDIDATE}, "
            f"{CANDIDATE_OF}ACTION or {PROBABILITY}."
        )
    choices = candidate.select(pl.col("decision_id").cast(pl.String), *given)
    twice = choices.filter(pl.col("decision_id").is_duplicated())
    if not twice.is_empty():
        raise ChoicesError(
            f"The candidate's file has decision {twice['decision_id'][0]!r} twice. Keep one row."
        )
    asked = table.filter(pl.col("propensity") < 1, pl.col("reward").is_not_null())
    missing = asked.join(choices, on="decision_id", how="anti")
    if not missing.is_empty():
        raise ChoicesError(
            f"The candidate's file lacks {missing.height:,} of {asked.height:,} decisions in which "
            f"chance had a say, the first {missing['decision_id'][0]!r}. Say for each what it "
            f"would choose."
        )
    return table.drop(CANDIDATE).join(choices, on="decision_id", how="left", maintain_order="left")


def _row(record: LoggedDecision) -> dict[str, object]:
    """One decision, with what the policy without chance would have chosen, None where it does not
    say."""
    ranked: list[Mapping[str, object]] = json.loads(record.eligible)
    held = [each["action_id"] for each in json.loads(record.withheld) if each["reason"] == HELD_OUT]
    best = max(ranked, key=_value, default={})  # the first of those that are worth as much
    mine: Mapping[str, object] = next(
        (each for each in ranked if each["action_id"] == record.action), {}
    )
    parts = mine.get("value_parts")
    parts = parts if isinstance(parts, Mapping) else {}
    return {
        "decision_id": record.decision_id,
        "account_id": record.account_id,
        "decided_at": record.decided_at,
        "action": record.action,
        "propensity": record.propensity,
        "cost": float(parts.get("cost", 0.0)) + float(parts.get("hours_cost", 0.0)),
        CANDIDATE: _candidate(record.action, held, best, by_chance=record.propensity < 1),
        "best_value": _value(best),
        "at_stake": parts.get("at_stake"),
        "allowed_actions": len(ranked) + len(held),
    }


def _candidate(
    action: str, held: Sequence[str], best: Mapping[str, object], *, by_chance: bool
) -> object:
    if not held:
        return best.get("action_id", action)
    if not by_chance:  # what came first is owed to the account, held out or not
        return action
    return held[0] if len(held) == 1 else None


def _value(candidate: Mapping[str, object]) -> float:
    value = candidate.get("cautious_value")
    return float(value) if isinstance(value, int | float) else 0.0


def _apart(table: pl.DataFrame, follow_up: timedelta) -> pl.DataFrame:
    """Of each account the first decision, then the first that is a follow-up later, and so on."""
    last: dict[str, datetime] = {}
    kept = []
    for number, account, at in (
        table.with_row_index("_n").select("_n", "account_id", "decided_at").iter_rows()
    ):
        if account not in last or at - last[account] >= follow_up:
            last[account] = at
            kept.append(number)
    return table[kept]
