"""The reasons of one row in words, and what is usual among the accounts that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue.feature import AnyFeature, Role
from features.catalogue.themes import TITLES
from registry.promotion.reason_evidence import FirstReasonRecord, ReasonEvidence
from serving.scoring.explanations import (
    PEER_ATTRIBUTES,
    WINDOW,
    Evidence,
    PeerGroup,
    Peers,
    Reason,
    Reasons,
    comparison,
    fact_text,
    with_term,
)
from serving.scoring.reasons.choice import ChosenReasons
from serving.scoring.score import NONE

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

MOST_FACTS = 3
"""The most facts that are shown under a theme."""

LEAST_OF_THEME = 0.05
"""A fact that is less of its theme than this is not shown beside others."""


@dataclass(frozen=True, kw_only=True, eq=False)
class UsualValues:
    """What is usual for each fact among the accounts that a row is compared with.

    ``otherwise`` are the values to fall back on: those that were usual when the model was trained.
    """

    names: tuple[str, ...]
    peers: Peers
    otherwise: Mapping[str, float]
    _places: dict[tuple[str | None, ...], int] = field(default_factory=dict, init=False)
    _groups: list[tuple[PeerGroup, ...]] = field(default_factory=list, init=False)
    _medians: list[Floats] = field(default_factory=list, init=False)

    def groups(self, frame: pl.DataFrame) -> list[int]:
        """The place of each row's groups."""
        frame = with_term(frame)
        names = [n for n in PEER_ATTRIBUTES if frame.schema.get(n) == pl.String]
        if not names:
            return [self._group((), names)] * frame.height
        return [self._group(words, names) for words in frame.select(names).iter_rows()]

    def of_group(self, place: int) -> tuple[PeerGroup, ...]:
        """The groups at a place, the most similar first."""
        return self._groups[place]

    def medians(self, groups: Sequence[int]) -> Floats:
        """Rows × facts: what is usual among the first group of each row that knows it."""
        return np.array(self._medians).reshape(-1, len(self.names))[groups]

    def _group(self, words: tuple[str | None, ...], names: Sequence[str]) -> int:
        place = self._places.get(words)
        if place is None:
            similar = self.peers.of(dict(zip(names, words, strict=True)))
            place = self._places[words] = len(self._groups)
            self._groups.append(similar)
            known = [g.medians for g in similar] + [self.otherwise]
            self._medians.append(
                np.array([next((m[n] for m in known if n in m), np.nan) for n in self.names], float)
            )
        return place


@dataclass(frozen=True, kw_only=True, eq=False)
class ReasonedRows:
    """The chosen reasons of some rows, of which each can be put into words."""

    chosen: ChosenReasons
    catalogue: Mapping[str, AnyFeature]
    base_rate: float | None
    evidence: ReasonEvidence | None = None

    def reasons(self, row: int, similar: Sequence[PeerGroup]) -> Reasons:
        """The reasons of one row."""
        chosen, rows = self.chosen, self.chosen.rows
        found: dict[Role, list[Reason]] = {"signal": [], "lever": [], "context": []}
        for theme, leading in zip(
            chosen.order[row].tolist(), chosen.leading[row].tolist(), strict=True
        ):
            if theme != NONE:
                found[rows.facts.roles[leading]].append(self._reason(row, theme, leading, similar))
        shown = sum(reason.points for listed in found.values() for reason in listed)
        return Reasons(
            signals=_largest_first(found["signal"]),
            levers=_largest_first(found["lever"]),
            context=_largest_first(found["context"]),
            start=100 * float(rows.start[row]),
            rest=100 * float(rows.total[row]) - shown,
            others=int(chosen.n_other[row]),
            base_rate=None if self.base_rate is None else 100 * self.base_rate,
        )

    def _reason(self, row: int, theme: int, leading: int, similar: Sequence[PeerGroup]) -> Reason:
        rows = self.chosen.rows
        name = rows.facts.themes[theme]
        evidence = tuple(
            self._evidence(row, fact, similar) for fact in self._facts(row, theme, leading)
        )
        first = evidence[0]
        return Reason(
            feature=first.feature,
            theme=name,
            title=TITLES[name],
            text=first.text,
            comparison=first.comparison,
            value=first.value,
            unit=first.unit,
            points=100 * float(rows.by_theme[row, theme]),
            points_unit="percentage points",
            also=tuple(one.text for one in evidence[1:]),
            evidence=evidence,
            record=self._record(name) if rows.by_theme[row, theme] > 0 else None,
        )

    def _record(self, theme: str) -> FirstReasonRecord | None:
        return None if self.evidence is None else self.evidence.record(theme)

    def _facts(self, row: int, theme: int, leading: int) -> list[int]:
        """The facts that say a theme, largest first; of one subject the largest window's alone."""
        rows = self.chosen.rows
        tells = self.chosen.told[row] & (rows.facts.theme == theme)
        tells &= np.abs(rows.points[row]) >= LEAST_OF_THEME * np.abs(rows.by_theme[row, theme])
        tells[leading] = True
        told = np.nonzero(tells)[0].tolist()
        subjects: dict[str, int] = {}
        for fact in sorted(told, key=lambda one: -abs(rows.points[row, one])):
            subjects.setdefault(WINDOW.sub("", rows.facts.names[fact]), fact)
        return list(subjects.values())[:MOST_FACTS]

    def _evidence(self, row: int, fact: int, similar: Sequence[PeerGroup]) -> Evidence:
        rows = self.chosen.rows
        name, value = rows.facts.names[fact], float(rows.values[row, fact])
        declared = self.catalogue.get(name)
        return Evidence(
            feature=name,
            text=fact_text(name, value, rows.whole(row, fact), self.catalogue),
            comparison=comparison(name, value, self.catalogue, similar),
            value=value,
            unit=declared.unit if declared else "",
            points=100 * float(rows.points[row, fact]),
        )


def _largest_first(reasons: list[Reason]) -> tuple[Reason, ...]:
    return tuple(sorted(reasons, key=lambda reason: -abs(reason.points)))
