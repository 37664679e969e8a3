"""Store outcomes that nobody reports, found on the timelines of executed decisions.

Each kind has a module that finds it (``contract_outcomes``, ``usage_outcomes``). They are stored
here, once for each decision and kind, under a name that tells them from reported ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from serving.ledger.ledger import Ledger, NewOutcome
from serving.ledger.reported_outcomes import ExecutedDecision

DERIVED_BY = "keepwell"


def append_derived(
    ledger: Ledger,
    found: Iterable[tuple[ExecutedDecision, NewOutcome]],
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
        LedgerUnreachableError: the ledger cannot be reached.
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
