"""The audit of a training set: does it hold values that were not known at its cutoffs?

A set has rows of ``account_id`` and ``as_of`` with features and a label, whoever made it. It is
compared with the timeline and with itself::

    the future altered     no feature before it may change               (future_perturbation)
    features recomputed    from what was recorded before each cutoff     (leakage)
    one feature alone      must not predict the outcome by itself        (suspicious_features)
    rows and windows       each row once, no window across the split     (row_checks)

Returns findings; changes nothing. The bounds and the data they were measured on are
in ``docs/explanation/what-the-audit-finds.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import polars as pl

from training.dataset.errors import TrainingError
from training.dataset.labels import ROW

Check = Literal["future", "knowledge", "field", "alone", "missing", "rows", "windows"]

CHECKS: Mapping[Check, str] = {
    "future": "A feature knows the future",
    "knowledge": "Something was recorded after the cutoff",
    "field": "A field was written after the cutoff",
    "alone": "One feature alone is too good",
    "missing": "A value, or its absence, gives the outcome away",
    "rows": "A row is there twice",
    "windows": "A label window crosses the split, or is not closed",
}
"""Every check with a description, in the order of the report."""

LABEL, SPLIT = "label", "split"
PARTS = ("train", "test")
MOST_SHOWN = 20
NOT_FEATURES = (*ROW, LABEL, SPLIT)


class AuditError(TrainingError):
    """A training set cannot be audited as it is."""


@dataclass(frozen=True, kw_only=True)
class AuditedSet:
    """A training set with the columns that an audit needs.

    ``frame`` has ``account_id``, an aware ``as_of``, ``label`` (1, 0 or null: not decided), maybe
    ``split`` (train, test or null), and else features. ``reach`` is the time from a cutoff to the
    end of its label window; None: not known, and windows are not checked.
    """

    name: str
    frame: pl.DataFrame
    reach: timedelta | None = None
    is_split_by_accounts: bool = False  # the same cutoffs in train and test, of other accounts

    def __post_init__(self) -> None:
        lacking = [name for name in (*ROW, LABEL) if name not in self.frame.columns]
        if lacking:
            raise AuditError(
                f"{self.name} has no column {' and no column '.join(lacking)}. A training set has "
                f"account_id, as_of, features and label; it holds "
                f"{', '.join(self.frame.columns[:8])}."
            )
        if self.frame.is_empty() or not self.features:
            raise AuditError(
                f"{self.name} has {self.frame.height} rows and {len(self.features)} "
                f"features: there is nothing to audit."
            )
        if self.frame.schema["as_of"] != pl.Datetime("us", "UTC"):
            raise AuditError(
                f"as_of in {self.name} is {self.frame.schema['as_of']}; write it as "
                f"an instant in UTC (Datetime with time zone UTC)."
            )
        if self.frame.select(pl.any_horizontal(pl.col(ROW).is_null()).any()).item():
            raise AuditError(
                f"{self.name} has rows without an account_id or an as_of; fill them "
                f"or leave the rows out."
            )
        classes = self.frame[LABEL].drop_nulls().unique().cast(pl.Float64).to_list()
        if not set(classes) <= {0.0, 1.0}:
            raise AuditError(
                f"label in {self.name} holds {sorted(classes)[:5]}; it may hold 1, 0 and null."
            )
        parts = set(self.frame[SPLIT].drop_nulls()) if SPLIT in self.frame.columns else set()
        if not parts <= set(PARTS):
            raise AuditError(
                f"split in {self.name} holds {', '.join(sorted(map(str, parts)))}; it "
                f"may hold {' and '.join(PARTS)}, and null for rows of neither."
            )

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that a model could learn from."""
        return tuple(name for name in self.frame.columns if name not in NOT_FEATURES)

    @property
    def outcome(self) -> pl.Series:
        """1, 0 or null of each row."""
        return self.frame[LABEL].cast(pl.Float64)

    @property
    def base_rate(self) -> float:
        """Share of the decided rows with the outcome."""
        rate = self.outcome.mean()
        return rate if isinstance(rate, float) else 0.0

    @property
    def moments(self) -> tuple[datetime, ...]:
        """The cutoffs, oldest first."""
        return tuple(self.frame["as_of"].unique().sort())


