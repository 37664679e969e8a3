"""Read assignments and exposures from the timeline.

An assignment is a recorded decision (``action.decided``: the arm, and the probability of treatment
as its quantity). An exposure is an action that was carried out (``action.executed``). Whether
chance or a person decided is read from the log alone: chance leaves both arms behind, with
probabilities strictly between 0 and 1. Pure over an event frame; reads no outcome.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from experiments.causal.design import MECHANISM_WORDS, Design, Mechanism
from features.events.schema import UNTREATED_ARMS
from features.events.visibility import visible_events

WINDOWS = (1, 7, 28)
"""Days after a snapshot during which a choice counts as made on it; the shortest that fits is used."""

NEARLY_ALL = 0.95

ALL_ACTIONS = "any_action"
"""The action of a standing holdout: it measures all actions together."""

RECOMMENDED = ("none", "between_actions")
"""Kinds of chance in which the account was offered an action either way, so no assignment."""

ASSIGNMENT_COLUMNS = ("account_id", "at", "action", "intervention", "is_treated", "propensity")
EXPOSURE_COLUMNS = ("account_id", "at", "action", "intervention")


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """An action carried out on accounts over a period, as the log shows it."""

    name: str
    action: str
    mechanism: Mechanism
    n_decided: int
    n_executed: int
    first_at: datetime
    last_at: datetime


def trial_events(events: pl.LazyFrame) -> pl.DataFrame:
    """The events that trials are made of: actions and contracts."""
    kind = pl.col("kind").str
    return events.filter(kind.starts_with("action.") | kind.starts_with("contract.")).collect()


def assignments(events: pl.DataFrame) -> pl.DataFrame:
    """One row per recorded decision: ``ASSIGNMENT_COLUMNS``, in order of time and account.

    A recommendation of Keepwell without an arm is no assignment: the action that people took is an
    exposure. Its draws count once per account, the first time that they made a difference, because
    later decisions repeat the same draw.
    """
    decided = (
        events.filter(pl.col("kind") == "action.decided")
        .select(
            "account_id",
            pl.col("occurred_at").alias("at"),
            *_names(),
            *(
                pl.col("properties").str.json_path_match(f"$.{name}").alias(name)
                for name in ("arm", "chance", "draw_id")
            ),
            pl.col("quantity").alias("propensity"),
        )
        .filter(~pl.col("chance").is_in(RECOMMENDED).fill_null(value=False))
    )
    return (
        decided.with_columns(
            (~pl.col("arm").is_in(UNTREATED_ARMS)).fill_null(True).alias("is_treated"),
            pl.when(pl.col("chance") == "holdout")
            .then(pl.lit(ALL_ACTIONS))
            .otherwise("action")
            .alias("action"),
            pl.coalesce("draw_id", pl.col("at").cast(pl.String)).alias("draw"),
        )
        .unique(["account_id", "at", "intervention"], keep="first", maintain_order=True)
        .sort("at", "account_id", "intervention")
        .unique(["account_id", "draw", "intervention"], keep="first", maintain_order=True)
        .select(ASSIGNMENT_COLUMNS)
    )


def drawn_between_actions(events: pl.DataFrame) -> int:
    """The number of decisions in which a lot chose which of several actions comes first."""
    chance = pl.col("properties").str.json_path_match("$.chance")
    return events.filter(
        (pl.col("kind") == "action.decided") & (chance == "between_actions")
    ).height


def exposures(events: pl.DataFrame) -> pl.DataFrame:
    """One row per action carried out: ``EXPOSURE_COLUMNS``, in order of time and account."""
    return (
        events.filter(pl.col("kind") == "action.executed")
        .select("account_id", pl.col("occurred_at").alias("at"), *_names())
        .sort("at", "account_id", "intervention")
    )


def logged_interventions(events: pl.DataFrame) -> tuple[Intervention, ...]:
    """The interventions of the log, by name; a decision without an intervention has its action's name."""
    decided, executed = assignments(events), exposures(events)
    found = []
    for name in sorted({*decided["intervention"], *executed["intervention"]} - {None}):
        chosen = decided.filter(pl.col("intervention") == name)
        done = executed.filter(pl.col("intervention") == name)
        moments = [*chosen["at"], *done["at"]]
        actions = [*chosen["action"].drop_nulls(), *done["action"].drop_nulls()]
        found.append(
            Intervention(
                name=name,
                action=actions[0] if actions else name,
                mechanism=mechanism_of(chosen),
                n_decided=chosen.height,
                n_executed=done.height,
                first_at=min(moments),
                last_at=max(moments),
            )
        )
    return tuple(found)


