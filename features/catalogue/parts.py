"""Counts that are part of another count, so that one can be told as a share of the other.

To add one, add a line to ``PART_OF``. Of a tenant's own product features the verbs say it: meetings
are cancelled of those that are scheduled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

LEAST_WHOLE = 3
"""A share of fewer than so many is no share that a reader could use."""


@dataclass(frozen=True)
class Whole:
    """The feature that a count is part of, and how the share is said."""

    feature: str
    words: str  # with {share} and {whole}

    def share(self, part: float, whole: float) -> str:
        """The share in words; "" where the numbers make none.

        >>> Whole("invoices_issued_90d", "{share} of the {whole} issued").share(2, 3)
        '67% of the 3 issued'
        """
        if not (0 < part <= whole and whole >= LEAST_WHOLE):  # also where one is not known
            return ""
        return self.words.format(share=f"{part / whole:.0%}", whole=f"{whole:,.0f}")


_OF_TICKETS = "{share} of the {whole} tickets"
PART_OF: Mapping[str, Whole] = {
    "invoices_paid_90d": Whole("invoices_issued_90d", "{share} of the {whole} issued"),
    "invoices_late_90d": Whole("invoices_issued_90d", "{share} of the {whole} issued"),
    "invoices_failed_90d": Whole("invoices_issued_90d", "{share} of the {whole} issued"),
    "severe_tickets_28d": Whole("tickets_28d", _OF_TICKETS),
    "severe_tickets_90d": Whole("tickets_90d", _OF_TICKETS),
    "severe_tickets_open": Whole("tickets_open", "{share} of the {whole} open"),
    "tickets_reopened_90d": Whole("tickets_90d", _OF_TICKETS),
    "repeat_tickets_90d": Whole("tickets_90d", _OF_TICKETS),
    "features_unused_7d": Whole("features_used_28d", "{share} of the {whole} in use"),
    "features_unused_28d": Whole("features_in_plan", "{share} of the {whole} in the plan"),
    "nudges_acted_28d": Whole("nudges_sent_28d", "{share} of the {whole} sent"),
    "goals_reached": Whole("goals_set", "{share} of the {whole} that are measured"),
}
"""Feature to the one that it is part of, over the same days."""

AFTER: Mapping[str, str] = {
    "cancel": "schedule",
    "delete": "create",
    "disqualify": "create",
    "lose": "create",
    "unsub": "add",
    "win": "create",
}
"""What is done with a thing, and what was done with it before, as words of product features."""

_OWN_USE = re.compile(rf"use_({'|'.join(AFTER)})_(\w+)_count_(\d+d)")


def whole_of(name: str) -> Whole | None:
    """The feature that a feature is part of; None where it is part of none.

    >>> whole_of("use_cancel_meeting_count_28d")
    Whole(feature='use_schedule_meeting_count_28d', words='{share} as often as schedule meeting')
    """
    own = _OWN_USE.fullmatch(name)
    if own is None:
        return PART_OF.get(name)
    earlier, thing, days = AFTER[own[1]], own[2], own[3]
    return Whole(
        f"use_{earlier}_{thing}_count_{days}",
        f"{{share}} as often as {earlier} {thing.replace('_', ' ')}",
    )
