"""Claims: which program carries a decision out, and for how long it holds the decision.

A playbook engine claims a decision for a lease, prolongs the lease while it works, and completes
or fails. A lease that ends by itself has lapsed, and others may claim. Every step is one record,
added under the lock of all writers and never changed: the state of a claim follows from its records
and the moment asked about.

    claimed ─► heartbeat … ─► completed | failed
       └──────────┴─► (lease over) lapsed

Every action of a decision's list can be claimed, with a lease of its own: the engine of its channel
takes it. Nothing is done twice: an action has one live claim and is completed once. Actions of one
list were ranked beside each other, so they may go on at the same time; those of two lists may not,
because neither knew of the other. An engine whose lease has lapsed may still report work that it
did, unless another has claimed since. ``now`` is the clock of the service, which runs also where the
data stand still. Where that clock is set back, the newest moment of the ledger counts as now, so that
no lapsed lease comes back.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from experiments.policy.contact.contact_policy import CAPACITY_WEEK
from experiments.policy.contact.snooze import Snooze
from serving.ledger.approvals import check_level_of
from serving.ledger.autonomy import capacities
from serving.ledger.database.claim_records import (
    Claim,
    Step,
    add_record,
    claim_at,
    claims_at,
    digest_of,
    known_record,
    moment_of_claims,
    read_records,
)
from serving.ledger.database.database import LedgerDatabase
from serving.ledger.database.tables import CLAIM_RECORDS, DECISIONS, OUTCOMES
from serving.ledger.database.timestamps import as_moment, as_text
from serving.ledger.errors import (
    AlreadyClaimedError,
    CapacityUsedError,
    ClaimOverError,
    DecisionExpiredError,
    LedgerError,
    NotClaimableError,
    NotYoursError,
)
from serving.ledger.kill_switch import Control, Scope, check_not_stopped, read_controls
from serving.ledger.ledger import Outcome, outcomes_in
from serving.ledger.quiet_hours import check_not_quiet
from serving.ledger.ranked_actions import list_of, row_of_action
from serving.ledger.reported_outcomes import (
    NewOutcome,
    asked_at,
    decision_row,
    lower_after_harm,
    store_outcome,
)
from serving.ledger.snoozes import check_not_snoozed, read_snoozes

__all__ = ["AccountNow", "Claim", "Claims", "RecheckRules"]

NOTHING_TO_DO = "do_nothing"


@dataclass(frozen=True, kw_only=True)
class AccountNow:
    """What the ledger holds about an account in the transaction that writes a claim.

    ``under_way`` are the claims on other actions of the same list.
    """

    outcomes: tuple[Outcome, ...]
    put_off: tuple[Snooze, ...] | None  # None: nobody said anything about it
    under_way: tuple[Claim, ...]


RecheckRules = Callable[[AccountNow], LedgerError | None]
"""Ask the rules about an action again; the refusal, if one holds it back."""


class Claims:
    """The claims of one workspace."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    def claim(
        self,
        decision_id: str,
        *,
        by: str,
        lease: timedelta,
        key: str,
        now: datetime,
        action: str | None = None,
        held_back: RecheckRules | None = None,
    ) -> tuple[Claim, bool]:
        """Take a decision to carry it out; answers the claim, and whether it is new.

        It is the decision's own action that is claimed, or another ``action`` of its list, which
        then is a decision of its own (``serving.ledger.ranked_actions``). ``held_back`` asks
        whether the rules hold it back by now. It is asked in the transaction that writes the claim,
        so of two claims at the same moment the second is judged beside the first.

        Raises:
            UnknownDecisionError: no such decision.
            KeyReusedError: the key came before with another claim.
            StoppedError, NotClaimableError: it may not go ahead, or waits for a person.
            DecisionExpiredError: it is too old, or the account has been acted on since.
            AlreadyClaimedError, CapacityUsedError, QuietHoursError: not now; ``retry_after`` says
                when to try again.
        """
        digest = digest_of(
            "claim", decision_id, by, lease.total_seconds(), *([] if action is None else [action])
        )
        with self._database.writing() as connection:
            known = known_record(connection, key, digest)
            if known is not None:
                return claim_at(connection, known.claim_id, now), False
            decided = row_of_action(connection, decision_row(connection, decision_id), action)
            at = moment_of_claims(connection, decided.account_id, max(now, asked_at(decided)))
            controls = read_controls(connection)
            scope = scope_of(decided)
            check_not_stopped(controls, scope)
            if decided.action == NOTHING_TO_DO:
                raise NotClaimableError(
                    "This decision is to do nothing; there is nothing to claim."
                )
            under_way = _check_free(connection, decided, at)
            check_level_of(connection, controls, decided, at)
            check_not_snoozed(connection, decided, at)
            check_not_quiet(decided, at)
            refusal = held_back and held_back(_account_now(connection, decided, under_way))
            if refusal:
                raise refusal
            _check_capacity(connection, controls, scope, at)
            claim_id = str(
                uuid.uuid5(uuid.NAMESPACE_URL, f"keepwell:{decided.decision_id}:claim:{key}")
            )
            add_record(
                connection,
                decided,
                "claimed",
                claim_id=claim_id,
                at=at,
                lease_until=at + lease,
                by=by,
                key=key,
                digest=digest,
            )
            return claim_at(connection, claim_id, now), True

    def heartbeat(
        self, claim_id: str, *, by: str, lease: timedelta, key: str | None, now: datetime
    ) -> tuple[Claim, bool]:
        """Prolong a lease from now on.

        Raises:
            UnknownClaimError, NotYoursError, KeyReusedError: as they say.
            ClaimOverError: it was completed or failed, or has lapsed.
            StoppedError, NotClaimableError: somebody stopped or rejected it meanwhile.
        """

        def prolong(held: HeldClaim) -> None:
            if held.claim.state == "lapsed":
                raise ClaimOverError("The lease is over; claim the decision again.")
            controls = read_controls(held.connection)
            check_not_stopped(controls, scope_of(held.decided))
            check_level_of(held.connection, controls, held.decided, held.at)
            held.add("heartbeat", lease_until=max(held.at + lease, held.claim.lease_until))

        return self._once(
            ("heartbeat", claim_id, by, lease.total_seconds()),
            prolong,
            claim_id=claim_id,
            by=by,
            key=key,
            now=now,
        )

    def complete(
        self,
        claim_id: str,
        *,
        by: str,
        key: str,
        now: datetime,
        as_of: datetime | None = None,
        occurred_at: datetime | None = None,
    ) -> tuple[Claim, bool]:
        """Say that it was done: the claim ends, and the decision is executed, in one commit.

        ``as_of`` is that moment on the time of the data, where it is another: the timeline goes by
        it. A lease that has lapsed does not undo what was done: it is taken as long as nobody else
        claimed the decision since.

        Raises:
            UnknownClaimError, NotYoursError, KeyReusedError: as they say.
            ClaimOverError: it ended before, or somebody else has claimed since.
        """

        def end(held: HeldClaim) -> None:
            store_outcome(
                held.connection,
                held.decided,
                NewOutcome(kind="executed", by=by, occurred_at=occurred_at),
                outcome_id=held.add("completed", lease_until=held.at),
                received_at=as_of or held.at,
                heard_at=held.at,
            )

        return self._once(
            ("complete", claim_id, by, occurred_at), end, claim_id=claim_id, by=by, key=key, now=now
        )

    def fail(
        self, claim_id: str, *, by: str, reason: str, key: str, now: datetime
    ) -> tuple[Claim, bool]:
        """Say that it was not done, and why: the decision is free again.

        Raises:
            UnknownClaimError, NotYoursError, KeyReusedError: as they say.
            ClaimOverError: it ended before, or somebody else has claimed since.
        """

        def end(held: HeldClaim) -> None:
            held.add("failed", lease_until=held.at, reason=reason)
            lower_after_harm(held.connection, held.decided, at=held.at)

        return self._once(
            ("fail", claim_id, by, reason), end, claim_id=claim_id, by=by, key=key, now=now
        )

    def get(self, claim_id: str, *, now: datetime) -> Claim:
        """A claim as it stands now.

        Raises:
            UnknownClaimError: no such claim.
        """
        with self._database.reading() as connection:
            return claim_at(connection, claim_id, now)

    def of_decision(self, decision_id: str, *, now: datetime) -> tuple[Claim, ...]:
        """The claims on a decision as they stand now, in the order in which they were made."""
        with self._database.reading() as connection:
            records = read_records(connection, CLAIM_RECORDS.c.decision_id == decision_id)
            if not records:
                return ()
            return claims_at(records, moment_of_claims(connection, records[0].account_id, now))

    def _once(
        self,
        parts: Sequence[object],
        step: Callable[[HeldClaim], None],
        *,
        claim_id: str,
        by: str,
        key: str | None,
        now: datetime,
    ) -> tuple[Claim, bool]:
        """Take a step with a claim that is held, once per key; the claim, and whether it is new."""
        digest = digest_of(*parts)
        with self._database.writing() as connection:
            known = known_record(connection, key, digest)
            if known is None:
                claim, decided, at = _held(connection, claim_id, by, now)
                step(
                    HeldClaim(
                        connection=connection,
                        claim=claim,
                        decided=decided,
                        at=at,
                        key=key,
                        digest=digest,
                    )
                )
            return claim_at(connection, claim_id, now), known is None