def mechanism_of(decided: pl.DataFrame) -> Mechanism:
    """Who decided: chance, if both arms were logged with probabilities strictly inside (0, 1)."""
    by_chance = decided.filter((pl.col("propensity") > 0) & (pl.col("propensity") < 1))
    both = by_chance["is_treated"].n_unique() == 2
    return "lottery" if both and by_chance.height == decided.height else "judgement"


def choices(decided: pl.DataFrame, executed: pl.DataFrame) -> pl.DataFrame:
    """When an account was chosen for the action: decisions, or executions where none were logged.

    ``account_id, at``, in order of time.
    """
    chosen = decided.filter("is_treated").select("account_id", "at")
    return (
        (chosen if chosen.height else executed.select("account_id", "at"))
        .unique()
        .sort("at", "account_id")
    )


def propose_designs(
    events: pl.DataFrame,
    *,
    as_of: datetime,
    snapshots: Sequence[datetime],
    horizon_days: int = 90,
) -> tuple[Design, ...]:
    """A design for each intervention of the log, drawn up from the log of decisions alone."""
    known = visible_events(events, as_of)
    decided, executed = assignments(known), exposures(known)
    designs = []
    for item in logged_interventions(known):
        by_lot = item.mechanism == "lottery"
        of_item = pl.col("intervention") == item.name
        moments = choices(decided.filter(of_item), executed.filter(of_item))["at"].to_list()
        designs.append(
            Design(
                design_id=f"{_file_name(item.name)}-{item.mechanism}-{horizon_days}d",
                question=(
                    f"Does “{item.action.replace('_', ' ')}” keep accounts and their revenue over "
                    f"{horizon_days} days, where {MECHANISM_WORDS[item.mechanism]}?"
                ),
                action=item.action,
                intervention=item.name,
                mechanism=item.mechanism,
                estimand="ITT" if by_lot else "ATT",
                horizon_days=horizon_days,
                window_days=(
                    0
                    if decided.filter(of_item)["is_treated"].n_unique() == 2
                    else _window_days(moments, snapshots)
                ),
                washout_days=0 if by_lot else horizon_days,
                compare_within=None if by_lot else "csm",
            )
        )
    return tuple(designs)


def _window_days(moments: Sequence[datetime], snapshots: Sequence[datetime]) -> int:
    """The shortest window that holds nearly all choices, counted from the snapshot before each."""
    ordered = sorted(snapshots)
    lags = [
        moment - ordered[place - 1]
        for moment in moments
        if (place := bisect_right(ordered, moment)) > 0
    ]
    for days in WINDOWS:
        if sum(lag < timedelta(days=days) for lag in lags) >= NEARLY_ALL * len(lags):
            return days
    return WINDOWS[-1]


def _names() -> tuple[pl.Expr, pl.Expr]:
    action = pl.col("properties").str.json_path_match("$.action")
    intervention = pl.col("properties").str.json_path_match("$.intervention")
    return action.alias("action"), pl.coalesce(intervention, action).alias("intervention")


def _file_name(words: str) -> str:
    return re.sub(r"[^0-9A-Za-z_]+", "-", words).strip("-") or "intervention"
