"""Feedback: what people say to a recommendation (agree, disagree, or snooze).

Each is one record of the ledger, added and never changed. Whoever thinks otherwise later gives
feedback again, and the newest counts. A snoozed action waits until its date by the clock of the
service, or until somebody agrees to it. To agree approves nothing and to disagree stops nothing:
both are stored to judge recommendations by.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from experiments.policy.recommend import DO_NOTHING
from serving.ledger.database.chain import insert_linked
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.database.tables import CHAIN, FEEDBACK
from serving.ledger.database.timestamps import as_moment, as_text, service_time
from serving.ledger.errors import InvalidFeedbackError, KeyReusedError
from serving.ledger.reported_outcomes import decision_row

Verdict = Literal["agree", "disagree", "snooze"]

LONGEST_SNOOZE = timedelta(days=366)

FOR = ", for "
"""Between the owner of a key and whom they speak for, in who gave feedback."""

MOST_A_DAY = 200
"""Judgements of one person about one account within a day. All that was ever said about an account is
read when it is decided about, so that one person could slow that down for everybody."""

ONE_CLICK = timedelta(days=14)
"""How long the button on an account's page puts off."""


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """A person's feedback on an action of a decision, with the reason.

    ``at`` is on the time of the data; ``heard_at`` (None: given before this was stored) and
    ``snooze_until`` on the clock of the service.
    """

    feedback_id: str
    decision_id: str
    account_id: str
    action: str
    verdict: Verdict
    reason: str | None
    snooze_until: datetime | None
    by: str
    at: datetime
    heard_at: datetime | None = None

    @property
    def given_at(self) -> datetime:
        """The moment of the feedback, by the clock of the service where that was stored."""
        return self.heard_at or self.at


@dataclass(frozen=True, kw_only=True)
class NewFeedback:
    """Feedback before it has an id; without an action it is on the first recommendation."""

    verdict: Verdict
    reason: str | None = None
    action: str | None = None
    snooze_until: datetime | None = None


