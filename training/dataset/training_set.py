"""The training set: cohort rows with features as known then, and outcomes.

Features come from a reader that joins point in time (Feast, or a frame of snapshots in a test);
labels come from ``labels``. The fingerprint is a hash of the content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.dataset.errors import FeatureMatrixError, NoAccountsError
from training.dataset.labels import ROW, Label, LabelledRows

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


FIFTHS = 5
"""Parts of the accounts that are scored by fits of the others."""


class FeatureReader(Protocol):
    """Features as they were known at each row's moment."""

    def __call__(self, rows: pl.DataFrame, /) -> pl.DataFrame:
        """``account_id`` and ``as_of`` in; the same rows with a column per feature out."""
        ...


class RememberingReader:
    """A reader that caches rows, because the cohorts of several labels are mostly the same rows."""

    def __init__(self, reader: FeatureReader) -> None:
        self._reader = reader
        self._read: pl.DataFrame | None = None

    def __call__(self, rows: pl.DataFrame, /) -> pl.DataFrame:
        """Features of the rows, in their order, from memory where all of them are there."""
        keys = rows.select(ROW)
        if self._read is not None:
            known = keys.join(self._read, on=ROW, how="left", maintain_order="left")
            if keys.join(self._read, on=ROW, how="anti").is_empty():
                return known
        self._read = self._reader(keys)
        return self._read


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """Rows ordered by cutoff and account: a matrix, outcomes per horizon, and whose row it is."""

    label: Label
    horizons: tuple[int, ...]
    names: tuple[str, ...]
    digests: Mapping[str, str]
    matrix: Matrix  # rows × names, NaN unknown
    outcomes: Matrix  # rows × horizons: 1, 0, NaN not decided
    amounts: Vector  # relative rise of MRR with the outcome, NaN otherwise
    cutoffs: tuple[datetime, ...]
    cutoff: NDArray[np.int64]  # position in cutoffs
    accounts: tuple[str, ...]
    account: NDArray[np.int64]  # position in accounts
    long_outcomes: Mapping[int, Vector] = field(default_factory=dict)  # by longer horizon, the same
    families: NDArray[np.int64] | None = None  # of each account; None: each is one of its own

    def rows_at(self, cutoffs: tuple[datetime, ...]) -> NDArray[np.bool_]:
        """Which rows stand at these cutoffs and are decided at the longest horizon."""
        wanted = [self.cutoffs.index(at) for at in cutoffs]
        return np.isin(self.cutoff, wanted) & ~np.isnan(self.outcomes[:, -1])

    def columns(self, names: tuple[str, ...]) -> list[int]:
        """Positions of these features."""
        return [self.names.index(name) for name in names]

    def part(self, rows: NDArray[np.bool_] | NDArray[np.intp], columns: list[int]) -> Matrix:
        """The features of these rows (a mask or positions) and columns, contiguous by row."""
        return np.take(self.matrix[rows], columns, axis=1)

    @property
    def fifth(self) -> NDArray[np.int64]:
        """The fifth of the accounts that each row belongs to; a family is in one of them."""
        return (self.account if self.families is None else self.families[self.account]) % FIFTHS

    def hide(self, rows: NDArray[np.bool_]) -> TrainingSet:
        """The same rows, of which these have no outcome: what nothing may learn from."""

        def hidden(outcome: Vector) -> Vector:
            return np.where(rows, np.nan, outcome)

        return replace(
            self,
            outcomes=np.where(rows[:, None], np.nan, self.outcomes),
            long_outcomes={h: hidden(outcome) for h, outcome in self.long_outcomes.items()},
        )

    @property
    def outcome(self) -> Vector:
        """Outcome at the longest horizon, the one models are fitted to."""
        return np.asarray(self.outcomes[:, -1])

    @property
    def fingerprint(self) -> str:
        """Hash of everything that a model could learn from."""
        digest = hashlib.sha256()
        for text in (
            *map(str, self.label.policy.items()),
            str(self.horizons),
            str(self.cutoffs),
            *(f"{name}={self.digests[name]}" for name in self.names),
            *self.accounts,
        ):
            digest.update(text.encode() + b"\x1f")
        for array in (self.matrix, self.outcomes, self.amounts, self.cutoff, self.account):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def build_training_set(
    labelled: LabelledRows, reader: FeatureReader, digests: Mapping[str, str]
) -> TrainingSet:
    """Join labelled rows with their features.

    Args:
        labelled: from ``label_rows``.
        reader: where features come from.
        digests: the features to read, each with the digest of its declaration.

    Raises:
        NoAccountsError: the cohort is empty at every cutoff.
        FeatureMatrixError: a declared feature was not read, a row is lost, a value is infinite.
    """
    label = labelled.label
    horizons = label.horizons
    decided = pl.any_horizontal(pl.col(label.column(h)).is_not_null() for h in horizons)
    frame = labelled.frame.filter(decided)
    if frame.is_empty():
        raise NoAccountsError(
            f"No account is in the cohort of {label.name!r} ({label.cohort}) at any cutoff with a "
            f"closed label window. {label.next_step}"
        )
    features = reader(frame.select(ROW))
    lacking = [name for name in digests if name not in features.columns]
    if lacking:
        raise FeatureMatrixError(
            f"The snapshots lack {len(lacking)} declared feature(s): {', '.join(lacking[:5])}. "
            f"Rebuild them (keepwell snapshot)."
        )
    joined = frame.select(ROW).join(
        features, on=ROW, how="left", maintain_order="left", validate="1:1"
    )
    matrix = joined.select(pl.col(name).cast(pl.Float64) for name in digests).to_numpy()
    _check_finite(matrix, tuple(digests))
    accounts = frame["account_id"].unique().sort()
    cutoffs = frame["as_of"].unique().sort()
    return TrainingSet(
        label=label,
        horizons=horizons,
        names=tuple(digests),
        digests=dict(digests),
        matrix=np.ascontiguousarray(matrix),
        outcomes=frame.select(pl.col(label.column(h)).cast(pl.Float64) for h in horizons)
        .to_numpy()
        .copy(),
        amounts=frame["amount_ratio"].cast(pl.Float64).to_numpy().copy(),
        cutoffs=tuple(cutoffs),
        cutoff=_positions(frame["as_of"], cutoffs),
        accounts=tuple(accounts),
        account=_positions(frame["account_id"], accounts),
    )


def _positions(values: pl.Series, known: pl.Series) -> NDArray[np.int64]:
    return np.asarray(known.search_sorted(values).to_numpy(), dtype=np.int64)


def _check_finite(matrix: Matrix, names: tuple[str, ...]) -> None:
    infinite = np.flatnonzero(np.isinf(matrix).any(axis=0))
    if len(infinite):
        which = ", ".join(names[position] for position in infinite)
        raise FeatureMatrixError(
            f"Infinite values in {which}. A feature is a finite number or unknown; mend its "
            f"formula and rebuild the snapshots (keepwell snapshot)."
        )
