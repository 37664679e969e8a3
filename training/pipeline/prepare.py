"""Prepare a training: labelled rows, their features, their split.

It decides which horizons the data can judge. A horizon whose label windows leave too few cutoffs
is not estimable, with the reason; if none is left, the training is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.dataset.cutoffs import first_of_months, mature, reach_of
from training.dataset.errors import HorizonTooLongError, NoAccountsError, OneClassError
from training.dataset.held_out_accounts import LEAST_ACCOUNTS, families_of, hold_out
from training.dataset.labels import Label, LabelledRows, cohort_rows, label_rows
from training.dataset.splits import (
    FEWEST_BEFORE_TEST,
    LEAST_BEFORE_TEST,
    Fold,
    Split,
    SplitError,
    account_split,
    newest,
    rolling_folds,
    time_split,
)
from training.dataset.training_set import FeatureReader, TrainingSet, build_training_set
from training.models.long_horizons import LongHorizonLabels, label_long_horizons
from training.models.specs import FEW_ACCOUNTS

TUNING_SHARE = 1 / 2
"""Share of the cutoffs before the test that judge in the study: the newest ones."""

PARENT = "parent"
"""The attribute that names the account above another."""

LEAST_OUTCOMES = 10
"""The least number of rows of either class to learn from."""


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """A training set with its split and folds, and what was left out."""

    training: TrainingSet
    labelled: LabelledRows
    split: Split
    tuning_folds: tuple[Fold, ...]
    not_estimable: Mapping[int, str]
    known_until: datetime
    long_horizons: LongHorizonLabels
    held_out: NDArray[np.bool_] | None = None  # of each account, where accounts judge, not months

    @property
    def before_test(self) -> NDArray[np.bool_]:
        """Rows to learn from: their windows close before the test opens, or of other accounts."""
        rows, hidden = self.training.rows_at(self.split.before_test), self.hidden
        return rows if hidden is None else rows & ~hidden

    @property
    def test(self) -> NDArray[np.bool_]:
        """Rows that judge."""
        rows, hidden = self.training.rows_at(self.split.test), self.hidden
        return rows if hidden is None else rows & hidden

    @property
    def hidden(self) -> NDArray[np.bool_] | None:
        """Every row of the accounts that judge, which nothing may learn from; None: months judge."""
        return None if self.held_out is None else self.held_out[self.training.account]

    @property
    def learned_at(self) -> datetime:
        """The moment until which outcomes are known to what is judged."""
        return self.known_until if self.split.by_accounts else self.split.test[0]

    @property
    def has_few_outcomes(self) -> bool:
        """Whether too few accounts left before the test for a model without a prior.

        Only for churn, because the health formula is no prior for other outcomes.
        """
        left = self.training.account[self.before_test & (self.training.outcome == 1)]
        return self.training.label.rule == "contract_ends" and len(np.unique(left)) < FEW_ACCOUNTS

    @property
    def counts(self) -> dict[str, int]:
        """Rows, and rows with the outcome at the longest horizon, by the part they play."""
        counts: dict[str, int] = {}
        for name, rows in (("fitted", self.before_test), ("test", self.test)):
            counts[name] = int(rows.sum())
            counts[f"{name}_outcomes"] = int(self.training.outcome[rows].sum())
            happened = self.training.account[rows & (self.training.outcome == 1)]
            counts[f"{name}_accounts_with_outcome"] = len(np.unique(happened))
            for position, horizon in enumerate(self.training.horizons):
                outcome = self.training.outcomes[rows, position]
                counts[f"{name}_outcomes_{horizon}d"] = int(np.nansum(outcome))
        return counts


def prepare(
    label: Label,
    *,
    events: pl.DataFrame,
    reader: FeatureReader,
    digests: Mapping[str, str],
    cutoffs: tuple[datetime, ...],
    known_until: datetime,
    hold_out_accounts: bool = False,
    parents: FeatureReader | None = None,
) -> PreparedData:
    """Label the cohort, read the features, and split by time.

    ``hold_out_accounts`` allows what is done with too few cutoffs: one fits and a later one judges,
    or else a third of the accounts judges at the same cutoffs. ``parents`` reads the ``parent`` of
    accounts, so that no family is on both sides.

    Raises:
        NoAccountsError: the cohort is empty.
        HorizonTooLongError: the data cannot judge any horizon.
        OneClassError: the outcome never came before the test, or too rarely.
    """
    seen = tuple(at for at in first_of_months(cutoffs) if at < known_until)
    rows = cohort_rows(label, events, seen)
    if rows.is_empty():
        raise NoAccountsError(
            f"No account is in the cohort of {label.name!r} ({label.cohort}) at any of "
            f"{len(seen)} snapshot(s) before {known_until:%Y-%m-%d}. {label.next_step}"
        )

    def labelled_for(horizons: tuple[int, ...]) -> tuple[LabelledRows, TrainingSet]:
        wanted = replace(label, horizons=horizons)
        labelled = label_rows(wanted, events, rows, known_until=known_until)
        return labelled, build_training_set(labelled, reader, digests)

    def split_by_time(horizons: tuple[int, ...], least: int) -> PreparedData:
        labelled, training = labelled_for(horizons)
        reach = reach_of(horizons[-1], lead_days=label.lead_days)
        closed = mature(training.cutoffs, reach=reach, known_until=known_until)
        split = time_split(closed, reach=reach, least=least)
        _check_outcomes(training, split)
        held_out = newest(split.before_test, TUNING_SHARE)
        long_horizons = label_long_horizons(
            labelled.label, training, events, rows, known_until=known_until
        )
        training = replace(training, long_outcomes=long_horizons.known)
        return PreparedData(
            training=training,
            labelled=labelled,
            split=split,
            long_horizons=long_horizons,
            not_estimable={**not_estimable, **long_horizons.not_estimable},
            known_until=known_until,
            tuning_folds=usable_folds(
                training, rolling_folds(split.before_test, held_out, reach=reach)
            ),
        )

    horizons, not_estimable = _estimable(label, seen, known_until, LEAST_BEFORE_TEST)
    if horizons:
        return split_by_time(horizons, LEAST_BEFORE_TEST)
    if not hold_out_accounts:
        raise HorizonTooLongError(
            f"{label.name!r} within {label.horizons[0]} days is not estimable: the snapshots reach "
            f"{(known_until - seen[0]).days} days back from {known_until:%Y-%m-%d}. "
            f"{not_estimable[label.horizons[0]]}"
        )
    horizons, not_estimable = _estimable(label, seen, known_until, FEWEST_BEFORE_TEST)
    if horizons:
        try:
            found = split_by_time(horizons, FEWEST_BEFORE_TEST)
        except OneClassError:
            pass  # a single cutoff may hold too few outcomes; all of them together may not
        else:
            if _is_judged_by_enough(found):
                return found
    horizons = closed_horizons(label, seen, known_until)
    labelled, training = labelled_for(horizons)
    beside = tuple(h for h in (*label.horizons, *label.long_horizons) if h not in horizons)
    return split_by_accounts(labelled, training, parents, beside)


def closed_horizons(
    label: Label, cutoffs: tuple[datetime, ...], known_until: datetime
) -> tuple[int, ...]:
    """The horizons of which at least one label window has closed.

    Raises:
        HorizonTooLongError: there is none.
    """
    longest = (known_until - cutoffs[0]).days - label.lead_days
    found = tuple(horizon for horizon in label.horizons if horizon <= longest)
    if found:
        return found
    shortest = label.horizons[0]
    ends = cutoffs[0] + reach_of(shortest, lead_days=label.lead_days)
    shorter = (
        f"Ask for a horizon of at most {longest} days (keepwell train {label.name} --horizon "
        f"{longest}), build"
        if longest > 0
        else "Build"
    )
    raise HorizonTooLongError(
        f"{label.name!r} within {shortest} days is not estimable: the oldest snapshot is as of "
        f"{cutoffs[0]:%Y-%m-%d}, its label window closes on {ends:%Y-%m-%d}, and outcomes are known "
        f"until {known_until:%Y-%m-%d}. {shorter} older snapshots (keepwell snapshot --from DATE "
        f"--to DATE --every month), or take in data that reach to {ends:%Y-%m-%d}."
    )


def split_by_accounts(
    labelled: LabelledRows,
    training: TrainingSet,
    parents: FeatureReader | None,
    wanted: tuple[int, ...],
) -> PreparedData:
    """Hold a third of the accounts out, at every cutoff whose longest window has closed.

    ``wanted`` are the horizons that were asked for beside those that are labelled.

    Raises:
        OneClassError: too few accounts had the outcome, or had it not.
    """
    label, known_until = labelled.label, labelled.known_until
    reach = reach_of(training.horizons[-1], lead_days=label.lead_days)
    split = account_split(mature(training.cutoffs, reach=reach, known_until=known_until))
    training = replace(training, families=_families(training, parents))
    rows = training.rows_at(split.test)
    there = np.unique(training.account[rows])
    left = np.zeros(len(training.accounts), dtype=np.bool_)
    left[training.account[rows & (training.outcome == 1)]] = True
    n_left, n_other = int(left.sum()), int((~left[there]).sum())
    if min(n_left, n_other) < LEAST_ACCOUNTS:
        raise OneClassError(
            f"There are too few cutoffs to judge {label.name!r} on later months, so accounts would be "
            f"held out. That needs at least {LEAST_ACCOUNTS} accounts with the outcome within "
            f"{training.horizons[-1]} days and {LEAST_ACCOUNTS} without; there are {n_left} and "
            f"{n_other} at {len(split.test)} cutoff(s) from {split.test[0]:%Y-%m-%d}. Check that "
            f"endings and changes of contracts are mapped, build older snapshots (keepwell snapshot "
            f"--from DATE --to DATE --every month), or ask for another horizon (keepwell train "
            f"{label.name} --horizon DAYS)."
        )
    assert training.families is not None
    held_out = hold_out(training.accounts, training.families, left)
    prepared = PreparedData(
        training=training,
        labelled=labelled,
        split=split,
        long_horizons=LongHorizonLabels(outcomes={}, test={}, not_estimable={}),
        not_estimable={h: _why_not_beside(label, h, training, known_until) for h in wanted},
        known_until=known_until,
        tuning_folds=(),
        held_out=held_out,
    )
    if not _can_learn(training, prepared.before_test) or not _is_judged_by_enough(prepared):
        raise OneClassError(
            f"The {n_left} accounts with the outcome {label.name!r} belong to so few families that "
            f"they cannot be split into accounts that train and accounts that judge. Build older "
            f"snapshots (keepwell snapshot --from DATE --to DATE --every month)."
        )
    return prepared


def _why_not_beside(
    label: Label, horizon: int, training: TrainingSet, known_until: datetime
) -> str:
    """Why a longer horizon is not judged on other accounts beside the ones that are."""
    ends = training.cutoffs[0] + reach_of(horizon, lead_days=label.lead_days)
    if ends > known_until:
        return (
            f"The label window of the oldest cutoff closes on {ends:%Y-%m-%d}, and outcomes are "
            f"known until {known_until:%Y-%m-%d}."
        )
    return (
        f"There are too few cutoffs to learn it beside {training.horizons[-1]} days. Ask for it alone "
        f"(keepwell train {label.name} --horizon {horizon}); other accounts judge it then."
    )


def _families(training: TrainingSet, parents: FeatureReader | None) -> NDArray[np.int64]:
    """The family of each account, by the parents that any of its rows names."""
    if parents is None:
        return families_of(training.accounts, ())
    keys = pl.DataFrame(
        {
            "account_id": pl.Series(training.accounts).gather(training.account),
            "as_of": pl.Series(training.cutoffs).gather(training.cutoff),
        }
    )
    read = parents(keys)
    if PARENT not in read.columns:
        return families_of(training.accounts, ())
    known = read.select("account_id", pl.col(PARENT).cast(pl.String)).drop_nulls().unique()
    return families_of(training.accounts, known.iter_rows())


def _is_judged_by_enough(prepared: PreparedData) -> bool:
    """Whether both sides hold enough accounts with the outcome, and without."""
    training = prepared.training
    return all(
        len(np.unique(training.account[rows & (training.outcome == y)])) >= LEAST_OUTCOMES
        for rows in (prepared.before_test, prepared.test)
        for y in (0, 1)
    )


def usable_folds(training: TrainingSet, folds: tuple[Fold, ...]) -> tuple[Fold, ...]:
    """The folds whose training rows hold enough of either class to be fitted."""
    return tuple(fold for fold in folds if can_learn(training, fold.train))


def can_learn(training: TrainingSet, cutoffs: tuple[datetime, ...]) -> bool:
    """Whether the rows at these cutoffs hold enough of either class, of more than one fifth."""
    return _can_learn(training, training.rows_at(cutoffs))


def _can_learn(training: TrainingSet, rows: NDArray[np.bool_]) -> bool:
    outcome, fifth = training.outcome[rows], training.fifth[rows]
    return all(
        (outcome == y).sum() >= LEAST_OUTCOMES and len(np.unique(fifth[outcome == y])) > 1
        for y in (0, 1)
    )


def _estimable(
    label: Label, cutoffs: tuple[datetime, ...], known_until: datetime, least: int
) -> tuple[tuple[int, ...], dict[int, str]]:
    """The horizons that later months can judge with so few cutoffs to learn from, and why not others."""
    not_estimable: dict[int, str] = {}
    for horizon in label.horizons:
        reach = reach_of(horizon, lead_days=label.lead_days)
        try:
            time_split(
                mature(cutoffs, reach=reach, known_until=known_until), reach=reach, least=least
            )
        except SplitError as exc:
            not_estimable[horizon] = str(exc)
    return tuple(h for h in label.horizons if h not in not_estimable), not_estimable


def _check_outcomes(training: TrainingSet, split: Split) -> None:
    """Refuse a training part where the outcome never came, and a test part of one class."""
    label, horizon = training.label.name, training.horizons[-1]
    if (
        not can_learn(training, split.before_test)
        and training.outcome[training.rows_at(split.before_test)].any()
    ):
        raise OneClassError(
            f"Before the test, fewer than {LEAST_OUTCOMES} rows have the outcome {label!r}, or all "
            f"of one group of accounts: that is too few to learn from. Add older snapshots, or let "
            f"the health formula serve until more is known."
        )
    parts = (("training", split.before_test), ("test", split.test))
    for part, cutoffs in parts:
        outcome = training.outcome[training.rows_at(cutoffs)]
        if 0 < outcome.sum() < len(outcome):
            continue
        said = "No" if outcome.sum() == 0 else "Every"
        raise OneClassError(
            f"{said} account has the outcome {label!r} within {horizon} days in the {part} window "
            f"({len(outcome)} rows at {len(cutoffs)} cutoffs from {cutoffs[0]:%Y-%m-%d} to "
            f"{cutoffs[-1]:%Y-%m-%d}): there is nothing to learn or to judge. Check that endings "
            f"and changes of contracts are mapped, or add older snapshots; the health formula "
            f"serves meanwhile."
        )
