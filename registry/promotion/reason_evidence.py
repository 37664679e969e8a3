"""What a training found out about the reasons that its model gives.

A theme, or a feature alone, stands on one of two sides for an account: what the model adds for it
raises the log-odds or lowers them. Two questions are asked of each side, by refits on drawn accounts:
do accounts on this side leave more (or less) often than others, which catches a feature that has its
coefficient only to correct another; and does the side stay the same from refit to refit. A segment in
which enough accounts had the outcome answers the first question for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import sqrt
from statistics import NormalDist
from typing import Any

LEAST_SAME_SIGN = 0.8
"""A side that fewer refits agree about is no reason."""

LEAST_DEVIATION = 1.64
"""Accounts on a side have to differ from the base rate by this many standard deviations: by chance one
side in twenty does."""

LEAST_EXPECTED = 2.0
"""With fewer outcomes expected than this on a side, nobody can tell; the side is believed."""

LEAST_OUTCOMES_ALONE = 50
"""A segment in which fewer accounts than this had the outcome does not answer for itself."""

LEAST_EXPECTED_ALONE = 10.0
"""Nor does a side of it on which fewer outcomes are expected: not even half as many would tell."""

LEAST_DEVIATION_ALONE = 1.0
"""What all accounts together say, a segment has to say as well, by this many standard errors."""

BY_CHANCE = 0.05
"""The chance to believe a side that means nothing; segments share it."""

LEAST_FIRST = 20
"""A record of fewer accounts than this is not told."""

LEAST_FIRST_EXPECTED = 1.0
"""Nor one of which fewer outcomes than this were expected."""


@dataclass(frozen=True, kw_only=True)
class SideEvidence:
    """What came of the accounts on one side, by refits that had not seen them."""

    accounts: float
    came: float  # accounts with the outcome
    expected: float  # at the base rate
    same_sign: float  # share of refits that put an account on the same side as the model does
    error: float | None = None  # standard error of came less expected; None: as of single draws

    def earned(self, *, raises: bool, least: float = LEAST_DEVIATION) -> bool:
        """Whether the side may be told as a reason.

        ``least`` is by how many standard deviations it has to differ.

        >>> side = SideEvidence(accounts=200, came=30, expected=15, same_sign=0.95)
        >>> side.earned(raises=True), side.earned(raises=False)
        (True, False)
        """
        if self.same_sign < LEAST_SAME_SIGN:
            return False
        if self.expected < LEAST_EXPECTED:
            return True
        return self.deviation >= least if raises else self.deviation <= -least

    @property
    def deviation(self) -> float:
        """How many standard errors more came than expected."""
        error = self.error
        if error is None:
            error = sqrt(self.expected * (1 - self.expected / self.accounts))
        return (self.came - self.expected) / error if error else 0.0


Sides = tuple[SideEvidence | None, SideEvidence | None]
"""What raises, and what lowers; None where no account stood on a side."""


@dataclass(frozen=True, kw_only=True)
class SegmentEvidence:
    """The same two sides of themes and features, of the accounts of one segment."""

    outcomes: int  # accounts that had the outcome
    themes: Mapping[str, Sides]
    features: Mapping[str, Sides]


@dataclass(frozen=True, kw_only=True)
class FirstReasonRecord:
    """Of accounts that had a theme as their first reason: how many left, and how many by the model.

    Counted on later rows than the model was fitted to.
    """

    accounts: int
    came: int
    expected: float


@dataclass(frozen=True, kw_only=True)
class ReasonEvidence:
    """The evidence of a training about its reasons.

    What is not listed in ``themes`` and ``features`` was not examined. ``segments`` are those that
    answer for themselves, by their own name.
    """

    refits: int
    themes: Mapping[str, Sides]
    features: Mapping[str, Sides]
    first: Mapping[str, FirstReasonRecord]  # by theme
    segments: Mapping[str, SegmentEvidence] = field(default_factory=dict)

    def theme_earned(self, theme: str, /, *, raises: bool, segment: str | None = None) -> bool:
        """Whether a theme may be told on this side, of an account of this segment."""
        alone = self._alone(segment)
        own = None if alone is None else alone.themes.get(theme)
        return self._earned(self.themes.get(theme), own, raises=raises)

    def feature_earned(self, feature: str, /, *, raises: bool, segment: str | None = None) -> bool:
        """Whether a feature may be told on this side, of an account of this segment."""
        alone = self._alone(segment)
        own = None if alone is None else alone.features.get(feature)
        return self._earned(self.features.get(feature), own, raises=raises)

    def _alone(self, segment: str | None) -> SegmentEvidence | None:
        return None if segment is None else self.segments.get(segment)

    def _earned(self, every: Sides | None, alone: Sides | None, *, raises: bool) -> bool:
        """By all accounts and, where enough are on the side, by those of the segment as well.

        What all together do not say, a segment may say alone, more clearly.
        """
        at = 0 if raises else 1
        side = None if every is None else every[at]
        by_all = side is None or side.earned(raises=raises)
        own = None if alone is None else alone[at]
        if own is None or own.expected < LEAST_EXPECTED_ALONE:
            return by_all
        shared = NormalDist().inv_cdf(1 - BY_CHANCE / len(self.segments))
        least = LEAST_DEVIATION_ALONE if by_all else max(shared, LEAST_DEVIATION)
        return own.earned(raises=raises, least=least)

    def record(self, theme: str) -> FirstReasonRecord | None:
        """What came of accounts that had a theme first; None where they are too few to tell."""
        found = self.first.get(theme)
        if found is None or found.accounts < LEAST_FIRST or found.expected < LEAST_FIRST_EXPECTED:
            return None
        return found


def reason_evidence_document(evidence: ReasonEvidence) -> dict[str, Any]:
    """The evidence as it is stored.

    An error and segments that are not there are left out: bundles of before there were any keep the
    fingerprint under which they were registered.
    """
    return asdict(
        evidence,
        dict_factory=lambda pairs: {
            name: value
            for name, value in pairs
            if not ((name == "error" and value is None) or (name == "segments" and not value))
        },
    )


def read_reason_evidence(document: Mapping[str, Any] | None) -> ReasonEvidence | None:
    """Stored evidence; None where a bundle has none."""
    if document is None:
        return None
    return ReasonEvidence(
        refits=int(document["refits"]),
        themes=_sides_by_name(document["themes"]),
        features=_sides_by_name(document["features"]),
        first={
            str(n): FirstReasonRecord(
                accounts=int(one["accounts"]),
                came=int(one["came"]),
                expected=float(one["expected"]),
            )
            for n, one in document["first"].items()
        },
        segments={
            str(n): SegmentEvidence(
                outcomes=int(one["outcomes"]),
                themes=_sides_by_name(one["themes"]),
                features=_sides_by_name(one["features"]),
            )
            for n, one in document.get("segments", {}).items()
        },
    )


def _sides_by_name(document: Mapping[str, Any]) -> dict[str, Sides]:
    return {str(name): _sides(sides) for name, sides in document.items()}


def _sides(sides: Any) -> Sides:
    raises, lowers = (None if side is None else _side(side) for side in sides)
    return raises, lowers


def _side(document: Mapping[str, Any]) -> SideEvidence:
    error = document.get("error")
    return SideEvidence(
        accounts=float(document["accounts"]),
        came=float(document["came"]),
        expected=float(document["expected"]),
        same_sign=float(document["same_sign"]),
        error=None if error is None else float(error),
    )
