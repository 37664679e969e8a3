"""What a training found out about the reasons that its model gives.

A theme, or a feature alone, stands on one of two sides for an account: what the model adds for it
raises the log-odds or lowers them. Two questions are asked of each side, by refits on drawn accounts:
do accounts on this side leave more (or less) often than others, which catches a feature that has its
coefficient only to correct another; and does the side stay the same from refit to refit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

LEAST_SAME_SIGN = 0.8
"""A side that fewer refits agree about is no reason."""

LEAST_DEVIATION = 1.64
"""Accounts on a side have to differ from the base rate by this many standard deviations: by chance one
side in twenty does."""

LEAST_EXPECTED = 2.0
"""With fewer outcomes expected than this on a side, nobody can tell; the side is believed."""

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

    def earned(self, *, raises: bool) -> bool:
        """Whether the side may be told as a reason.

        >>> side = SideEvidence(accounts=200, came=30, expected=15, same_sign=0.95)
        >>> side.earned(raises=True), side.earned(raises=False)
        (True, False)
        """
        if self.same_sign < LEAST_SAME_SIGN:
            return False
        if self.expected < LEAST_EXPECTED:
            return True
        spread = sqrt(self.expected * (1 - self.expected / self.accounts))
        deviation = (self.came - self.expected) / spread
        return deviation >= LEAST_DEVIATION if raises else deviation <= -LEAST_DEVIATION


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

    ``themes`` and ``features`` have two sides, what raises and what lowers; None where no account
    stood on one. What is not listed was not examined.
    """

    refits: int
    themes: Mapping[str, tuple[SideEvidence | None, SideEvidence | None]]
    features: Mapping[str, tuple[SideEvidence | None, SideEvidence | None]]
    first: Mapping[str, FirstReasonRecord]  # by theme

    def theme_earned(self, theme: str, /, *, raises: bool) -> bool:
        """Whether a theme may be told on this side."""
        return _earned(self.themes.get(theme), raises=raises)

    def feature_earned(self, feature: str, /, *, raises: bool) -> bool:
        """Whether a feature may be told on this side."""
        return _earned(self.features.get(feature), raises=raises)

    def record(self, theme: str) -> FirstReasonRecord | None:
        """What came of accounts that had a theme first; None where they are too few to tell."""
        found = self.first.get(theme)
        if found is None or found.accounts < LEAST_FIRST or found.expected < LEAST_FIRST_EXPECTED:
            return None
        return found


def _earned(sides: tuple[SideEvidence | None, SideEvidence | None] | None, *, raises: bool) -> bool:
    side = None if sides is None else sides[0 if raises else 1]
    return side is None or side.earned(raises=raises)


def reason_evidence_document(evidence: ReasonEvidence) -> dict[str, Any]:
    """The evidence as it is stored."""
    return asdict(evidence)


def read_reason_evidence(document: Mapping[str, Any] | None) -> ReasonEvidence | None:
    """Stored evidence; None where a bundle has none."""
    if document is None:
        return None
    return ReasonEvidence(
        refits=int(document["refits"]),
        themes={str(n): _sides(sides) for n, sides in document["themes"].items()},
        features={str(n): _sides(sides) for n, sides in document["features"].items()},
        first={
            str(n): FirstReasonRecord(
                accounts=int(one["accounts"]),
                came=int(one["came"]),
                expected=float(one["expected"]),
            )
            for n, one in document["first"].items()
        },
    )


def _sides(sides: Any) -> tuple[SideEvidence | None, SideEvidence | None]:
    raises, lowers = (
        None if side is None else SideEvidence(**{name: float(x) for name, x in side.items()})
        for side in sides
    )
    return raises, lowers