@dataclass(frozen=True, kw_only=True)
class HeldClaim:
    """A claim in the hands of who holds it, within the transaction of their next record."""

    connection: Connection
    claim: Claim
    decided: sa.Row[Any]
    at: datetime
    key: str | None
    digest: str

    def add(self, kind: Step, *, lease_until: datetime, reason: str | None = None) -> str:
        """Write the next record of the claim; its id."""
        return add_record(
            self.connection,
            self.decided,
            kind,
            claim_id=self.claim.claim_id,
            at=self.at,
            lease_until=lease_until,
            by=self.claim.by,
            key=self.key,
            digest=self.digest,
            reason=reason,
        )


def _account_now(
    connection: Connection, decided: sa.Row[Any], under_way: tuple[Claim, ...]
) -> AccountNow:
    account = decided.account_id
    return AccountNow(
        outcomes=outcomes_in(connection, [account]).get(account, ()),
        put_off=read_snoozes(connection, [account]).get(account),
        under_way=under_way,
    )


def scope_of(decided: sa.Row[Any]) -> Scope:
    """The scope of a decision, as a stop or a capacity names it."""
    return Scope(action=decided.action, segment=decided.segment, csm=decided.csm)


def _held(
    connection: Connection, claim_id: str, by: str, now: datetime
) -> tuple[Claim, sa.Row[Any], datetime]:
    """A claim that its holder may still end, its decision, and the moment of the next record."""
    found = claim_at(connection, claim_id, now)
    if found.by != by:
        raise NotYoursError("Somebody else holds this claim.")
    at = moment_of_claims(connection, found.account_id, now)
    claims = claims_at(
        read_records(connection, CLAIM_RECORDS.c.decision_id == found.decision_id), at
    )
    claim = next(one for one in claims if one.claim_id == claim_id)
    if claim.state in ("completed", "failed"):
        raise ClaimOverError(f"This claim {claim.state} at {claim.ended_at:%Y-%m-%d %H:%M:%S} UTC.")
    if claims[-1].claim_id != claim_id:
        raise ClaimOverError(
            "The lease was over and somebody else has claimed the decision since. "
            "If you carried it out, tell a person: it may be done twice."
        )
    return claim, decision_row(connection, found.decision_id), at


