"""The reasons of many rows at once, from what each feature adds to the probability.

Features of one list and theme that point the same way are one reason, which the largest of them
says. A single account's reasons are those of its row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from features.catalogue.feature import AnyFeature, Role
from serving.scoring.explanations import (
    LEAST_POINTS,
    MOST_REASONS,
    WINDOW,
    PeerGroup,
    Reason,
    Reasons,
    comparison,
    reason_text,
)
from serving.scoring.score import NONE

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

BLOCK = 2_000
"""Rows whose reasons are found at once: their arrays fit into the processor's cache."""

MOST_BESIDE = 2
"""How many features a reason names beside the one that says it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LeadingReasons:
    """The foremost reasons of some rows, largest first.

    ``leading`` is the feature that says a reason, by its place in the model's matrix, and ``NONE``
    after the last one; ``points`` are percentage points.
    """

    leading: Places  # rows × most
    points: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Themes:
    """Which features of a model are one reason where they point the same way.

    A theme has two slots, for what raises and for what lowers the probability. The themes of one
    list lie side by side.
    """

    names: tuple[str, ...]
    by_name: Places  # the columns of the matrix in the order of their names
    slot: Places  # of each column, in that order: its theme's slot for what raises
    lists: Mapping[Role, slice]  # the slots of each list that has any

    @classmethod
    def of(cls, names: Sequence[str], catalogue: Mapping[str, AnyFeature]) -> Themes:
        """The themes of a model's features, in the order of its matrix."""
        found: dict[Role, dict[str, list[int]]] = {role: {} for role in get_args(Role)}
        in_order = sorted(range(len(names)), key=names.__getitem__)
        for place, column in enumerate(in_order):
            declared = catalogue.get(names[column])
            role: Role = declared.role if declared else "signal"
            theme = declared.theme if declared else "other"
            found[role].setdefault(theme, []).append(place)
        slot = np.empty(len(names), np.int64)
        lists: dict[Role, slice] = {}
        stop = 0
        for listed, themes in found.items():
            start = stop
            for places in themes.values():
                slot[places] = stop
                stop += 2
            if stop > start:
                lists[listed] = slice(start, stop)
        return cls(names=tuple(names), by_name=np.array(in_order), slot=slot, lists=lists)

    def foremost(self, contributions: Floats, most: int) -> LeadingReasons:
        """The largest reasons of each row, whatever list they are of."""
        blocks = [
            self._foremost(contributions[start : start + BLOCK], most)
            for start in range(0, max(len(contributions), 1), BLOCK)
        ]
        return LeadingReasons(
            leading=np.concatenate([block.leading for block in blocks]),
            points=np.concatenate([block.points for block in blocks]),
        )

    def _foremost(self, contributions: Floats, most: int) -> LeadingReasons:
        lists = list(self.largest(contributions).values())
        points = np.concatenate([points for points, _ in lists], axis=1)
        leading = np.concatenate([leading for _, leading in lists], axis=1)
        order = np.argsort(-points, axis=1, kind="stable")[:, :most]
        points = np.take_along_axis(points, order, axis=1)
        leading = np.take_along_axis(leading, order, axis=1)
        return LeadingReasons(leading=np.where(np.isneginf(points), NONE, leading), points=points)

    def largest(
        self, contributions: Floats, most: int = MOST_REASONS
    ) -> dict[Role, tuple[Floats, Places]]:
        """The largest reasons of each list, rows × reasons: their points and leading features.

        Reasons of equal size are in the order of names. One that is too small has -inf points.
        """
        rows, slots = len(contributions), int(self.slot.max()) + 2
        share = 100 * contributions[:, self.by_name]
        at = (self.slot + (share < 0) + slots * np.arange(rows)[:, None]).ravel()
        share = share.ravel()
        sizes: Floats = np.abs(share)
        total = np.asarray(np.bincount(at, share, rows * slots), np.float64).reshape(rows, slots)
        largest: Floats = np.zeros(rows * slots)
        np.maximum.at(largest, at, sizes)
        leads = np.nonzero(sizes == largest[at])[0][::-1]  # of equal ones the first by name stays
        leading = np.zeros(rows * slots, np.int64)
        leading[at[leads]] = leads % len(self.names)
        place = leading.reshape(rows, slots)
        size = np.abs(total)
        total[size < LEAST_POINTS] = -np.inf
        found: dict[Role, tuple[Floats, Places]] = {}
        for role, part in self.lists.items():
            order = np.lexsort((place[:, part], -size[:, part]), axis=1)[:, :most]
            found[role] = (
                np.take_along_axis(total[:, part], order, axis=1),
                self.by_name[np.take_along_axis(place[:, part], order, axis=1)],
            )
        return found

    @cached_property
    def beside(self) -> Mapping[int, tuple[int, ...]]:
        """The columns of each column's theme, in the order of their names."""
        together: dict[int, list[int]] = {}
        for column, slot in zip(self.by_name.tolist(), self.slot.tolist(), strict=True):
            together.setdefault(slot, []).append(column)
        return {column: tuple(found) for found in together.values() for column in found}

    def same_reason(self, contributions: Floats, leading: int) -> list[int]:
        """The other features of one row's reason, largest first, those of equal size by name."""
        side = contributions[leading] < 0
        shares = {
            column: abs(share)
            for column in self.beside[leading]
            if (share := float(contributions[column])) and (share < 0) == side
        }
        del shares[leading]
        return sorted(shares, key=lambda column: -shares[column])


