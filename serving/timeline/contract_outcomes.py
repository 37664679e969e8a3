"""Outcomes on the slow clock: what the contract did after an action was carried out.

Quick outcomes are reported by the person or program that acts. Whether the account renewed, grew or
left is on its timeline months later, and is joined to the decision here: the first event of the
contract after the action, once for each decision. It happened afterwards; whether the action caused
it is a question for reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from serving.ledger.ledger import Ledger, NewOutcome
from serving.ledger.reported_outcomes import ExecutedDecision, executed_without_slow_outcome
from serving.timeline.derived_outcomes import DERIVED_BY, append_derived
from serving.timeline.store import TimelineStore

CONTRACT_KINDS = ("contract.started", "contract.renewed", "contract.changed", "contract.cancelled")
LONGEST = timedelta(days=365)
"""A contract event later than this after an action is not counted as its outcome."""


@dataclass(frozen=True, kw_only=True)
class ContractEvent:
    """One word of a contract: what it was, when, when it was known, and the MRR from then on."""

    kind: str
    occurred_at: datetime
    mrr: float | None


def join_slow_outcomes(
    ledger: Ledger, timelines: TimelineStore, *, now: datetime, heard_at: datetime | None = None
) -> int:
    """Give every executed decision the slow outcome that its account's timeline tells by now.

    ``now`` is on the time of the data, ``heard_at`` the same moment by the clock of the service.
    Answers how many there were. Repeating it changes nothing.

    Raises:
        LedgerUnreachableError: the ledger cannot be reached.
    """
    with ledger.database.reading() as connection:
        waiting = executed_without_slow_outcome(connection)
    waiting = tuple(one for one in waiting if one.at <= now)
    if not waiting:
        return 0
    accounts = sorted({one.account_id for one in waiting})
    words = contract_events(
        timelines.of_kinds(CONTRACT_KINDS, account_ids=accounts, as_of=timelines.seen_as_of(now))
    )
    found = ((one, slow_outcome(one, words.get(one.account_id, ()))) for one in waiting)
    return append_derived(
        ledger,
        ((one, outcome) for one, outcome in found if outcome is not None),
        called="slow outcome of",
        now=now,
        heard_at=heard_at,
    )


def contract_events(events: pl.DataFrame) -> Mapping[str, Sequence[ContractEvent]]:
    """The events of contracts, by account, in order."""
    words: dict[str, list[ContractEvent]] = {}
    for row in events.sort("occurred_at", "recorded_at", "event_id").iter_rows(named=True):
        words.setdefault(row["account_id"], []).append(
            ContractEvent(kind=row["kind"], occurred_at=row["occurred_at"], mrr=row["quantity"])
        )
    return words


def slow_outcome(executed: ExecutedDecision, words: Iterable[ContractEvent]) -> NewOutcome | None:
    """The outcome by the first contract event after an action; None if there is none yet.

    A renewal or a change is growth where the MRR is known to have risen, and the reverse.
    """
    before: float | None = None
    for word in words:
        if word.occurred_at <= executed.at:
            before = word.mrr if word.mrr is not None else before
        elif word.occurred_at > executed.at + LONGEST:
            return None
        elif (result := _result(word, before)) is not None:
            return NewOutcome(
                kind="outcome", result=result, occurred_at=word.occurred_at, by=DERIVED_BY
            )
    return None


def _result(word: ContractEvent, before: float | None) -> str | None:
    if word.kind == "contract.cancelled":
        return "left"
    if word.mrr is not None and before is not None and word.mrr != before:
        return "grew" if word.mrr > before else "shrank"
    return "renewed" if word.kind == "contract.renewed" else None
