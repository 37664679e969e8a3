"""Back-test the chance to leave at the renewal, by how far ahead the decision lies.

::

    origin 1   ── fits ──┤ embargo ├ every account: its next decision in d days, and p ┤
    origin 2   ── fits ──────────┤ embargo ├ …

A row is an account at a cutoff with its next end of a term, the chance that the renewal model gave to
leaving then, fitted on what was known at the row's origin, and whether it left. Rows whose decision
was not over at the end of the data are left out.

An account that left is a **surprise** if it never was at risk before: in no row of the decision at
which it left was its chance ``AT_RISK`` times the mean chance of contracts of the same length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from training.backtest.run import BacktestError, align_columns, check_origins, find_origins
from training.dataset.labels import Label
from training.dataset.training_set import FeatureReader
from training.metrics import Interval, account_draws, came_over_promised, row_log_loss
from training.models.fitting.taking_part import is_made_for, why_not
from training.models.model_selection import run_contender
from training.models.specs import RENEWAL, RENEWAL_RISK, TERM
from training.pipeline.prepare import prepare
from training.progress import Progress, no_progress

Vector = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEADS = (14, 30, 60, 90, 120, 180, 365)
"""Ends of the bands of lead, in days."""

AT_RISK = 2.0
"""An account is at risk where its chance is so many times the mean of contracts of its length."""

LEAST_LEFT = 5
"""With fewer accounts that left, a band has counts and no quotient."""

DRAWS = 300


@dataclass(frozen=True, kw_only=True, eq=False)
class RenewalRows:
    """Rows with a decision that was over: arrays with one element a row."""

    account: NDArray[np.int64]  # from 0
    lead: Vector  # days to the decision
    chance: Vector  # to leave then
    left: Vector  # 1 left, 0 stayed
    mrr: Vector  # NaN unknown
    months: Vector  # of the term, NaN unknown


@dataclass(frozen=True, kw_only=True)
class LeadBand:
    """What came of the decisions within a band of lead. Quotients are None with too few."""

    low: int
    high: int
    n_rows: int
    n_left: int  # rows
    n_accounts_left: int
    promised: float
    by_count: Interval | None  # left over promised
    by_revenue: float | None  # the same of monthly revenue
    log_loss: float
    log_loss_of_rate: float  # of the share that left, which nobody knew then
    auc: float | None


@dataclass(frozen=True, kw_only=True)
class Crossings:
    """When the accounts that left had first been at risk."""

    n_left: int  # accounts
    n_seen: int  # of them, at risk in a row before
    median_lead: float | None  # days before the decision at which those first were
    n_false: int  # accounts that were at risk and stayed

    @property
    def surprises(self) -> int:
        """The accounts that left and never had been at risk."""
        return self.n_left - self.n_seen


@dataclass(frozen=True, kw_only=True)
class RenewalBacktest:
    """The result, and the moments at which the model was fitted."""

    origins: tuple[datetime, ...]
    bands: tuple[LeadBand, ...]
    crossings: Crossings

    @property
    def summary(self) -> str:
        """What a person remembers of it."""
        seen = self.crossings
        first = (
            ""
            if seen.median_lead is None
            else f", half of them {seen.median_lead:.0f} days before the decision or earlier"
        )
        at_risk = seen.n_seen + seen.n_false
        return (
            f"Of {seen.n_left} accounts that left at a renewal, {seen.n_seen} "
            f"({seen.n_seen / max(1, seen.n_left):.0%}) had been at risk before (a chance {AT_RISK:g} "
            f"times the mean of contracts of the same length){first}; {seen.surprises} came as a "
            f"surprise. Of {at_risk} accounts that were at risk {seen.n_seen} "
            f"({seen.n_seen / max(1, at_risk):.0%}) left."
        )


def backtest_renewals(
    label: Label,
    *,
    events: pl.DataFrame,
    reader: FeatureReader,
    digests: Mapping[str, str],
    cutoffs: tuple[datetime, ...],
    known_until: datetime,
    n_origins: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> RenewalBacktest:
    """Run the renewal model at every origin and judge its chances at renewals.

    Args:
        label: churn, or another label of contracts that end.
        events: the events of the kinds that the label reads.
        reader: features as known at each row's moment.
        digests: the features to read, each with the digest of its definition.
        cutoffs: moments that have a snapshot.
        known_until: nothing later counts.
        n_origins: the most; with fewer cutoffs that can judge, each of them is one.
        seed: of everything random.
        progress: called with the step, how far it is and how far it goes.

    Raises:
        BacktestError: too few origins, no date of renewal, or no decision that was over.
        TrainingError: the data cannot answer; the message says why and what to do.
    """
    check_origins(n_origins)
    say = progress or no_progress
    say("labels and features", 0, n_origins)
    parts = []
    with threadpool_limits(limits=1, user_api="blas"):
        prepared = prepare(
            label,
            events=events,
            reader=reader,
            digests=digests,
            cutoffs=cutoffs,
            known_until=known_until,
        )
        training = prepared.training
        if RENEWAL not in training.names or not is_made_for(RENEWAL_RISK, training):
            raise BacktestError(
                "No date of renewal is known of any account. Map contract events with their "
                "renewal date (keepwell ingest)."
            )
        outcomes = dict(zip(training.horizons, training.outcomes.T, strict=True))
        outcomes |= training.long_outcomes
        days = training.matrix[:, training.names.index(RENEWAL)]
        term = (
            training.matrix[:, training.names.index(TERM)]
            if TERM in training.names
            else np.full(len(days), np.nan)
        )
        left = np.full(len(days), np.nan)
        for horizon in sorted(outcomes, reverse=True):  # the shortest that holds the decision
            left = np.where(days < horizon, outcomes[horizon], left)
        mrr = align_columns(training, prepared.labelled, ["mrr"])[:, 0]
        origins = find_origins(prepared, events, n_origins)
        everybody = np.ones((1, len(training.accounts)))
        for number, origin in enumerate(origins):
            say(f"origin {origin.moment:%Y-%m-%d}", number, len(origins))
            fitted = origin.known.rows_at(origin.fitted)
            reason = why_not(RENEWAL_RISK, origin.known, fitted)
            if reason is not None:
                raise BacktestError(
                    f"At the origin {origin.moment:%Y-%m-%d} the renewal model has too little to "
                    f"learn from: {reason}"
                )
            test = training.rows_at(origin.judged)
            at_renewal = run_contender(
                RENEWAL_RISK, origin.known, fitted, test, RENEWAL_RISK.parameters, everybody,
                at=origin.moment, seed=seed,
            ).at_renewal  # fmt: skip
            assert at_renewal is not None, "it knows dates"
            kept = (days[test] >= 0) & ~np.isnan(at_renewal) & ~np.isnan(left[test])
            place = np.flatnonzero(test)[kept]
            parts.append((place, at_renewal[kept]))
    place = np.concatenate([where for where, _ in parts])
    if not len(place):
        raise BacktestError("No decision of a row that is judged was over at the end of the data.")
    rows = RenewalRows(
        account=np.unique(training.account[place], return_inverse=True)[1],
        lead=days[place],
        chance=np.concatenate([chance for _, chance in parts]),
        left=left[place],
        mrr=mrr[place],
        months=term[place],
    )
    return RenewalBacktest(
        origins=tuple(origin.moment for origin in origins),
        bands=judge_bands(rows, seed=seed),
        crossings=judge_crossings(rows),
    )


def judge_bands(rows: RenewalRows, *, seed: int = 0) -> tuple[LeadBand, ...]:
    """What came of the decisions of each band of lead that has any."""
    draws = account_draws(rows.account, DRAWS, np.random.default_rng(seed))
    found = []
    for low, high in zip((0, *LEADS), LEADS, strict=False):
        inside: Bools = (rows.lead >= low) & (rows.lead < high)
        if inside.any():
            found.append(_band(low, high, rows, inside, draws))
    return tuple(found)


def _band(low: int, high: int, rows: RenewalRows, inside: Bools, draws: Vector) -> LeadBand:
    y, p, account = rows.left[inside], rows.chance[inside], rows.account[inside]
    gone = len(np.unique(account[y == 1]))
    enough = min(gone, len(np.unique(account[y == 0]))) >= LEAST_LEFT
    money = np.nan_to_num(rows.mrr[inside])
    lost = float((money * p).sum())
    return LeadBand(
        low=low,
        high=high,
        n_rows=len(y),
        n_left=int(y.sum()),
        n_accounts_left=gone,
        promised=float(p.sum()),
        by_count=came_over_promised(y, p, account, draws) if enough else None,
        by_revenue=float((money * y).sum()) / lost if enough and lost > 0 else None,
        log_loss=float(row_log_loss(y, p).mean()),
        log_loss_of_rate=float(row_log_loss(y, np.full(len(y), y.mean())).mean()),
        auc=float(roc_auc_score(y, p)) if enough else None,
    )


def judge_crossings(rows: RenewalRows) -> Crossings:
    """When accounts were first at risk before they left at a decision, or stayed."""
    _, kind = np.unique(rows.months, return_inverse=True)  # unknown is a kind
    usual = np.bincount(kind, rows.chance) / np.bincount(kind)
    warned = rows.chance >= AT_RISK * usual[kind]
    gone = np.unique(rows.account[rows.left == 1])
    before_leaving = (rows.left == 1) & warned
    seen = np.unique(rows.account[before_leaving])
    first = [float(rows.lead[before_leaving & (rows.account == one)].max()) for one in seen]
    return Crossings(
        n_left=len(gone),
        n_seen=len(seen),
        median_lead=float(np.median(first)) if first else None,
        n_false=len(np.setdiff1d(np.unique(rows.account[warned]), gone)),
    )
