"""This module is about the warning signs as a table that people read; the README holds it.

``python -m features.alert_table`` prints it; a test compares it with ``features/README.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from features.alerts.rules import ALERTS, AlertRule, Bound, Case


def markdown(rules: Iterable[AlertRule] = ALERTS) -> str:
    """One row a rule, in the order in which they are told.

    >>> print(markdown(ALERTS[:1]).splitlines()[-1])
    | `cancel_intent` | `cancellations_intended_90d` >= 1 | 5 | 002:246 | open for 90 days |
    """
    return "\n".join(
        [
            "| warning sign | raised when | urgency | source | ours, or the nearest |",
            "|---|---|---|---|---|",
            *map(_row, rules),
        ]
    )


def _row(rule: AlertRule) -> str:
    cases = " *or* ".join(_case(case) for case in rule.cases)
    notes = "; ".join(note for note in (rule.ours, rule.nearest) if note) or "–"
    return f"| `{rule.id}` | {cases} | {rule.urgency} | {rule.source} | {notes} |"


def _case(case: Case) -> str:
    return " and ".join(_bound(bound) for bound in case.bounds)


def _bound(bound: Bound) -> str:
    told = f"`{bound.figure}` {bound.operator} {bound.number:g}"
    return f"({told} or not known)" if bound.if_unknown == "holds" else told


if __name__ == "__main__":
    sys.stdout.write(markdown() + "\n")
