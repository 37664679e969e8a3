"""Build the trials of a design: each moment at which an account could have received the action.

If the log holds every decision, for and against, each is a trial. If it holds only the actions that
people took, every snapshot opens a trial for each account that had not received the action during
the wash-out: treated if it did so within the window, untreated if not (sequential trials; Hernán
and Robins 2016). An account that left before the window closed is in neither arm. Every trial that
cannot be used is counted, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from experiments.causal.design import Design
from experiments.causal.exclusions import leave_out, mark_groups, why_no_trials
from experiments.causal.interventions import (
    ALL_ACTIONS,
    assignments,
    choices,
    exposures,
)
from experiments.causal.outcomes import DAYS_A_MONTH, add_outcomes, contract_states
from experiments.causal.sample import Bools, Floats, Sample
from features.events.visibility import visible_events

OLDEST_SNAPSHOT = timedelta(days=35)
"""A snapshot that is older than this at the start is not used."""

LEAST_LEVEL = 20
"""A value of an attribute becomes a covariate from this many trials on."""

CHURN, REVENUE, MRR_AFTER = "churn", "revenue", "mrr_after"


class NoTrialsError(ValueError):
    """A design for which the log holds nothing that could be compared yet."""


@dataclass(frozen=True, kw_only=True)
class Trials:
    """The trials of a design, one array entry each, and what was left out.

    ``outcomes`` hold the outcomes, ``baselines`` the part that was certain at the start (subtracted
    before estimation: it changes no effect and removes the spread between large and small
    accounts). ``placebos`` come from before the start; NaN where unknown.
    """

    design: Design
    account_ids: tuple[str, ...]
    starts: tuple[datetime, ...]
    segments: tuple[str, ...]
    sample: Sample
    outcomes: Mapping[str, Floats]
    baselines: Mapping[str, Floats]
    placebos: Mapping[str, Floats]
    is_exposed: Bools  # received the action during the follow-up
    excluded: Mapping[str, tuple[int, int]]  # reason: (treated, untreated)
    covariates_missing: tuple[str, ...]  # declared by the design, not in the snapshots

    @property
    def n_accounts(self) -> int:
        """Distinct accounts."""
        return len(set(self.account_ids))


def build_trials(
    events: pl.DataFrame,
    features: pl.DataFrame,
    design: Design,
    *,
    as_of: datetime,
) -> Trials:
    """The trials of a design from what was known at ``as_of``.

    ``features`` is a snapshot frame of many moments; a trial reads the newest one at or before its
    start.

    Raises:
        NoTrialsError: nothing was assigned or carried out, or no trial can be used.
    """
    known = visible_events(events, as_of)
    done = exposures(known)
    framed = _open_trials(known, done, snapshot_moments(features), design)
    if framed.is_empty():
        raise NoTrialsError(
            f"The log holds no trial of {design.intervention!r} for design {design.design_id!r}: "
            f"no decision or execution with a snapshot from before it. Build snapshots of that "
            f"time (keepwell snapshot --from … --to … --every month)."
        )
    horizon = timedelta(days=design.horizon_days)
    states = contract_states(known)
    framed = add_outcomes(framed, states, horizon=horizon)
    if design.mechanism == "judgement":  # no trial opens without a contract
        framed = framed.filter(pl.col("was_customer") | pl.col("is_treated"))
    framed = _add_exposure(framed, done, design, horizon)
    framed = mark_groups(add_features(framed, features, design), design)
    framed, excluded = leave_out(framed, as_of=as_of)
    arms = framed["is_treated"]
    if arms.n_unique() < 2:
        raise NoTrialsError(why_no_trials(design, arms, excluded, as_of))
    return _as_arrays(framed.sort("start", "account_id"), design, excluded, features)


def snapshot_moments(features: pl.DataFrame) -> list[datetime]:
    """The moments of a snapshot frame, in order."""
    return features.select("as_of").unique().sort("as_of")["as_of"].to_list()


def _open_trials(
    known: pl.DataFrame,
    done: pl.DataFrame,
    snapshots: Sequence[datetime],
    design: Design,
) -> pl.DataFrame:
    """``account_id, start, followed_from, is_treated, propensity, draw``."""
    mine = assignments(known).filter(pl.col("intervention") == design.intervention)
    if design.window_days == 0:
        return mine.select(
            "account_id",
            pl.col("at").alias("start"),
            pl.col("at").alias("followed_from"),
            "is_treated",
            "propensity",
            pl.col("at").dt.date().cast(pl.String).alias("draw"),
        )
    received = choices(mine, done.filter(pl.col("intervention") == design.intervention))
    if received.is_empty():
        return _no_trials()
    window = timedelta(days=design.window_days)
    first, last = received["at"][0], received["at"][-1]
    openings = [moment for moment in snapshots if first - window < moment <= last]
    if not openings:
        return _no_trials()
    accounts = known.select("account_id").unique()
    grid = accounts.join(
        pl.DataFrame({"start": openings}, schema={"start": received["at"].dtype}), how="cross"
    )
    chosen = (
        grid.join(received, on="account_id", how="inner")
        .filter((pl.col("at") >= pl.col("start")) & (pl.col("at") < pl.col("start") + window))
        .select("account_id", "start")
        .unique()
        .with_columns(pl.lit(True).alias("is_treated"))
    )
    return grid.join(chosen, on=["account_id", "start"], how="left").select(
        "account_id",
        "start",
        (pl.col("start") + window).alias("followed_from"),
        pl.col("is_treated").fill_null(False),
        pl.lit(None, pl.Float64).alias("propensity"),
        pl.col("start").dt.date().cast(pl.String).alias("draw"),
    )


def _no_trials() -> pl.DataFrame:
    return pl.DataFrame(schema={"account_id": pl.String})


def _add_exposure(
    framed: pl.DataFrame, done: pl.DataFrame, design: Design, horizon: timedelta
) -> pl.DataFrame:
    """``was_recent`` (in the wash-out), ``is_elsewhere`` and ``is_exposed`` (in the follow-up)."""
    of_design = (pl.col("action") == design.action) | pl.lit(design.action == ALL_ACTIONS)
    same = done.filter(of_design).select(
        "account_id", "at", (pl.col("intervention") == design.intervention).alias("is_mine")
    )
    at, start = pl.col("at"), pl.col("start")
    in_window = (at >= start) & (at < pl.col("followed_from"))
    # The moment of the decision itself belongs to the follow-up of a lottery, not to its past.
    follows = (at >= pl.col("followed_from")) & (at < pl.col("followed_from") + horizon)
    found = (
        framed.select("account_id", "start", "followed_from")
        .join(same, on="account_id")
        .with_columns(
            ((at >= start - timedelta(days=design.washout_days)) & (at < start)).alias("recent"),
            (in_window & ~pl.col("is_mine")).alias("elsewhere"),
            follows.alias("exposed"),
        )
        .group_by("account_id", "start")
        .agg(
            pl.col("recent").any().alias("was_recent"),
            pl.col("elsewhere").any().alias("is_elsewhere"),
            pl.col("exposed").any().alias("is_exposed"),
        )
    )
    flags = ["was_recent", "is_elsewhere", "is_exposed"]
    return framed.join(found, on=["account_id", "start"], how="left").with_columns(
        pl.col(flags).fill_null(False)
    )


def add_features(framed: pl.DataFrame, features: pl.DataFrame, design: Design) -> pl.DataFrame:
    """The newest snapshot at or before the start, and the lagged features of the placebos."""
    declared = (
        *design.covariates,
        *design.attributes,
        design.segment_by,
        design.cluster_by,
        design.compare_within,
    )
    wanted = [name for name in declared if name in features.columns and name != "account_id"]
    frozen = features.select("account_id", "as_of", *dict.fromkeys(wanted)).sort("as_of")
    # Contract events and snapshots may share names (mrr), so covariates have a prefix.
    frozen = frozen.rename({name: f"x_{name}" for name in frozen.columns[2:]})
    joined = framed.sort("start").join_asof(
        frozen.with_columns(pl.col("as_of").alias("snapshot_at")),
        left_on="start",
        right_on="as_of",
        by="account_id",
        tolerance=OLDEST_SNAPSHOT,
        check_sortedness=False,
    )
    lagged = [name for name in design.placebos if name in features.columns]
    if not lagged:
        return joined
    past = (
        features.select("account_id", "as_of", *lagged)
        .sort("as_of")
        .rename({name: f"before_{name}" for name in lagged})
    )
    past = past.with_columns(pl.col("as_of").alias("past_at"))
    return (
        joined.with_columns(
            (pl.col("start") - timedelta(days=design.horizon_days)).alias("long_before")
        )
        .sort("long_before")
        .join_asof(
            past,
            left_on="long_before",
            right_on="past_at",
            by="account_id",
            suffix="_past",
            tolerance=OLDEST_SNAPSHOT,
            check_sortedness=False,
        )
    )


def _as_arrays(
    framed: pl.DataFrame,
    design: Design,
    excluded: Mapping[str, tuple[int, int]],
    features: pl.DataFrame,
) -> Trials:
    names, matrix = covariates_of(framed, design)
    cluster_words = framed[_cluster_column(framed, design)].fill_null("unknown")
    # Where people decided, a logged number is no probability of being chosen.
    logged = framed["propensity"] if design.mechanism == "lottery" else pl.Series([None])
    propensity = logged.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    sample = Sample.of_two_arms(
        covariates=matrix,
        covariate_names=names,
        treated=framed["is_treated"].to_numpy().astype(bool),
        propensity=np.broadcast_to(propensity, framed.height),
        action=design.action,
        segment=np.array(segments_of(framed, design), dtype=str),
        stratum=codes(framed["draw"]),
        cluster=codes(cluster_words),
    )
    months = design.horizon_days / DAYS_A_MONTH
    before = framed["mrr_before"].fill_null(0.0).to_numpy()
    declared = (*design.covariates, *design.attributes)
    return Trials(
        design=design,
        account_ids=tuple(framed["account_id"]),
        starts=tuple(framed["start"]),
        segments=segments_of(framed, design),
        sample=sample,
        outcomes={
            CHURN: framed["churn"].to_numpy().copy(),
            REVENUE: framed["revenue"].to_numpy().copy(),
            MRR_AFTER: framed["mrr_after"].to_numpy().copy(),
        },
        baselines={
            CHURN: np.zeros(framed.height),
            REVENUE: before * months,
            MRR_AFTER: before.copy(),
        },
        placebos=placebos_of(framed, design, before * months),
        is_exposed=framed["is_exposed"].to_numpy().astype(bool),
        excluded=dict(excluded),
        covariates_missing=tuple(name for name in declared if name not in features.columns),
    )


def covariates_of(framed: pl.DataFrame, design: Design) -> tuple[tuple[str, ...], Floats]:
    """Declared features, one column per common word of an attribute, and the calendar."""
    columns: dict[str, Floats] = {}
    for name in design.covariates:
        if f"x_{name}" in framed.columns:
            columns[name] = framed[f"x_{name}"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    for name in dict.fromkeys((*design.attributes, design.segment_by)):
        if f"x_{name}" not in framed.columns:
            continue
        words = framed[f"x_{name}"].cast(pl.String).fill_null("unknown")
        counts = words.value_counts().filter(pl.col("count") >= LEAST_LEVEL)
        for word in sorted(counts[f"x_{name}"])[1:]:
            columns[f"{name}={word}"] = (words == word).cast(pl.Float64).to_numpy()
    if design.mechanism == "judgement":
        seconds = framed["start"].dt.epoch("s").cast(pl.Float64).to_numpy()
        columns["calendar_days"] = (seconds - seconds.min()) / 86_400
    known = {
        name: column
        for name, column in columns.items()
        if (~np.isnan(column)).any() and np.nanmax(column) > np.nanmin(column)
    }
    matrix = np.column_stack(list(known.values())) if known else np.empty((framed.height, 0))
    return tuple(known), matrix


def placebos_of(framed: pl.DataFrame, design: Design, certain: Floats) -> dict[str, Floats]:
    """The values a horizon before the start; NaN where unknown."""
    found = {}
    for name in design.placebos:
        if name == "past_revenue":
            past = framed["past_revenue"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
            found[name] = past - certain
        elif f"before_{name}" in framed.columns:
            found[name] = (
                framed[f"before_{name}"].cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()
            )
    return found


def segments_of(framed: pl.DataFrame, design: Design) -> tuple[str, ...]:
    """The segment of each trial as of its start."""
    name = f"x_{design.segment_by}"
    if name not in framed.columns:
        return ("all",) * framed.height
    return tuple(framed[name].cast(pl.String).fill_null("unknown"))


def _cluster_column(framed: pl.DataFrame, design: Design) -> str:
    prefixed = f"x_{design.cluster_by}"
    return prefixed if prefixed in framed.columns else "account_id"


def codes(words: pl.Series) -> np.ndarray:
    """Words as integer codes, in their order."""
    return np.unique(words.to_numpy().astype(str), return_inverse=True)[1].astype(np.int64)
