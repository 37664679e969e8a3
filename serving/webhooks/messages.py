"""A record of the ledger as the message that a webhook sends.

``{"type": "decision.made", "timestamp": …, "data": {…}}`` as Standard Webhooks has it, with the
place in the ledger's chain in ``data``, by which a receiver notices a gap. What only Keepwell needs
(rankings, inputs, keys, digests) is left out. Reads the ledger; writes nothing.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence

from serving.ledger.database.database import LedgerDatabase
from serving.ledger.stores.outbox_tables import Message
from serving.ledger.stores.records import records_after

KINDS: Mapping[str, str] = {
    "decisions": "decision.made",
    "outcomes": "outcome.reported",
    "claim_records": "claim",
    "approvals": "decision",
    "controls": "control",
    "feedback": "feedback",
}
"""Table to kind; where a record says more (a claim's step, a verdict), that follows a dot."""

SAYS_MORE: Mapping[str, str] = {
    "claim_records": "kind",
    "approvals": "verdict",
    "controls": "kind",
    "feedback": "verdict",
}
NOT_TOLD = frozenset({"idempotency_keys", "policy_inputs", "plan_draws", "redactions"})
"""Tables of the ledger whose records say nothing to others."""

MOMENTS = ("asked_at", "heard_at", "at", "decided_at", "received_at")
"""The moment of a message: by the clock of the service where that was stored."""
KEPT_BACK = frozenset(
    {"eligible", "withheld", "inputs", "input_digest", "request_digest", "key", "versions"}
)
NO_ACCOUNT = ""
ALL_KINDS = ("decision", "outcome", "claim", "control", "feedback")
"""The kinds a webhook can subscribe to, up to their first dot."""


def messages_after(
    ledger: LedgerDatabase,
    endpoint: str,
    kinds: Sequence[str],
    *,
    after: int,
    up_to: int | None = None,
    most: int = 500,
) -> tuple[tuple[Message, ...], int]:
    """The messages to a webhook about records after a place, and the last place that was read.

    Reads at most ``most`` records, and none beyond ``up_to``; the last place is ``after`` where
    there is none.
    """
    records, last = records_after(ledger, KINDS, after=after, up_to=up_to, most=most)
    messages = (
        message_of(
            endpoint,
            one.table,
            one.values,
            place=one.place,
            account_id=one.account_id or NO_ACCOUNT,
        )
        for one in records
    )
    wanted = (one for one in messages if not kinds or one.kind.partition(".")[0] in kinds)
    return tuple(wanted), last


def message_of(
    endpoint: str,
    table: str,
    record: Mapping[str, object],
    *,
    place: int,
    account_id: str,
) -> Message:
    """One record as a message; its id is the same whenever it is made."""
    kind = KINDS[table]
    if table in SAYS_MORE:
        kind = f"{kind}.{record[SAYS_MORE[table]]}"
    data = {
        name: value for name, value in record.items() if name not in KEPT_BACK and value is not None
    }
    if account_id != NO_ACCOUNT:
        data["account_id"] = account_id
    moment = next(str(record[name]) for name in MOMENTS if record.get(name))
    body = {"type": kind, "timestamp": moment, "data": {"place": place, **data}}
    identity = f"keepwell:webhook:{endpoint}:{table}:{place}"
    return Message(
        place=place,
        message_id=f"msg_{uuid.uuid5(uuid.NAMESPACE_URL, identity).hex}",
        account_id=account_id,
        kind=kind,
        body=json.dumps(body, allow_nan=False),
    )