@dataclass(frozen=True, kw_only=True, eq=False)
class Contributions:
    """What each feature adds to one model's probability, for the rows that it answered for."""

    themes: Themes
    points: Floats  # rows × features, in probability
    start: float  # the probability before anything is known of an account

    def reasons(
        self,
        row: int,
        features: Mapping[str, float | None],
        catalogue: Mapping[str, AnyFeature],
        similar: Sequence[PeerGroup],
        *,
        most: int = MOST_REASONS,
    ) -> Reasons:
        """The reasons of one row, in words."""
        points = self.points[row]
        lists = {
            role: tuple(
                self._reason(points, int(column), float(total), features, catalogue, similar)
                for total, column in zip(totals[0], leading[0], strict=True)
                if not np.isneginf(total)
            )
            for role, (totals, leading) in self.themes.largest(points[None], most).items()
        }
        shown = sum(reason.points for reasons in lists.values() for reason in reasons)
        return Reasons(
            signals=lists.get("signal", ()),
            levers=lists.get("lever", ()),
            context=lists.get("context", ()),
            start=100 * self.start,
            rest=100 * float(np.sum(points)) - shown,
        )

    def _reason(
        self,
        points: Floats,
        column: int,
        total: float,
        features: Mapping[str, float | None],
        catalogue: Mapping[str, AnyFeature],
        similar: Sequence[PeerGroup],
    ) -> Reason:
        name = self.themes.names[column]
        value, declared = features.get(name), catalogue.get(name)
        return Reason(
            feature=name,
            theme=declared.theme if declared else "other",
            text=reason_text(name, value, catalogue),
            comparison=comparison(name, value, catalogue, similar),
            value=value,
            unit=declared.unit if declared else "",
            points=total,
            points_unit="percentage points",
            also=tuple(
                reason_text(other, features.get(other), catalogue)
                for other in self._beside(points, column)
            ),
        )

    def _beside(self, points: Floats, leading: int) -> list[str]:
        """The next features of a reason that are not the leading one in another window."""
        names = self.themes.names
        subjects, beside = {WINDOW.sub("", names[leading])}, list[str]()
        for column in self.themes.same_reason(points, leading):
            subject = WINDOW.sub("", names[column])
            if (
                subject not in subjects
                and 100 * abs(points[column]) >= LEAST_POINTS
                and len(beside) < MOST_BESIDE
            ):
                subjects.add(subject)
                beside.append(names[column])
        return beside