def _check_free(connection: Connection, decided: sa.Row[Any], at: datetime) -> tuple[Claim, ...]:
    """See that nobody has done this, does it, or did something else to the account since.

    Answers the claims on other actions of the same list that are under way.
    """
    done = connection.execute(
        sa.select(OUTCOMES.c.kind, OUTCOMES.c.received_at, OUTCOMES.c.heard_at).where(
            OUTCOMES.c.decision_id == decided.decision_id,
            OUTCOMES.c.kind.in_(("executed", "declined")),
        )
    ).first()
    if done is not None:
        when = done.heard_at or done.received_at
        raise NotClaimableError(f"This decision was {done.kind} on {when[:10]}.")
    if decided.valid_until is None or as_moment(decided.valid_until) <= at:
        until = (
            "older than claims"
            if decided.valid_until is None
            else (f"valid until {as_moment(decided.valid_until):%Y-%m-%d %H:%M} UTC")
        )
        raise DecisionExpiredError(f"This decision is {until}.")
    claims = claims_at(
        read_records(connection, CLAIM_RECORDS.c.account_id == decided.account_id), at
    )
    beside = _of_the_same_list(connection, decided)
    for claim in claims:
        if claim.state == "claimed" and claim.decision_id not in beside:
            seconds = max(1, round((claim.lease_until - at).total_seconds()))
            what = (
                "This decision"
                if claim.decision_id == decided.decision_id
                else "Another decision about this account"
            )
            raise AlreadyClaimedError(
                f"{what} is claimed until {claim.lease_until:%Y-%m-%d %H:%M:%S} UTC.",
                retry_after=seconds,
            )
    # who asked at a moment of the clock may not know of what was heard from then on
    since = (
        OUTCOMES.c.received_at >= decided.decided_at
        if decided.asked_at is None
        else OUTCOMES.c.heard_at >= decided.asked_at
    )
    others = connection.execute(
        sa.select(OUTCOMES.c.occurred_at, DECISIONS.c.action)
        .join(DECISIONS, DECISIONS.c.decision_id == OUTCOMES.c.decision_id)
        .where(
            DECISIONS.c.account_id == decided.account_id,
            OUTCOMES.c.kind == "executed",
            OUTCOMES.c.decision_id.not_in(beside),
            since,
        )
    ).first()
    if others is not None:
        raise DecisionExpiredError(
            f"Since this was decided, {others.action} was carried out for "
            f"the account, of which the decision did not know."
        )
    return tuple(claim for claim in claims if claim.state == "claimed")


