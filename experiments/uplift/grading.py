"""Grade an effect: the requirements for evidence.

A: chance decided, with logged odds. B: an event from outside decided, and the checks passed.
C: people decided, and all checks passed. An effect whose checks fail or were not run
keeps the grade of the prior (D or E): its numbers are shown, but move no belief. The checks are
those of reports, for one action against none.
"""

from __future__ import annotations

from dataclasses import dataclass

from experiments.causal.checks import CHECKS
from experiments.causal.checks.protocol import CheckedComparison, CheckResult
from registry.playbook.actions import Grade


@dataclass(frozen=True, kw_only=True)
class Grading:
    """A grade, why, and every check behind it."""

    grade: Grade
    why: str
    checks: tuple[CheckResult, ...]


def grade_effect(
    compared: CheckedComparison,
    *,
    prior_grade: Grade = "E",
    decided_outside: str | None = None,
) -> Grading:
    """The grade of the mean effect of one action.

    ``decided_outside`` names the event that decided in place of people.
    """
    found = tuple(check(compared) for check in CHECKS)
    failed = [check for check in found if check.verdict == "failed"]
    if failed:
        reasons = " ".join(f"{check.title}: {check.explanation}" for check in failed)
        return Grading(grade=prior_grade, checks=found, why=f"No effect is claimed. {reasons}")
    if compared.by_lot:
        return Grading(
            grade="A",
            checks=found,
            why="Chance decided, with the odds on record; all checks passed.",
        )
    if not compared.placebos:
        return Grading(
            grade=prior_grade,
            checks=found,
            why=(
                "No effect is claimed. People decided, and nothing like the outcome, measured before the "
                "start, shows that the groups were alike: name such a measure (--before COLUMN of a table; "
                "the placebo of a design)."
            ),
        )
    if decided_outside is not None:
        return Grading(
            grade="B", checks=found, why=f"Decided by {decided_outside}; all checks passed."
        )
    return Grading(grade="C", checks=found, why="People decided; all checks passed.")