@dataclass(frozen=True, kw_only=True)
class LeakFinding:
    """One leak: where, on what evidence, and what to do next."""

    check: Check
    feature: str  # the column, or "rows" where no single one is to blame
    rows: int  # rows of the set that show it
    evidence: str
    next: str

    @property
    def title(self) -> str:
        """What kind of leak it is."""
        return CHECKS[self.check]


@dataclass(frozen=True, kw_only=True)
class CheckScope:
    """The scope of a check, or the reason why it was not possible."""

    check: Check
    at: str
    was_possible: bool = True


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """All findings on one set, and the scope of every check."""

    name: str
    rows: int
    features: int
    base_rate: float
    findings: tuple[LeakFinding, ...]
    looked: tuple[CheckScope, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def verdict(self, check: Check) -> str:
        """``found``, ``clean`` or ``not checked``."""
        if any(finding.check == check for finding in self.findings):
            return "found"
        return (
            "clean"
            if any(one.was_possible for one in self.looked if one.check == check)
            else "not checked"
        )

    def lines(self) -> tuple[str, ...]:
        """The lines for people: each finding with its evidence and the next step, then a summary."""
        said = [
            f"{f.title}: {f.feature}\n   {f.evidence}.\n   → {f.next}\n"
            for f in self.findings[:MOST_SHOWN]
        ]
        if len(self.findings) > MOST_SHOWN:
            said.append(f"… and {len(self.findings) - MOST_SHOWN} more; --out FILE has them all.\n")
        n = len(self.findings)
        found = "nothing was found" if n == 0 else f"{n} thing{'s' * (n > 1)} to mend"
        return (*said, f"{self.name}, {self.rows:,} rows and {self.features} features: {found}.")

    def as_json(self) -> dict[str, object]:
        """The report as plain values, for programs."""
        return {
            "training_set": self.name,
            "rows": self.rows,
            "features": self.features,
            "base_rate": self.base_rate,
            "is_clean": self.is_clean,
            "checks": [
                {
                    "check": check,
                    "title": title,
                    "verdict": self.verdict(check),
                    "looked_at": [one.at for one in self.looked if one.check == check],
                }
                for check, title in CHECKS.items()
            ],
            "findings": [
                {
                    "check": f.check,
                    "title": f.title,
                    "feature": f.feature,
                    "rows": f.rows,
                    "evidence": f.evidence,
                    "next": f.next,
                }
                for f in self.findings
            ],
        }


def report_of(
    audited: AuditedSet,
    results: Sequence[tuple[Sequence[LeakFinding], Sequence[CheckScope]]],
) -> AuditReport:
    """The findings of several checks as one report, in the order of the checks."""
    order = list(CHECKS)
    findings = [finding for found, _ in results for finding in found]
    looked = [one for _, ones in results for one in ones]
    return AuditReport(
        name=audited.name,
        rows=audited.frame.height,
        features=len(audited.features),
        base_rate=audited.base_rate,
        findings=tuple(sorted(findings, key=lambda f: (order.index(f.check), -f.rows, f.feature))),
        looked=tuple(sorted(looked, key=lambda one: order.index(one.check))),
    )


def share_with_outcome(audited: AuditedSet, rows: pl.Series) -> str:
    """How many of these rows have the outcome, beside the rate of all, in words."""
    there = audited.outcome.filter(rows).drop_nulls()
    if there.is_empty():
        return "none of them is decided"
    share = there.sum() / len(there)
    return f"{share:.0%} of them have the outcome, {audited.base_rate:.0%} of all"
