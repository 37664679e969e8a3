"""Outcomes on the quick clock: did use move after an action?

Counted are uses of features (``feature.used`` on the timeline) in the 14 days before an action was
carried out and in the 14 days from then on::

        14 days before      14 days after
    [──────────────────)[──────────────────)
                        at            known from here on

Use moved where both counts differ by at least a fifth of the former and by more than chance alone
explains. It is unknown, and nothing is written, while the second window is not over, while
telemetry has not come in for all of it, and where the account, or any use at all, was not known
before the first one. It is what followed, not what the action caused; reports tell those apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import sqrt

from serving.ledger.ledger import Ledger, NewOutcome
from serving.ledger.reported_outcomes import ExecutedDecision, Measure, executed_without_measure
from serving.timeline.derived_outcomes import DERIVED_BY, append_derived
from serving.timeline.store import KnownUse, TimelineStore

WINDOW = timedelta(days=14)
USE = "feature.used"
UNIT = "uses of features"

LEAST_CHANGE = 0.2
"""A change below this share of the uses before is none; ours, grade E."""

LEAST_DEVIATIONS = 2.0
"""So many standard deviations of two counts of rare things a change has to be; ours, grade E."""

LONGEST_WAIT = timedelta(days=60)
"""After so long, what was not measured stays unknown for good."""


def measure_usage(
    ledger: Ledger, timelines: TimelineStore, *, now: datetime, heard_at: datetime | None = None
) -> int:
    """Give every executed decision the use before and after it, where that is known by now.

    ``now`` is on the time of the data, ``heard_at`` the same moment by the clock of the service.
    Answers how many there were. Repeating it changes nothing.

    Raises:
        LedgerUnreachableError: the ledger cannot be reached.
    """
    with ledger.database.reading() as connection:
        waiting = executed_without_measure(connection)
    over = [one for one in waiting if one.at + WINDOW <= now < one.at + WINDOW + LONGEST_WAIT]
    if not over:
        return 0
    known = timelines.known_use(
        USE,
        account_ids=sorted({one.account_id for one in over}),
        as_of=timelines.seen_as_of(now),
        since=min(one.at for one in over) - WINDOW,
        until=max(one.at for one in over) + WINDOW,
    )
    measures = uses_around(known, over)
    return append_derived(
        ledger,
        (
            (one, _outcome(one, measures[one.decision_id]))
            for one in over
            if one.decision_id in measures
        ),
        called="usage after",
        now=now,
        heard_at=heard_at,
    )


def _outcome(executed: ExecutedDecision, measure: Measure) -> NewOutcome:
    return NewOutcome(
        kind="outcome",
        result=result_of(measure),
        by=DERIVED_BY,
        occurred_at=executed.at + WINDOW,
        measure=measure,
    )


def uses_around(known: KnownUse, executed: Sequence[ExecutedDecision]) -> Mapping[str, Measure]:
    """The uses before and after each decision, by its id; those that are not known are absent."""
    found = {}
    for one in executed:
        opens, closes = one.at - WINDOW, one.at + WINDOW
        since = known.account_since.get(one.account_id)
        if (
            since is None
            or since > opens
            or known.first is None
            or known.first > opens
            or known.recorded_until is None
            or known.recorded_until < closes
        ):
            continue
        counts = [0, 0]
        for at, count in known.of_account.get(one.account_id, ()):
            if opens <= at < closes:
                counts[at >= one.at] += count
        found[one.decision_id] = Measure(
            before=counts[0], after=counts[1], unit=UNIT, window_days=WINDOW.days, source=USE
        )
    return found


def result_of(measure: Measure) -> str:
    """The result of two counts: use rose, fell, or neither.

    >>> def said(before, after):
    ...     return result_of(Measure(before=before, after=after, unit=UNIT, window_days=14,
    ...                              source=USE))
    >>> said(100, 160), said(160, 100), said(100, 115), said(4, 7), said(0, 0), said(0, 9)
    ('usage_moved', 'usage_fell', 'usage_steady', 'usage_steady', 'usage_steady', 'usage_moved')
    """
    change = measure.after - measure.before
    noise = LEAST_DEVIATIONS * sqrt(measure.after + measure.before)
    if change == 0 or abs(change) < LEAST_CHANGE * measure.before or abs(change) <= noise:
        return "usage_steady"
    return "usage_moved" if change > 0 else "usage_fell"
