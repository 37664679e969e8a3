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
from training.dataset.labels import Label, LabelledRows, cohort_rows, label_rows
from training.dataset.splits import Fold, Split, SplitError, newest, rolling_folds, time_split
from training.dataset.training_set import FeatureReader, TrainingSet, build_training_set
from training.models.fitting.held_out import FIFTHS
from training.models.long_horizons import LongHorizonLabels, label_long_horizons
from training.models.specs import FEW_ACCOUNTS

TUNING_SHARE = 1 / 2
"""Share of the cutoffs before the test that judge in the study: the newest ones."""

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

    @property
    def before_test(self) -> NDArray[np.bool_]:
        """Rows whose label windows close before the test opens."""
        return self.training.rows_at(self.split.before_test)

    @property
    def test(self) -> NDArray[np.bool_]:
        """Rows that judge."""
        return self.training.rows_at(self.split.test)

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
) -> PreparedData:
    """Label the cohort, read the features, and split by time.

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
    horizons, not_estimable = _estimable(label, seen, known_until)
    label = replace(label, horizons=horizons)
    labelled = label_rows(label, events, rows, known_until=known_until)
    training = build_training_set(labelled, reader, digests)
    reach = reach_of(horizons[-1], lead_days=label.lead_days)
    split = time_split(mature(training.cutoffs, reach=reach, known_until=known_until), reach=reach)
    _check_outcomes(training, split)
    held_out = newest(split.before_test, TUNING_SHARE)
    long_horizons = label_long_horizons(label, training, events, rows, known_until=known_until)
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


def usable_folds(training: TrainingSet, folds: tuple[Fold, ...]) -> tuple[Fold, ...]:
    """The folds whose training rows hold enough of either class to be fitted."""
    return tuple(fold for fold in folds if can_learn(training, fold.train))


def can_learn(training: TrainingSet, cutoffs: tuple[datetime, ...]) -> bool:
    """Whether the rows at these cutoffs hold enough of either class, of more than one fifth."""
    rows = training.rows_at(cutoffs)
    outcome, fifth = training.outcome[rows], training.account[rows] % FIFTHS
    return all(
        (outcome == y).sum() >= LEAST_OUTCOMES and len(np.unique(fifth[outcome == y])) > 1
        for y in (0, 1)
    )


def _estimable(
    label: Label, cutoffs: tuple[datetime, ...], known_until: datetime
) -> tuple[tuple[int, ...], dict[int, str]]:
    not_estimable: dict[int, str] = {}
    for horizon in label.horizons:
        reach = reach_of(horizon, lead_days=label.lead_days)
        try:
            time_split(mature(cutoffs, reach=reach, known_until=known_until), reach=reach)
        except SplitError as exc:
            not_estimable[horizon] = str(exc)
    horizons = tuple(h for h in label.horizons if h not in not_estimable)
    if not horizons:
        span = (known_until - cutoffs[0]).days
        shortest = label.horizons[0]
        raise HorizonTooLongError(
            f"{label.name!r} within {shortest} days is not estimable: the snapshots reach "
            f"{span} days back from {known_until:%Y-%m-%d}. {not_estimable[shortest]}"
        )
    return horizons, not_estimable


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
