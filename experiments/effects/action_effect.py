"""The record of a measured effect: its size, error, counts, grade and source.

An effect is in probability points (0.02: two in a hundred more) of a good outcome, against doing
nothing, over the accounts that could have received the action. It never travels without its error,
its size and its grade. Values and their checks only; estimates nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from registry.playbook.actions import GRADES, Grade

GoodOutcome = Literal["retention", "expansion"]
"""``retention``: a contract still runs when the follow-up ends. ``expansion``: MRR has grown."""

OUTCOME_WORDS: Mapping[GoodOutcome, str] = {
    "retention": "probability that the account stays",
    "expansion": "probability that the account grows",
}

EVIDENCE: tuple[Grade, ...] = ("A", "B", "C")
"""Grades based on data; D and E are based on beliefs."""


class ActionEffectError(ValueError):
    """An effect that is incomplete or contradicts itself."""


@dataclass(frozen=True, kw_only=True)
class ActionEffect:
    """The effect of one action in one segment (``None``: in all of them together).

    ``estimate`` and ``standard_error`` come from the log alone, unless ``playbook_share`` is above
    0: then that share of the estimate is the playbook's prior, and mixing in the prior again would
    count it twice. A segment's estimate is shrunk toward the action's own, and its
    ``low`` and ``high`` hold 95 % for all segments of the action together.
    ``n`` are trials of the action and of no action, ``effective_n`` the accounts of an even and
    equally weighted comparison with the same precision. ``why`` explains the grade; with grade D or
    E the numbers are shown but do not count, and the prior stands. ``untouched_risk`` is the
    probability in these trials, if nobody acts, that the account leaves (retention) or grows
    (expansion): with it the effect can be transferred to an account with another risk; ``None`` is
    unknown.
    """

    action_id: str
    segment: str | None
    estimate: float
    standard_error: float
    n: int
    effective_n: float
    grade: Grade
    measured_from: datetime
    measured_to: datetime
    source: str
    outcome: GoodOutcome
    horizon_days: int
    low: float
    high: float
    why: str
    playbook_share: float = 0.0
    untouched_risk: float | None = None

    def __post_init__(self) -> None:
        named = f"The effect of {self.action_id!r} in {self.segment or 'all segments'!r}"
        if self.grade not in GRADES:
            raise ActionEffectError(
                f"{named} has grade {self.grade!r}; grades are {', '.join(GRADES)}."
            )
        for name in ("estimate", "standard_error", "low", "high"):
            if not math.isfinite(getattr(self, name)):
                raise ActionEffectError(
                    f"{named} has {name} {getattr(self, name)}; leave an "
                    f"effect that is not known out."
                )
        if self.standard_error <= 0 or self.n < 1 or not 0 < self.effective_n <= self.n:
            raise ActionEffectError(
                f"{named} has error {self.standard_error}, n {self.n} and effective n "
                f"{self.effective_n}; the error and both counts are positive, and the effective "
                f"one is not the larger."
            )
        if not self.low <= self.estimate <= self.high:
            raise ActionEffectError(
                f"{named} is {self.estimate}, outside its interval {self.low} to {self.high}."
            )
        if not 0 <= self.playbook_share <= 1:
            raise ActionEffectError(
                f"{named} has playbook share {self.playbook_share}; a share is between 0 and 1."
            )
        if self.untouched_risk is not None and not 0 < self.untouched_risk <= 1:
            raise ActionEffectError(
                f"{named} has untouched risk {self.untouched_risk}; it is a "
                f"probability above 0, or None where it is not known."
            )
        for moment in (self.measured_from, self.measured_to):
            if moment.tzinfo is None:
                raise ActionEffectError(
                    f"{named} is measured at {moment}, which has no time "
                    f"zone; give instants in UTC."
                )
        if self.measured_from > self.measured_to:
            raise ActionEffectError(
                f"{named} ends ({self.measured_to:%Y-%m-%d}) before it begins "
                f"({self.measured_from:%Y-%m-%d})."
            )

    @property
    def is_evidence(self) -> bool:
        """Whether the numbers may move a belief: graded A, B or C."""
        return self.grade in EVIDENCE

    def untouched_risk_over(self, days: int) -> float | None:
        """The risk if nobody acts over so many days, at the rate of those that were followed.

        >>> from datetime import UTC, datetime
        >>> at = datetime(2026, 3, 2, tzinfo=UTC)
        >>> ActionEffect(
        ...     action_id="call", segment=None, estimate=0.02, standard_error=0.01, n=400,
        ...     effective_n=300, grade="A", measured_from=at, measured_to=at, source="A lottery.",
        ...     outcome="retention", horizon_days=30, low=0.0, high=0.04, why="",
        ...     untouched_risk=0.1,
        ... ).untouched_risk_over(60)
        0.19
        """
        if self.untouched_risk is None or days == self.horizon_days:
            return self.untouched_risk
        return round(float(1 - (1 - self.untouched_risk) ** (days / self.horizon_days)), 12)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            **asdict(self),
            "measured_from": self.measured_from.isoformat(),
            "measured_to": self.measured_to.isoformat(),
            "grade_meaning": GRADES[self.grade],
            "is_evidence": self.is_evidence,
        }
