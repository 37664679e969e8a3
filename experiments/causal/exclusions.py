"""Leave trials out that a comparison cannot use, and say why: counts per arm, and the next step.

Pure over frames; nobody looks at an outcome here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from experiments.causal.design import Design

EXCLUSIONS: dict[str, str] = {
    "immature": "the follow-up is not over yet",
    "not_a_customer": "no contract ran at the start",
    "left_in_window": "the contract ended before the follow-up began",
    "washout": "received the action shortly before",
    "elsewhere": "received the action through another programme at that moment",
    "no_snapshot": "no snapshot of features from shortly before the start",
    "group_without_action": "in a group (CSM) in which nobody received the action",
}

NEXT_STEPS: dict[str, str] = {
    "immature": "Wait for follow-ups to end, or shorten the horizon.",
    "not_a_customer": "Ingest the contracts of these accounts, with their starts.",
    "left_in_window": "Build snapshots closer to the day of the action (keepwell snapshot "
    "--from … --to … --every week).",
    "washout": "Wait until some accounts have gone without the action for the wash-out.",
    "elsewhere": "Wait until some accounts are in one programme only.",
    "no_snapshot": "Build snapshots of that time (keepwell snapshot --from … --to … --every month).",
    "group_without_action": "Wait until several groups use the action, or compare by a lottery.",
}
"""The next step where one arm is empty, by the reason that most of its trials were left out for."""


def mark_groups(framed: pl.DataFrame, design: Design) -> pl.DataFrame:
    """``has_no_chance``: in a group (CSM) that never used the action, so without a chance of it.

    Accounts whose group is not known are a group of their own: where nobody has a CSM, all are in it.
    """
    name = f"x_{design.compare_within}"
    if design.mechanism == "lottery" or name not in framed.columns:
        return framed.with_columns(pl.lit(False).alias("has_no_chance"))
    with_facts = pl.col("is_treated") & pl.col("snapshot_at").is_not_null()
    using = framed.filter(with_facts)[name].unique()
    return framed.with_columns(
        (~pl.col(name).is_in(using.implode(), nulls_equal=True)).alias("has_no_chance")
    )


def leave_out(
    framed: pl.DataFrame,
    *,
    as_of: datetime,
) -> tuple[pl.DataFrame, dict[str, tuple[int, int]]]:
    """Keep usable trials; count the others by the first reason that applies, per arm."""
    reasons = {
        "immature": pl.col("followed_to") > as_of,
        "not_a_customer": ~pl.col("was_customer"),
        "left_in_window": ~pl.col("is_customer"),
        "washout": pl.col("was_recent"),
        "elsewhere": pl.col("is_elsewhere"),
        "no_snapshot": pl.col("snapshot_at").is_null(),
        "group_without_action": pl.col("has_no_chance"),
    }
    excluded = {}
    for reason, applies in reasons.items():
        gone = framed.filter(applies)
        arm = gone["is_treated"]
        excluded[reason] = (int(arm.sum()), int((~arm).sum()))
        framed = framed.filter(~applies)
    return framed, excluded


def why_no_trials(
    design: Design, treated: pl.Series, excluded: Mapping[str, tuple[int, int]], as_of: datetime
) -> str:
    """Which arm is empty, what was left out of each, and what helps against the largest loss."""
    lost = [
        f"{sum(arms):,} {EXCLUSIONS[why]} ({arms[0]:,} treated, {arms[1]:,} untreated)"
        for why, arms in excluded.items()
        if sum(arms)
    ]
    empty = 0 if not treated.any() else 1
    most = max(excluded, key=lambda why: excluded[why][empty])
    next_step = (
        NEXT_STEPS[most]
        if excluded[most][empty]
        else "Log who received the action, and snapshots from before (keepwell snapshot)."
    )
    return (
        f"{design.intervention!r} has {int(treated.sum())} treated and "
        f"{int((~treated).sum())} untreated usable trials as of {as_of:%Y-%m-%d}; left out: "
        f"{'; '.join(lost) or 'none'}. {next_step}"
    )