class FeedbackRecords:
    """The feedback on the decisions of one workspace."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    def record(
        self,
        decision_id: str,
        new: NewFeedback,
        *,
        by: str,
        key: str | None,
        now: datetime,
        heard_at: datetime | None = None,
    ) -> Feedback:
        """Store feedback, once per key.

        It is said ``now`` on the time of the data, and heard on the clock of the service (``now``,
        where that is left out), by which a date has passed or lies ahead. What is put off is put
        off from the next question on.

        Raises:
            UnknownDecisionError: no such decision.
            InvalidFeedbackError: it is about an action that the decision did not rank, or put off to a
                moment that has passed or is too far away, or puts off doing nothing, or the person
                has said too much about the account today.
            KeyReusedError: the key came before with another saying.
        """
        digest = hashlib.blake2b(
            json.dumps(
                [
                    decision_id,
                    new.verdict,
                    new.reason,
                    new.action,
                    by,
                    None if new.snooze_until is None else as_text(new.snooze_until),
                ]
            ).encode(),
            digest_size=16,
        ).hexdigest()
        with self._database.writing() as connection:
            known = (
                None
                if key is None
                else connection.execute(
                    sa.select(FEEDBACK).where(FEEDBACK.c.key == key)
                ).one_or_none()
            )
            if known is not None:
                if known.request_digest != digest:
                    raise KeyReusedError(
                        "This Idempotency-Key came before with another feedback. "
                        "Nothing was stored."
                    )
                return as_feedback(known)
            decided = decision_row(connection, decision_id)
            action = new.action or decided.action
            clock = None if heard_at is None else service_time(connection, heard_at)
            _check(
                action,
                [one["action_id"] for one in json.loads(decided.eligible)],
                new,
                clock or now,
            )
            if clock is not None:
                _check_count(connection, decided.account_id, by, clock)
            row = {
                "feedback_id": str(
                    uuid.uuid4()
                    if key is None
                    else uuid.uuid5(uuid.NAMESPACE_URL, f"keepwell:{decision_id}:feedback:{key}")
                ),
                "decision_id": decision_id,
                "account_id": decided.account_id,
                "action": action,
                "verdict": new.verdict,
                "reason": new.reason,
                "snooze_until": None if new.snooze_until is None else as_text(new.snooze_until),
                "by": by,
                "at": as_text(now),
                "heard_at": None if clock is None else as_text(clock),
                "key": key,
                "request_digest": digest,
            }
            insert_linked(connection, FEEDBACK, row)
            return as_feedback(
                connection.execute(
                    sa.select(FEEDBACK).where(FEEDBACK.c.feedback_id == row["feedback_id"])
                ).one()
            )

    def of_decision(self, decision_id: str) -> tuple[Feedback, ...]:
        """The feedback on a decision, newest first."""
        return self._read(FEEDBACK.c.decision_id == decision_id)

    def of_account(self, account_id: str) -> tuple[Feedback, ...]:
        """The feedback on the decisions about an account, newest first."""
        return self._read(FEEDBACK.c.account_id == account_id)

    def _read(self, which: sa.ColumnElement[bool]) -> tuple[Feedback, ...]:
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(FEEDBACK)
                .join(
                    CHAIN,
                    sa.and_(
                        CHAIN.c.table == FEEDBACK.name, CHAIN.c.record_id == FEEDBACK.c.feedback_id
                    ),
                )
                .where(which)
                .order_by(CHAIN.c.place.desc())
            )  # a clock may stand still
            return tuple(map(as_feedback, rows))


def _check_count(connection: Connection, account_id: str, by: str, clock: datetime) -> None:
    """See that a person, whoever they speak for, has not said too much about an account today."""
    person = by.partition(FOR)[0]
    said = connection.scalar(
        sa.select(sa.func.count()).where(
            FEEDBACK.c.account_id == account_id,
            FEEDBACK.c.heard_at > as_text(clock - timedelta(days=1)),
            sa.or_(
                FEEDBACK.c.by == person,
                FEEDBACK.c.by.startswith(f"{person}{FOR}", autoescape=True),
            ),
        )
    )
    if said is not None and said >= MOST_A_DAY:
        raise InvalidFeedbackError(
            field="verdict",
            message=f"{person} has said {MOST_A_DAY} things about this account within a day, the "
            f"most that is stored; say it again tomorrow",
        )


def _check(action: str, ranked: list[str], new: NewFeedback, clock: datetime) -> None:
    wrong: InvalidFeedbackError | None = None
    until = new.snooze_until
    if action not in ranked:
        wrong = InvalidFeedbackError(
            field="action",
            message=f"the decision did not rank this action; it ranked {', '.join(ranked)}",
        )
    elif new.verdict == "snooze" and action == DO_NOTHING:
        wrong = InvalidFeedbackError(
            field="action",
            message="there is nothing to put off in doing "
            "nothing; agree, or disagree with a reason",
        )
    elif until is not None and until <= clock:
        wrong = InvalidFeedbackError(
            field="snooze_until",
            message=(
                f"{in_utc(until)} has passed: by the clock of this service it is {in_utc(clock)}; "
                f"give a moment that lies ahead"
            ),
        )
    elif until is not None and until > clock + LONGEST_SNOOZE:
        wrong = InvalidFeedbackError(
            field="snooze_until",
            message=(
                f"{in_utc(until)} is more than {LONGEST_SNOOZE.days} days ahead of the clock of this "
                f"service, {in_utc(clock)}; give {in_utc(clock + LONGEST_SNOOZE)} at the latest, or "
                f"disagree with a reason"
            ),
        )
    if wrong is not None:
        raise wrong


def in_utc(moment: datetime) -> str:
    """A moment in a message.

    >>> in_utc(datetime(2026, 3, 1, 12, 5, tzinfo=UTC))
    '2026-03-01 12:05 UTC'
    """
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def as_feedback(row: sa.Row[Any]) -> Feedback:
    """A row of the table as feedback."""
    return Feedback(
        feedback_id=row.feedback_id,
        decision_id=row.decision_id,
        account_id=row.account_id,
        action=row.action,
        verdict=row.verdict,
        reason=row.reason,
        snooze_until=None if row.snooze_until is None else as_moment(row.snooze_until),
        by=row.by,
        at=as_moment(row.at),
        heard_at=None if row.heard_at is None else as_moment(row.heard_at),
    )
