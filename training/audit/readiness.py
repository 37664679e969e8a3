"""Count cutoffs, outcomes and rows left out, and look for empty features and likely leaks.

Reads the events alone: no snapshot and no model is needed, and nothing is written. Cutoffs are the first
days of months. Features are computed at a few of them, of at most ``MOST_ACCOUNTS`` accounts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from features.catalogue.catalogue import HEALTH_SCORE, Catalogue
from features.compute.backfill import month_starts
from features.lake.lake import Lake
from features.workspace import Workspace
from registry.outcomes import OUTCOMES
from training.audit.report import LABEL, AuditedSet
from training.audit.suspicious_features import check_features
from training.dataset.cutoffs import mature, reach_of
from training.dataset.data_span import known_until as known_until_of
from training.dataset.errors import TrainingError
from training.dataset.held_out_accounts import LEAST_ACCOUNTS
from training.dataset.history import History, values_as_of
from training.dataset.labels import ROW, Label, cohort_rows, label_in, label_rows
from training.dataset.splits import time_split

MOST_CUTOFFS = 36
"""The newest months that are looked at."""

CUTOFFS_WITH_FEATURES = 3
"""Cutoffs at which features are computed, to look for leaks."""

MOST_ACCOUNTS = 2_000
"""Accounts whose features are computed."""

LEAST_OUTCOMES = 10
"""Accounts with the outcome below which nothing is learned."""


class NothingToCheckError(TrainingError):
    """The workspace holds no events."""


@dataclass(frozen=True, kw_only=True)
class HorizonCounts:
    """What the data say of one horizon of an outcome."""

    days: int
    cutoffs: int  # whose windows have closed
    rows: int  # decided
    outcomes: int  # rows with the outcome
    accounts: int  # accounts with the outcome
    left_out: Mapping[str, int]  # rows that are not decided, by reason
    why_not: str | None  # why nothing can be trained; None where it can
    holds_accounts_out: str | None = (
        None  # why a model is judged on other accounts, not later months
    )


@dataclass(frozen=True, kw_only=True)
class OutcomeCounts:
    """What the data say of one outcome."""

    name: str
    description: str
    asked: int  # accounts that are asked about at the newest moment
    horizons: tuple[HorizonCounts, ...]
    why_not: str | None = None  # why no account is asked about


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """What a workspace can answer."""

    events: int
    accounts: int
    known_until: datetime
    outcomes: tuple[OutcomeCounts, ...]
    kinds: Mapping[str, int]  # kind to the number of its rows
    empty: Mapping[str, tuple[str, ...]]  # kinds that a feature reads and nobody sent: features
    silent: tuple[str, ...]  # features that are empty although their kinds came
    constant: tuple[str, ...]  # features with one value
    looked_at: int  # accounts whose features were computed
    features: int  # features of the catalogue
    leaks: tuple[str, ...]
    no_leaks_why: str | None  # why leaks were not looked for

    @property
    def can_train(self) -> bool:
        """Whether any horizon of churn can be trained."""
        return any(h.why_not is None for one in self.outcomes[:1] for h in one.horizons)


def examine(workspace: Workspace, *, as_of: datetime | None) -> Readiness:
    """What the workspace can answer at a moment; None: where its data end, each label where it ends.

    Raises:
        NothingToCheckError: no event is known.
    """
    settings = workspace.settings
    lake = Lake(workspace.events_dir, workspace.quarantine_dir)
    asked = workspace.now(as_of)
    known_until = min(asked, settings.complete_until or asked)
    events = lake.versions_before(known_until)
    kinds = dict(events.group_by("kind").len().sort("kind").collect().iter_rows())
    if not kinds:
        raise NothingToCheckError(
            f"No event was known on {known_until:%Y-%m-%d}. Take tables in with keepwell ingest; "
            f"keepwell init proposes a mapping."
        )
    labels = [label_in(settings, outcome.name) for outcome in OUTCOMES]
    ends = {label.name: known_until_of(workspace, label, as_of) for label in labels}
    read = sorted({kind for label in labels for kind in label.reads})
    later = lake.versions_before(max(known_until, *ends.values()))
    decisive = later.filter(pl.col("kind").is_in(read)).collect()
    cutoffs = _cutoffs(decisive, _first_use(events), known_until, max(ends.values()))
    counts = tuple(
        _count(label, decisive, cutoffs, known_until, ends[label.name]) for label in labels
    )
    catalogue = settings.catalogue
    history = History(
        events=events,
        catalogue=catalogue,
        first_recorded=lake.first_recorded(),
        formula=settings.formula,
        complete_until=known_until,
    )
    labelled, horizon = _decided(labels[0], decisive, cutoffs, ends[labels[0].name])
    frame = _features(labels[0], history, decisive, labelled, known_until)
    names = [f.name for f in catalogue.features if f.is_model_input]
    leaks, why_not = _leaks(frame, names, horizon)
    newest = frame.filter(pl.col("as_of") == frame["as_of"].max())
    empty, silent, constant = _unused(newest, catalogue, {*kinds})
    return Readiness(
        events=sum(kinds.values()),
        accounts=int(events.select(pl.col("account_id").n_unique()).collect().item()),
        known_until=known_until,
        outcomes=counts,
        kinds=kinds,
        empty=empty,
        silent=silent,
        constant=constant,
        looked_at=newest.height,
        features=len(names),
        leaks=leaks,
        no_leaks_why=why_not,
    )


def _first_use(events: pl.LazyFrame) -> datetime | None:
    """When anything but contracts and attributes was first known; None where nothing else came in."""
    is_known = pl.col("kind").str.starts_with("contract.") | (pl.col("kind") == "account.updated")
    first = events.filter(~is_known).select(pl.col("recorded_at").min()).collect().item()
    return first if isinstance(first, datetime) else None


def _cutoffs(
    events: pl.DataFrame,
    first_use: datetime | None,
    known_until: datetime,
    outcomes_end: datetime,
) -> tuple[datetime, ...]:
    """The starts of the months whose use is known; of less than a month, the moment where it ends."""
    first = events["recorded_at"].min()
    if not isinstance(first, datetime):
        return ()
    day = timedelta(days=1)
    months = month_starts(max(first, first_use or first) + day, known_until)
    if not months and outcomes_end > known_until:
        return (known_until,)
    return (months or month_starts(first + day, known_until))[-MOST_CUTOFFS:]


def _count(
    label: Label,
    events: pl.DataFrame,
    cutoffs: tuple[datetime, ...],
    asked_at: datetime,
    known_until: datetime,
) -> OutcomeCounts:
    seen = tuple(at for at in cutoffs if at < known_until)
    rows = cohort_rows(label, events, seen) if seen else None
    now = cohort_rows(label, events, (asked_at,))
    if rows is None or rows.is_empty():
        return OutcomeCounts(
            name=label.name,
            description=label.description,
            asked=now.height,
            horizons=(),
            why_not=f"at the start of no month an account is in its cohort ({label.cohort})",
        )
    labelled = label_rows(label, events, rows, known_until=known_until)
    return OutcomeCounts(
        name=label.name,
        description=label.description,
        asked=now.height,
        horizons=tuple(
            _horizon(label, days, labelled.mature(days), labelled.excluded[days], seen, known_until)
            for days in label.horizons
        ),
    )


def _horizon(
    label: Label,
    days: int,
    decided: pl.DataFrame,
    left_out: Mapping[str, int],
    cutoffs: tuple[datetime, ...],
    known_until: datetime,
) -> HorizonCounts:
    reach = reach_of(days, lead_days=label.lead_days)
    closed = mature(cutoffs, reach=reach, known_until=known_until)
    happened = decided.filter(pl.col(label.column(days)))
    accounts = happened["account_id"].n_unique()
    without = decided.filter(~pl.col(label.column(days)))["account_id"].n_unique()
    why_not = holds_out = None
    if min(accounts, without) < LEAST_OUTCOMES:
        why_not = f"{LEAST_OUTCOMES} accounts with the outcome are needed, and as many without"
    else:
        try:
            time_split(closed, reach=reach)
        except TrainingError as error:
            holds_out = str(error).partition(". ")[0]
            if not closed:
                why_not, holds_out = holds_out, None
            elif min(accounts, without) < LEAST_ACCOUNTS:
                why_not = (
                    f"{holds_out}, and to hold accounts out {LEAST_ACCOUNTS} with it are needed"
                )
                holds_out = None
    return HorizonCounts(
        days=days,
        cutoffs=len(closed),
        rows=decided.height,
        outcomes=happened.height,
        accounts=accounts,
        left_out=dict(left_out),
        why_not=why_not,
        holds_accounts_out=holds_out,
    )


def _decided(
    label: Label, events: pl.DataFrame, cutoffs: tuple[datetime, ...], known_until: datetime
) -> tuple[pl.DataFrame, int]:
    """Rows whose outcome is decided, at a few cutoffs, for the longest horizon that has any."""
    for days in reversed(label.horizons):
        reach = reach_of(days, lead_days=label.lead_days)
        closed = mature(cutoffs, reach=reach, known_until=known_until)
        if not closed:
            continue
        step = max(1, len(closed) // CUTOFFS_WITH_FEATURES)
        chosen = tuple(reversed(closed[::-step][:CUTOFFS_WITH_FEATURES]))
        rows = cohort_rows(label, events, chosen)
        if rows.is_empty():
            continue
        only = replace(label, horizons=(days,), long_horizons=())
        labelled = label_rows(only, events, rows, known_until=known_until).mature(days)
        return labelled.select(*ROW, pl.col(label.column(days)).cast(pl.Float64).alias(LABEL)), days
    return pl.DataFrame(schema={"account_id": pl.String, LABEL: pl.Float64}), 0


def _features(
    label: Label,
    history: History,
    events: pl.DataFrame,
    decided: pl.DataFrame,
    known_until: datetime,
) -> pl.DataFrame:
    """Features of the decided rows, and of the newest moment, of some accounts."""
    now = cohort_rows(label, events, (known_until,)).select(ROW)
    if now.is_empty():
        accounts = history.events.select(pl.col("account_id").unique()).collect()["account_id"]
        now = pl.DataFrame({"account_id": accounts.sort().head(MOST_ACCOUNTS)}).with_columns(
            pl.lit(known_until).cast(pl.Datetime("us", "UTC")).alias("as_of")
        )
    parts = [now] if decided.is_empty() else [decided.select(ROW), now]
    rows = pl.concat(parts).unique(maintain_order=True)
    chosen = rows["account_id"].unique().sort()
    if len(chosen) > MOST_ACCOUNTS:
        chosen = chosen.sample(MOST_ACCOUNTS, seed=1)
        rows = rows.filter(pl.col("account_id").is_in(chosen.implode()))
    found = values_as_of(rows, history)
    if decided.is_empty():
        return found.with_columns(pl.lit(None, pl.Float64).alias(LABEL))
    return found.join(decided, on=ROW, how="left")


def _leaks(
    frame: pl.DataFrame, names: Sequence[str], horizon: int
) -> tuple[tuple[str, ...], str | None]:
    decided = frame.filter(pl.col(LABEL).is_not_null())
    if decided.is_empty():
        return (), "no row is decided"
    known = [name for name in names if name in decided.columns and name != HEALTH_SCORE]
    audited = AuditedSet(
        name="The rows of a few cutoffs",
        frame=decided.select(*ROW, LABEL, *known),
        reach=timedelta(days=horizon),
    )
    findings, scopes = check_features(
        audited, recomputed=frozenset(known), rng=np.random.default_rng(1)
    )
    why = next((scope.at for scope in scopes if not scope.was_possible), None)
    return tuple(f"{one.feature}: {one.evidence}. {one.next}" for one in findings), why


def _unused(
    frame: pl.DataFrame, catalogue: Catalogue, kinds: set[str]
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...], tuple[str, ...]]:
    """Features without a value: by the kinds that nobody sent, and others; and constant ones."""
    by_kinds: dict[str, list[str]] = {}
    silent, constant = [], []
    for feature in catalogue.features:
        if not feature.is_model_input or feature.name not in frame.columns:
            continue
        values = frame[feature.name]
        if values.null_count() < len(values):
            if values.n_unique() == 1 and len(values) > 1:
                constant.append(feature.name)
            continue
        needed = tuple(getattr(feature, "reads", ()))
        if needed and not {*needed} & kinds:
            by_kinds.setdefault(" or ".join(needed), []).append(feature.name)
        else:
            silent.append(feature.name)
    return {kind: tuple(names) for kind, names in by_kinds.items()}, tuple(silent), tuple(constant)
