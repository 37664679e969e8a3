"""Weekly trials: where people decide, every week is a trial of every action.

A trial opens with a snapshot, at most one a week, for every account with a running contract that
received none of the actions during the wash-out (sequential trials; Hernán and Robins 2016). Its
arm is the action received within the week, or none; features are frozen at the start; the follow-up
begins when the week is over, and an account that left inside it is in no arm. So the effect has no
survivorship bias. ::

    wash-out            week: which action?     follow-up (horizon)
    ──[──────────────)──[───────────────────)───[────────────────────)──
                        snapshot                stayed? grew?

Every trial that cannot be used is counted, with the reason. Pure over frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import polars as pl

from experiments.causal.design import Design
from experiments.causal.interventions import assignments, exposures, mechanism_of
from experiments.causal.outcomes import DAYS_A_MONTH, add_outcomes, contract_states
from experiments.causal.sample import NO_ACTION, Bools, Floats, Sample
from experiments.causal.trials import (
    NoTrialsError,
    add_features,
    codes,
    covariates_of,
    placebos_of,
    segments_of,
    snapshot_moments,
)
from experiments.effects.action_effect import GoodOutcome
from experiments.randomisation.assignment import hash_position
from features.events.visibility import visible_events

WINDOW = timedelta(days=7)
"""The time after a snapshot during which a choice counts as made on it."""

LEAST_TREATED = 30
"""An action with fewer trials is left out."""

MOST_TRIALS = 60_000
"""With more trials a share of the accounts is used, by hash, with all of their trials."""

GROWN = 1.1
"""MRR at the end of the follow-up, over that at its start, from which an account has grown."""

EXCLUSIONS: Mapping[str, str] = {
    "left_in_window": "the contract ended before the follow-up began",
    "washout": "received one of the actions shortly before",
    "several": "received more than one of them in the week, or one by lot",
    "no_snapshot": "no snapshot of features from shortly before the start",
}


@dataclass(frozen=True, kw_only=True)
class WeeklyTrials:
    """The trials of all actions that people decide about, and what was left out.

    ``is_exposed``: received one of the actions during the follow-up. ``age_days`` counts from the
    newest start. ``too_few`` holds the actions that were left out, with their number of trials.
    """

    sample: Sample
    outcomes: Mapping[GoodOutcome, Floats]
    placebos: Mapping[str, Floats]
    is_exposed: Bools
    age_days: Floats
    excluded: Mapping[str, int]
    too_few: Mapping[str, int]
    first_start: datetime
    followed_to: datetime
    share_of_accounts: float


def build_weekly_trials(
    events: pl.DataFrame,
    features: pl.DataFrame,
    *,
    as_of: datetime,
    horizon_days: int = 90,
    washout_days: int = 28,
    segment_by: str = "segment",
) -> WeeklyTrials:
    """The trials of what was known at ``as_of``.

    Raises:
        NoTrialsError: people decided about no action, or too few trials of any can be used.
    """
    known = visible_events(events, as_of)
    chosen, drawn = _received(known)
    horizon = timedelta(days=horizon_days)
    starts = _starts(chosen, snapshot_moments(features), last=as_of - WINDOW - horizon)
    if not starts:
        raise NoTrialsError(
            f"No action that people decided about was carried out within a week after a snapshot "
            f"from more than {horizon_days + 7} days before {as_of:%Y-%m-%d}. Log actions as they "
            f"are done, build weekly snapshots of that time (keepwell snapshot --from … --to … "
            f"--every week), and wait for a follow-up to end."
        )
    accounts, share = _accounts(known, len(starts))
    grid = accounts.join(
        pl.DataFrame({"start": starts}, schema={"start": chosen.schema["at"]}), how="cross"
    ).with_columns((pl.col("start") + WINDOW).alias("followed_from"))
    framed = add_outcomes(grid, contract_states(known), horizon=horizon).filter("was_customer")
    framed = _add_arms(framed, chosen, drawn, timedelta(days=washout_days), horizon)
    design = _design(horizon_days, washout_days, segment_by)
    framed, excluded = _leave_out(add_features(framed, features, design))
    framed, too_few = _without_rare(framed)
    return _as_arrays(framed.sort("start", "account_id"), design, excluded, too_few, share)


def age_days(starts: pl.Series) -> Floats:
    """The days from each of these moments to the newest one."""
    seconds = starts.dt.epoch("s").cast(pl.Float64).to_numpy()
    return np.asarray((seconds.max() - seconds) / 86_400)


def has_grown(before: Floats, after: Floats) -> Floats:
    """1 where the MRR after is at least ``GROWN`` times that before, else 0."""
    return np.asarray(((before > 0) & (after > before * (GROWN - 1e-9))).astype(float))


def _received(known: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """``account_id, at, action``: what people chose, and what was drawn by lot."""
    decided, done = assignments(known), exposures(known)
    by_lot = [
        name
        for (name,), rows in decided.group_by("intervention")
        if mechanism_of(rows) == "lottery"
    ]
    done = done.with_columns(pl.col("action").fill_null(pl.col("intervention")))
    is_drawn = pl.col("intervention").is_in(by_lot)
    wanted = done.select("account_id", "at", "action", is_drawn.alias("drawn"))
    return (
        wanted.filter(~pl.col("drawn")).drop("drawn"),
        wanted.filter(pl.col("drawn")).drop("drawn"),
    )


def _starts(
    chosen: pl.DataFrame,
    snapshots: Sequence[datetime],
    *,
    last: datetime,
) -> list[datetime]:
    """Snapshots from a week before the first choice to the last one, at least a week apart."""
    if chosen.is_empty():
        return []
    first: datetime = chosen["at"].min()  # type: ignore[assignment]
    final: datetime = chosen["at"].max()  # type: ignore[assignment]
    found: list[datetime] = []
    for moment in sorted(snapshots):
        far_enough = not found or moment - found[-1] >= WINDOW
        if first - WINDOW < moment <= min(last, final) and far_enough:
            found.append(moment)
    return found


def _accounts(known: pl.DataFrame, weeks: int) -> tuple[pl.DataFrame, float]:
    names = known["account_id"].unique().sort()
    share = min(1.0, MOST_TRIALS / (len(names) * weeks))
    if share < 1:
        names = pl.Series(
            "account_id", [name for name in names if hash_position("weekly trials", name) < share]
        )
    return pl.DataFrame({"account_id": names}), share


def _add_arms(
    framed: pl.DataFrame,
    chosen: pl.DataFrame,
    drawn: pl.DataFrame,
    washout: timedelta,
    horizon: timedelta,
) -> pl.DataFrame:
    """``action``, ``is_several``, ``was_recent`` and ``is_exposed``."""
    at, start, over = pl.col("at"), pl.col("start"), pl.col("followed_from")
    in_week = (at >= start) & (at < over)
    both = pl.concat(
        [
            chosen.with_columns(pl.lit(False).alias("drawn")),
            drawn.with_columns(pl.lit(True).alias("drawn")),
        ]
    )
    found = (
        framed.select("account_id", "start", "followed_from")
        .join(both, on="account_id")
        .filter((at >= start - washout) & (at < over + horizon))
        .group_by("account_id", "start")
        .agg(
            pl.col("action").filter(in_week & ~pl.col("drawn")).first().alias("action"),
            (pl.col("action").filter(in_week & ~pl.col("drawn")).n_unique() > 1).alias("mixed"),
            (in_week & pl.col("drawn")).any().alias("by_lot"),
            (at < start).any().alias("was_recent"),
            (at >= over).any().alias("is_exposed"),
        )
        .with_columns((pl.col("mixed") | pl.col("by_lot")).alias("is_several"))
        .drop("mixed", "by_lot")
    )
    return framed.join(found, on=["account_id", "start"], how="left").with_columns(
        pl.col("action").fill_null(NO_ACTION),
        pl.col("was_recent", "is_exposed", "is_several").fill_null(False),
    )


def _leave_out(framed: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    reasons = {
        "left_in_window": ~pl.col("is_customer"),
        "washout": pl.col("was_recent"),
        "several": pl.col("is_several"),
        "no_snapshot": pl.col("snapshot_at").is_null(),
    }
    excluded = {}
    for reason, applies in reasons.items():
        kept = framed.filter(~applies)
        excluded[reason] = framed.height - kept.height
        framed = kept
    return framed, excluded


def _without_rare(framed: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    counts = dict(framed["action"].value_counts().iter_rows())
    untreated = counts.pop(NO_ACTION, 0)
    rare = {action: count for action, count in sorted(counts.items()) if count < LEAST_TREATED}
    if len(rare) == len(counts) or untreated < LEAST_TREATED:
        listed = ", ".join(f"{count} of {action!r}" for action, count in sorted(counts.items()))
        raise NoTrialsError(
            f"The log holds {untreated} usable weeks without an action and {listed or 'no action'}; "
            f"{LEAST_TREATED} of an action and of none are needed. Build snapshots of that time "
            f"(keepwell snapshot --from … --to … --every week), or wait."
        )
    return framed.filter(~pl.col("action").is_in(list(rare))), rare


def _as_arrays(
    framed: pl.DataFrame,
    design: Design,
    excluded: Mapping[str, int],
    too_few: Mapping[str, int],
    share: float,
) -> WeeklyTrials:
    names, matrix = covariates_of(framed, design)
    arms = (NO_ACTION, *sorted(set(framed["action"]) - {NO_ACTION}))
    months = design.horizon_days / DAYS_A_MONTH
    before = framed["mrr_before"].fill_null(0.0).to_numpy()
    after = framed["mrr_after"].fill_null(0.0).to_numpy()
    stayed = 1 - framed["churn"].to_numpy()
    ends: datetime = framed["followed_to"].max()  # type: ignore[assignment]
    outcomes: dict[GoodOutcome, Floats] = {
        "retention": stayed,
        "expansion": has_grown(before, after) * stayed,
    }
    return WeeklyTrials(
        sample=Sample(
            covariates=matrix,
            covariate_names=names,
            arm=np.array([arms.index(action) for action in framed["action"]]),
            arms=arms,
            propensity=np.full((framed.height, len(arms)), np.nan),
            segment=np.array(segments_of(framed, design), dtype=str),
            cluster=codes(framed["account_id"]),
        ),
        outcomes=outcomes,
        placebos=placebos_of(framed, design, before * months),
        is_exposed=framed["is_exposed"].to_numpy().astype(bool),
        age_days=age_days(framed["start"]),
        excluded=excluded,
        too_few=too_few,
        first_start=framed["start"][0],
        followed_to=ends,
        share_of_accounts=share,
    )


def _design(horizon_days: int, washout_days: int, segment_by: str) -> Design:
    """The design of all actions together."""
    mechanism: Literal["judgement"] = "judgement"
    return Design(
        design_id=f"weekly-{horizon_days}d",
        action="any",
        intervention="any",
        question="What does each action change, against none?",
        mechanism=mechanism,
        estimand="ATE",
        horizon_days=horizon_days,
        window_days=WINDOW.days,
        washout_days=washout_days,
        segment_by=segment_by,
    )
