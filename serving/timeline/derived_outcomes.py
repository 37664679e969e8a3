"""This module is about outcomes that nobody reports: what the timeline tells of executed decisions.

Each kind has a module that finds it (``slow_outcomes``, ``usage_outcomes``); here they are stored,
once a decision and kind, under a name that tells them from what a person or a program said.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from serving.ledger.ledger import Ledger, NewOutcome
from serving.ledger.outcomes import Executed

JOINED_BY = "keepwell"


def append_joined(
    ledger: Ledger,
    found: Iterable[tuple[Executed, NewOutcome]],
    *,
    called: str,
    now: datetime,
    heard_at: datetime | None,
) -> int:
    """Store what was found of executed decisions; answers how many of them are new.

    ``called`` begins the key under which an outcome is stored: the same words find it again. What
    was received ``now``, on the time of the data, was heard at ``heard_at`` by the clock of the
    service.

    Raises:
        LedgerUnreachableError: the ledger can not be reached.
    """
    return sum(
        ledger.append_outcome(
            executed.decision_id,
            outcome,
            received_at=now,
            heard_at=heard_at,
            key=f"{called} {executed.decision_id}",
        )[1]
        for executed, outcome in found
    )