def _of_the_same_list(connection: Connection, decided: sa.Row[Any]) -> frozenset[str]:
    """The other decisions about actions of the same list."""
    first = list_of(decided)
    ids = connection.scalars(
        sa.select(DECISIONS.c.decision_id).where(
            sa.or_(DECISIONS.c.decision_id == first, DECISIONS.c.part_of == first)
        )
    )
    return frozenset(ids) - {decided.decision_id}


def _check_capacity(
    connection: Connection, controls: Sequence[Control], scope: Scope, at: datetime
) -> None:
    """See that fewer are claimed or done this week than may be; lapsed and failed ones are not."""
    for of, most in capacities(controls, scope):
        named = [
            column == value
            for column, value in (
                (DECISIONS.c.action, of.action),
                (DECISIONS.c.segment, of.segment),
                (DECISIONS.c.csm, of.csm),
            )
            if value is not None
        ]
        week = (
            sa.select(CLAIM_RECORDS.c.claim_id)
            .join(DECISIONS, DECISIONS.c.decision_id == CLAIM_RECORDS.c.decision_id)
            .where(
                sa.or_(
                    CLAIM_RECORDS.c.at > as_text(at - CAPACITY_WEEK),
                    CLAIM_RECORDS.c.lease_until > as_text(at),
                ),
                *named,
            )
        )
        claims = claims_at(read_records(connection, CLAIM_RECORDS.c.claim_id.in_(week)), at)
        used = [c for c in claims if c.state in ("claimed", "completed")]
        if len(used) >= most:
            free = (
                min(
                    (c.lease_until if c.state == "claimed" else (c.ended_at or at) + CAPACITY_WEEK)
                    for c in used
                )
                if used
                else at + CAPACITY_WEEK
            )
            seconds = max(1, round((free - at).total_seconds()))
            raise CapacityUsedError(
                f"{most} a week may be claimed for {of.words}, and all of them are.",
                retry_after=seconds,
            )
