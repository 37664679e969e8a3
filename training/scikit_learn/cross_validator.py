"""A cross-validator by time with an embargo, for scikit-learn's own tools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, timedelta

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.dataset.splits import Fold, SplitError, newest, rolling_folds


class LaterCutoffs:
    """Later cutoffs are scored by a fit on those whose label windows had closed by then.

    The folds are those of ``keepwell train``. Neighbouring cutoffs would share outcomes without the
    embargo, and an account would be its own evidence.

    Args:
        times: the cutoff of each row, as ``training_arrays`` gives them.
        reach_days: from a cutoff to the end of its label window.
        folds: at most so many.
        share: of the cutoffs, the newest, that are scored.

    Use it as ``cv`` of ``cross_val_score`` or ``GridSearchCV``; rows have to be those of ``times``.
    """

    def __init__(
        self, times: ArrayLike, *, reach_days: int, folds: int = 3, share: float = 0.5
    ) -> None:
        self.times = np.asarray(times, dtype="datetime64[us]")
        self.reach_days, self.folds, self.share = reach_days, folds, share

    def split(
        self, X: ArrayLike, y: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """The positions to fit and to score, fold by fold.

        Raises:
            SplitError: the rows are others than those of ``times``, or no window closes before a
                later cutoff.
        """
        rows = len(X)  # type: ignore[arg-type]
        if rows != len(self.times):
            raise SplitError(
                f"There are {rows:,} rows and {len(self.times):,} times. Give the times of these rows."
            )
        folds = self._folds()
        if not folds:
            raise SplitError(
                f"No label window of {self.reach_days} days closes before a later cutoff. Use more "
                f"cutoffs or a shorter horizon."
            )
        for fold in folds:
            yield self._rows(fold.train), self._rows(fold.held_out)

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """The number of folds."""
        return len(self._folds())

    def _folds(self) -> Sequence[Fold]:
        cutoffs = tuple(at.replace(tzinfo=UTC) for at in np.unique(self.times).tolist())
        return rolling_folds(
            cutoffs,
            newest(cutoffs, self.share),
            reach=timedelta(days=self.reach_days),
            most=self.folds,
        )

    def _rows(self, cutoffs: Sequence[object]) -> NDArray[np.intp]:
        naive = np.asarray(
            [at.replace(tzinfo=None) for at in cutoffs],  # type: ignore[attr-defined]
            dtype="datetime64[us]",
        )
        return np.flatnonzero(np.isin(self.times, naive))
