"""The table of warning signs in ``warning-signs.md``, made from the rules by ``generate.py``."""

from __future__ import annotations

from collections.abc import Iterable

from features.alerts.rules import ALERTS, FIGURES, AlertRule, Bound, Case

PAGE = """\
# Warning signs

A sign is raised when one of its cases holds. What is unknown raises nothing.
Urgency 5 is the highest. A source is a fact of [a source document](../sources.md); the last column
says what is our own choice, and where a rule uses the nearest feature.

{table}

Before the first contract of an account only these are raised: {of_prospects}.

Besides features, rules read:

{figures}

`python docs/reference/generate.py` writes this page.
"""


def markdown(rules: Iterable[AlertRule] = ALERTS) -> str:
    """One row a rule, in the order in which they are told.

    >>> markdown(ALERTS[:1]).splitlines()[-1].split(" | ")[1:4]
    ['`cancellations_pending` >= 1', '5', '`urgent_retention`']
    """
    return "\n".join(
        [
            "| warning sign | raised when | urgency | answered by | source | ours, or the nearest |",
            "|---|---|---|---|---|---|",
            *map(_row, rules),
        ]
    )


def _row(rule: AlertRule) -> str:
    cases = " *or* ".join(_case(case) for case in rule.cases)
    notes = "; ".join(note for note in (rule.ours, rule.proxy) if note) or "–"
    actions = " ".join(f"`{action}`" for action in rule.responses)
    urgency = " or ".join(
        str(one)
        for one in dict.fromkeys(
            rule.urgency if case.urgency is None else case.urgency for case in rule.cases
        )
    )
    return f"| `{rule.id}` | {cases} | {urgency} | {actions} | {rule.source} | {notes} |"


def _case(case: Case) -> str:
    return " and ".join(_bound(bound) for bound in case.bounds)


def _bound(bound: Bound) -> str:
    told = f"`{bound.figure}` {bound.operator} {bound.number:g}"
    return f"({told} or not known)" if bound.if_unknown == "holds" else told


def page() -> str:
    """The whole page, with every rule."""
    figures = "\n".join(f"- `{name}`: {what}" for name, what in FIGURES.items())
    of_prospects = ", ".join(f"`{rule.id}`" for rule in ALERTS if rule.of_prospects)
    return PAGE.format(table=markdown(), figures=figures, of_prospects=of_prospects)
