"""Snoozes: which actions people put off for an account, and until when.

The newest feedback counts: to snooze again gives another date, to agree ends the snooze, to disagree
leaves it as it is. The ledger knows a snooze at once, the timeline as soon as it is delivered; both
are read by the same rule. Its beginning and end are by the clock of the service; feedback from
before that clock was stored is dated by the time of the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from experiments.policy.contact.snooze import Snooze
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.database.prepared import ById
from serving.ledger.database.tables import APPROVALS, CHAIN, DECISIONS, FEEDBACK
from serving.ledger.database.timestamps import as_moment
from serving.ledger.errors import NotClaimableError
from serving.text_format import who

"""Accounts asked for at once: a database bounds the parameters of a statement."""


def note(
    put_off: dict[str, Snooze],
    *,
    action: str,
    verdict: str,
    until: datetime | None,
    at: datetime,
    by: str | None,
    reason: str | None,
) -> None:
    """Update the snoozes, by action, with the next feedback."""
    if verdict == "agree":
        put_off.pop(action, None)
    elif verdict == "snooze" and until is not None:
        put_off[action] = Snooze(action_id=action, until=until, at=at, by=who(by), reason=reason)


def note_event(put_off: dict[str, Snooze], properties: Mapping[str, object], at: datetime) -> None:
    """The same for the properties of an ``action.judged`` event; unreadable ones are skipped."""
    try:
        until = _moment(properties.get("until"))
        heard_at = _moment(properties.get("heard_at"))
    except ValueError:
        return
    note(
        put_off,
        action=str(properties.get("action")),
        verdict=str(properties.get("verdict")),
        until=until,
        at=heard_at or at,
        by=str(properties["by"]) if properties.get("by") else None,
        reason=str(properties["reason"]) if properties.get("reason") else None,
    )


def load_snoozes(
    database: LedgerDatabase, account_ids: Sequence[str]
) -> dict[str, tuple[Snooze, ...]]:
    """The snoozes of accounts, by account, as the ledger knows them.

    An account for which anybody put something off or agreed to something is there, with nothing
    where nothing is put off any more; one that nobody said anything about is not.

    Raises:
        LedgerUnreachableError: the ledger cannot be reached.
    """
    with database.reading() as connection:
        return read_snoozes(connection, account_ids)


def read_snoozes(
    connection: Connection, account_ids: Sequence[str]
) -> dict[str, tuple[Snooze, ...]]:
    """The snoozes of accounts, read in a transaction that is open."""
    found: dict[str, dict[str, Snooze]] = {}
    for row in _SAID.rows(connection, account_ids):
        note(
            found.setdefault(row.account_id, {}),
            action=row.action,
            verdict=row.verdict,
            until=as_moment(row.snooze_until) if row.snooze_until else None,
            at=as_moment(row.heard_at or row.at),
            by=row.by,
            reason=row.reason,
        )
    return {account_id: tuple(put_off.values()) for account_id, put_off in found.items()}


def check_not_snoozed(connection: Connection, decided: sa.Row[Any], clock: datetime) -> None:
    """Check that nobody has snoozed the action of a decision since it was made, to a date that has
    not come by the clock of the service.

    Whoever approves the decision afterwards has seen that.

    Raises:
        NotClaimableError: somebody did; the message says who, until when and why.
    """
    newest = connection.execute(
        _NEWEST_WORD, {"account": decided.account_id, "action": decided.action}
    ).first()
    if newest is None or newest.verdict == "agree" or as_moment(newest.snooze_until) <= clock:
        return
    later = connection.execute(
        sa.select(CHAIN.c.place)
        .where(
            sa.or_(
                sa.and_(CHAIN.c.table == DECISIONS.name, CHAIN.c.record_id == decided.decision_id),
                sa.and_(
                    CHAIN.c.table == APPROVALS.name,
                    CHAIN.c.record_id.in_(
                        sa.select(APPROVALS.c.approval_id).where(
                            APPROVALS.c.decision_id == decided.decision_id
                        )
                    ),
                ),
            ),
            CHAIN.c.place > newest.place,
        )
        .limit(1)
    ).first()
    if later is None:
        why = f": {newest.reason}" if newest.reason else ""
        raise NotClaimableError(
            f"{who(newest.by)} put {decided.action} off for this account until "
            f"{as_moment(newest.snooze_until):%Y-%m-%d %H:%M} UTC{why}"
        )


def _moment(properties: object) -> datetime | None:
    """A moment of an event, None where it names none, or ValueError."""
    moment = datetime.fromisoformat(str(properties)) if properties else None
    if moment is not None and moment.utcoffset() is None:
        raise ValueError(f"{moment} has no time zone")
    return moment


_NEWEST_WORD = (
    sa.select(
        FEEDBACK.c.verdict, FEEDBACK.c.by, FEEDBACK.c.reason, FEEDBACK.c.snooze_until, CHAIN.c.place
    )
    .join(
        CHAIN, sa.and_(CHAIN.c.table == FEEDBACK.name, CHAIN.c.record_id == FEEDBACK.c.feedback_id)
    )
    .where(
        FEEDBACK.c.account_id == sa.bindparam("account"),
        FEEDBACK.c.action == sa.bindparam("action"),
        FEEDBACK.c.verdict != "disagree",
    )
    .order_by(CHAIN.c.place.desc())
    .limit(1)
)

_SAID = ById(
    sa.select(
        FEEDBACK.c.account_id,
        FEEDBACK.c.action,
        FEEDBACK.c.verdict,
        FEEDBACK.c.snooze_until,
        FEEDBACK.c.at,
        FEEDBACK.c.heard_at,
        FEEDBACK.c.by,
        FEEDBACK.c.reason,
    )
    .join(
        CHAIN, sa.and_(CHAIN.c.table == FEEDBACK.name, CHAIN.c.record_id == FEEDBACK.c.feedback_id)
    )
    .where(FEEDBACK.c.verdict != "disagree")
    .order_by(CHAIN.c.place),
    FEEDBACK.c.account_id,
)
