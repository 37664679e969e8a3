"""Find order statistics of many rising lines at once: the k-th lowest of them at any place.

The k-th lowest line changes only where two lines cross. For a few hundred lines all crossings are
computed once; a lookup then takes a binary search among the crossings that matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MOST_LINES = 256
"""For more lines the table takes longer to make than it saves."""

AT_ONCE = 2048


@dataclass(frozen=True, kw_only=True, eq=False)
class LineLevels:
    """The k-th lowest of lines, for some k: the places where another line takes over."""

    intercepts: Floats
    slopes: Floats
    first: tuple[Floats, ...]
    line: tuple[npt.NDArray[np.int64], ...]

    @classmethod
    def of(cls, intercepts: Floats, slopes: Floats, ranks: Sequence[int]) -> LineLevels:
        """Make the table for these ranks, 0 being the lowest."""
        i, j = np.triu_indices(len(slopes), 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = (intercepts[j] - intercepts[i]) / (slopes[i] - slopes[j])
        at = np.unique(crossing[np.isfinite(crossing)])
        ends = (at[:1] - 1, (at[1:] + at[:-1]) / 2, at[-1:] + 1)
        between = np.concatenate(ends) if len(at) else np.zeros(1)
        at_rank = np.concatenate(
            [
                np.argpartition(intercepts + place[:, None] * slopes, ranks, axis=1)[:, ranks]
                for place in np.split(between, range(AT_ONCE, len(between), AT_ONCE))
            ]
        )
        changes = [np.nonzero(np.diff(lines))[0] for lines in at_rank.T]
        return cls(
            intercepts=intercepts,
            slopes=slopes,
            first=tuple(at[change] for change in changes),
            line=tuple(
                lines[np.r_[0, change + 1]]
                for lines, change in zip(at_rank.T, changes, strict=True)
            ),
        )

    def at(self, places: Floats) -> tuple[Floats, ...]:
        """The value of each rank at each place."""
        found = []
        for first, line in zip(self.first, self.line, strict=True):
            lines = line[np.searchsorted(first, places)]
            found.append(self.intercepts[lines] + places * self.slopes[lines])
        return tuple(found)
