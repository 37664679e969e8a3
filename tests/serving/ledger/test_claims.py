"""Who claims does it, once, in time; on both databases."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.ledger.approvals import Approvals
from serving.ledger.claims import Claims
from serving.ledger.errors import (
    AlreadyClaimedError,
    CapacityUsedError,
    ClaimOverError,
    ContradictingOutcomeError,
    DecisionExpiredError,
    KeyReusedError,
    LedgerError,
    NotClaimableError,
    NotYoursError,
    OutcomeBeforeDecisionError,
    SelfApprovalError,
    StoppedError,
    UnknownClaimError,
    UnknownDecisionError,
)
from serving.ledger.kill_switch import Controls, Scope
from serving.ledger.ledger import Decision, Ledger, NewOutcome

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LEASE = 10 * MINUTE


def decision(
    number: int = 1,
    *,
    account: str = "acct-1",
    action: str = "success_call",
    autonomy: int | None = 4,
    segment: str | None = "small",
    decided_at: datetime = NOW,
    asked_at: datetime | None = None,
) -> Decision:
    return Decision(
        decision_id=f"d-{number}",
        account_id=account,
        decided_at=decided_at,
        as_of=decided_at,
        action=action,
        expected_value=1.5,
        currency="USD",
        eligible=(),
        withheld=(),
        versions={},
        input_digest="ab",
        valid_until=(asked_at or decided_at) + 7 * DAY,
        segment=segment,
        csm="ann",
        autonomy=autonomy,
        proposed_by="planner",
        asked_at=asked_at,
    )


class World:
    """A ledger in which everything goes ahead by itself, and what is kept beside it."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.claims = Claims(ledger.database)
        self.approvals = Approvals(ledger.database)
        self.controls = Controls(ledger.database)
        self.level(4)

    def level(self, value: int, **scope: str) -> None:
        self.controls.record(
            "level", Scope(**scope), by="boss", reason="trusted", at=NOW, value=value
        )

    def decide(self, *decisions: Decision) -> tuple[Decision, ...]:
        return self.ledger.append_decisions(decisions)

    def claim(
        self,
        number: int = 1,
        *,
        by: str = "mailer",
        key: str | None = None,
        at: datetime = NOW,
        lease: timedelta = LEASE,
    ) -> str:
        claim, _ = self.claims.claim(
            f"d-{number}", by=by, lease=lease, key=key or f"claim-{number}-{by}-{at}", now=at
        )
        return claim.claim_id


@pytest.fixture
def world(ledger_place: Path | str) -> Iterator[World]:
    ledger = Ledger(ledger_place)
    world = World(ledger)
    world.decide(decision())
    yield world
    assert ledger.verify().finding is None
    ledger.close()


def test_a_claim_is_carried_out_and_the_decision_is_executed(world: World) -> None:
    claim = world.claim()
    beaten, _ = world.claims.heartbeat(
        claim, by="mailer", lease=LEASE, key="h", now=NOW + 5 * MINUTE
    )
    assert beaten.lease_until == NOW + 15 * MINUTE
    done, is_new = world.claims.complete(claim, by="mailer", key="c", now=NOW + 6 * MINUTE)
    assert (done.state, done.ended_at, is_new) == ("completed", NOW + 6 * MINUTE, True)
    [outcome] = world.ledger.outcomes_of(["acct-1"])["acct-1"]
    assert (outcome.kind, outcome.by, outcome.clock) == ("executed", "mailer", "quick")
    assert world.ledger.undelivered()[1] == (outcome,)
    assert world.claims.of_decision("d-1", now=NOW + DAY) == (done,)


def test_one_at_a_time(world: World) -> None:
    world.decide(decision(2))
    world.claim()
    with pytest.raises(AlreadyClaimedError, match="This decision is claimed until") as caught:
        world.claim(by="other", at=NOW + 4 * MINUTE)
    assert caught.value.retry_after == 360
    with pytest.raises(AlreadyClaimedError, match="Another decision about this account"):
        world.claim(2, by="other")


def test_many_at_once_are_one_claim(world: World) -> None:
    got: list[str] = []
    refused: list[LedgerError] = []

    def claim(number: int) -> None:
        try:
            got.append(world.claim(by=f"engine-{number}"))
        except LedgerError as error:
            refused.append(error)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 11)


def test_the_same_key_is_the_same_claim(world: World) -> None:
    first = world.claims.claim("d-1", by="mailer", lease=LEASE, key="k", now=NOW)
    again = world.claims.claim("d-1", by="mailer", lease=LEASE, key="k", now=NOW + MINUTE)
    assert first[0] == again[0]
    assert (first[1], again[1]) == (True, False)
    with pytest.raises(KeyReusedError, match="another request about a claim"):
        world.claims.claim("d-1", by="mailer", lease=HOUR, key="k", now=NOW)
    for number in range(2):
        beaten = world.claims.heartbeat(
            first[0].claim_id, by="mailer", lease=HOUR, key="h", now=NOW + number * MINUTE
        )
        assert beaten[0].lease_until == NOW + HOUR
    done = [
        world.claims.complete(first[0].claim_id, by="mailer", key="c", now=NOW + MINUTE)
        for _ in range(2)
    ]
    assert [is_new for _, is_new in done] == [True, False]
    assert len(world.ledger.outcomes_of(["acct-1"])["acct-1"]) == 1


def test_a_lease_that_lapses_lets_another_claim(world: World) -> None:
    first = world.claim()
    later = NOW + LEASE
    assert world.claims.get(first, now=later).state == "lapsed"
    second = world.claim(by="other", at=later)
    with pytest.raises(ClaimOverError, match="somebody else has claimed"):
        world.claims.complete(first, by="mailer", key="c", now=later)
    with pytest.raises(ClaimOverError, match="somebody else has claimed"):
        world.claims.heartbeat(first, by="mailer", lease=LEASE, key="h", now=later)
    world.claims.complete(second, by="other", key="c", now=later)
    assert len(world.ledger.outcomes_of(["acct-1"])["acct-1"]) == 1


def test_what_was_done_late_is_done_as_long_as_nobody_else_claimed(world: World) -> None:
    claim = world.claim()
    with pytest.raises(ClaimOverError, match="lease is over"):
        world.claims.heartbeat(claim, by="mailer", lease=LEASE, key="h", now=NOW + HOUR)
    done, _ = world.claims.complete(claim, by="mailer", key="c", now=NOW + HOUR)
    assert done.state == "completed"
    with pytest.raises(NotClaimableError, match="was executed on 2026-03-01"):
        world.claim(by="other", at=NOW + 2 * HOUR)


def test_a_claim_that_failed_is_over_and_lets_another_claim(world: World) -> None:
    claim = world.claim()
    failed, _ = world.claims.fail(claim, by="mailer", reason="bounced", key="f", now=NOW + MINUTE)
    assert (failed.state, failed.reason) == ("failed", "bounced")
    assert not world.claims.fail(claim, by="mailer", reason="bounced", key="f", now=NOW)[1]
    with pytest.raises(ClaimOverError, match="This claim failed at 2026-03-01 12:01:00"):
        world.claims.complete(claim, by="mailer", key="c", now=NOW + MINUTE)
    world.claim(by="other", at=NOW + MINUTE)


def test_a_claim_of_somebody_else_is_left_alone(world: World) -> None:
    claim = world.claim()
    for end in (
        lambda: world.claims.complete(claim, by="thief", key="c", now=NOW),
        lambda: world.claims.fail(claim, by="thief", reason="x", key="f", now=NOW),
        lambda: world.claims.heartbeat(claim, by="thief", lease=LEASE, key="h", now=NOW),
    ):
        with pytest.raises(NotYoursError, match="Somebody else holds"):
            end()
    with pytest.raises(NotYoursError, match="mailer's, who claimed it"):
        world.ledger.append_outcome(
            "d-1", NewOutcome(kind="executed"), key="o", received_at=NOW, reporter="thief"
        )
    world.ledger.append_outcome(
        "d-1",
        NewOutcome(kind="outcome", result="renewed"),
        key="o",
        received_at=NOW,
        reporter="crm",
    )


def test_what_is_not_there_is_named(world: World) -> None:
    with pytest.raises(UnknownDecisionError, match="No decision"):
        world.claim(9)
    with pytest.raises(UnknownClaimError, match="No claim"):
        world.claims.get("c-9", now=NOW)
    with pytest.raises(UnknownClaimError, match="No claim"):
        world.claims.complete("c-9", by="mailer", key="c", now=NOW)


def test_a_decision_past_its_time_is_refused(world: World) -> None:
    with pytest.raises(DecisionExpiredError, match="valid until 2026-03-08 12:00 UTC"):
        world.claim(at=NOW + 7 * DAY)
    with pytest.raises(DecisionExpiredError, match="before it was carried out"):
        world.ledger.append_outcome(
            "d-1", NewOutcome(kind="executed"), key="o", received_at=NOW + 8 * DAY
        )
    world.ledger.append_outcome(
        "d-1", NewOutcome(kind="outcome", result="left"), key="o", received_at=NOW + 80 * DAY
    )  # what came of it comes later


def test_a_decision_that_did_not_know_of_what_was_done_since_is_refused(world: World) -> None:
    world.decide(decision(2, action="send_guide"), decision(3, account="acct-2"))
    world.claims.complete(world.claim(2), by="mailer", key="c", now=NOW + MINUTE)
    with pytest.raises(DecisionExpiredError, match="Since this was decided, send_guide"):
        world.claim(1, at=NOW + HOUR)
    world.claim(3, at=NOW + HOUR)
    world.decide(decision(4, decided_at=NOW + 2 * HOUR))
    world.claim(4, at=NOW + 3 * HOUR)


def test_a_report_of_before_the_decision_is_refused(world: World) -> None:
    early = NewOutcome(kind="executed", occurred_at=NOW - MINUTE)
    with pytest.raises(OutcomeBeforeDecisionError, match="before the decision of 2026-03-01 12:00"):
        world.ledger.append_outcome("d-1", early, key="o", received_at=NOW)
    with pytest.raises(OutcomeBeforeDecisionError, match="2026-03-01 11:59:00 UTC"):
        world.claims.complete(
            world.claim(), by="mailer", key="c", now=NOW, occurred_at=NOW - MINUTE
        )
    assert world.ledger.counts() == (1, 0)


def test_doing_nothing_and_old_decisions_can_not_be_claimed(world: World) -> None:
    world.decide(decision(2, action="do_nothing"))
    with pytest.raises(NotClaimableError, match="nothing to claim"):
        world.claim(2)


class TestAClockThatRunsBackwards:
    def test_lets_nothing_lapse_early_and_loses_no_report(self, world: World) -> None:
        claim = world.claim()
        before = NOW - 3 * DAY
        with pytest.raises(AlreadyClaimedError, match="is claimed until"):
            world.claim(by="other", at=before)
        beaten, _ = world.claims.heartbeat(claim, by="mailer", lease=LEASE, key="h", now=before)
        assert beaten.lease_until == NOW + LEASE
        done, _ = world.claims.complete(claim, by="mailer", key="c", now=before)
        assert (done.state, done.ended_at) == ("completed", NOW)
        [outcome] = world.ledger.outcomes_of(["acct-1"])["acct-1"]
        assert outcome.occurred_at == NOW

    def test_gives_nothing_back_that_lapsed_to_another(self, world: World) -> None:
        first = world.claim()
        second = world.claim(by="other", at=NOW + LEASE)
        with pytest.raises(ClaimOverError, match="somebody else has claimed"):
            world.claims.complete(first, by="mailer", key="c", now=NOW + MINUTE)
        assert world.claims.get(second, now=NOW).claimed_at == NOW + LEASE

    def test_a_report_is_never_before_the_decision(self, world: World) -> None:
        outcome, _ = world.ledger.append_outcome(
            "d-1", NewOutcome(kind="executed"), key="o", received_at=NOW - DAY
        )
        assert (outcome.occurred_at, outcome.received_at) == (NOW, NOW)

    def test_brings_back_no_lease_that_has_lapsed(self, world: World) -> None:
        world.decide(decision(2, account="acct-2"))
        first = world.claim()
        world.claim(2, by="other", at=NOW + LEASE)  # by then it had lapsed
        earlier = NOW + MINUTE
        assert world.claims.get(first, now=earlier).state == "lapsed"
        assert world.claims.of_decision("d-1", now=earlier)[0].state == "lapsed"
        with pytest.raises(ClaimOverError, match="lease is over"):
            world.claims.heartbeat(first, by="mailer", lease=LEASE, key="h", now=earlier)
        second = world.claim(by="other", at=earlier)
        assert world.claims.get(second, now=earlier).claimed_at == NOW + LEASE

    @pytest.mark.parametrize("kind", ["decision", "approval", "control", "outcome"])
    def test_is_noticed_by_whatever_was_recorded_last(self, world: World, kind: str) -> None:
        first = world.claim()
        at = NOW + HOUR
        world.decide(decision(2, account="acct-2", asked_at=at if kind == "decision" else NOW))
        if kind == "approval":
            world.approvals.record("d-2", "approved", by="ann", reason=None, key="a", now=at)
        elif kind == "control":
            world.controls.record("level", Scope(), by="boss", reason="x", at=at, value=4)
        elif kind == "outcome":
            world.ledger.append_outcome(
                "d-2", NewOutcome(kind="executed"), key="o", received_at=NOW, heard_at=at
            )
        assert world.claims.get(first, now=NOW + MINUTE).state == "lapsed"

    def test_that_was_put_right_stops_nobody_else(self, world: World) -> None:
        wrong = NOW + 400 * DAY
        world.decide(decision(2, account="acct-2", decided_at=wrong))
        world.claim(2, at=wrong)
        first = world.claim()
        assert world.claims.get(first, now=NOW + MINUTE).state == "claimed"
        assert world.claims.get(first, now=NOW + LEASE).state == "lapsed"
        world.claim(by="other", at=NOW + LEASE)

    def test_that_was_put_right_gives_no_account_to_two(self, world: World) -> None:
        wrong = NOW + 400 * DAY
        world.decide(decision(2, decided_at=wrong), decision(3, decided_at=wrong))
        first = world.claim(2, at=wrong)
        second = world.claim(3, by="other", at=wrong + LEASE)
        with pytest.raises(ClaimOverError, match="lease is over"):
            world.claims.heartbeat(first, by="mailer", lease=LEASE, key="h", now=NOW)
        assert world.claims.get(first, now=NOW).state == "lapsed"
        assert world.claims.get(second, now=NOW).state == "claimed"


YEARS_AGO = NOW - 4 * 365 * DAY


class TestWhereTheDataStandStill:
    @pytest.fixture(autouse=True)
    def old(self, world: World) -> None:
        world.decide(decision(2, account="acct-2", decided_at=YEARS_AGO, asked_at=NOW))

    def test_a_lease_ends_by_the_clock(self, world: World) -> None:
        first = world.claim(2, at=NOW + MINUTE)
        with pytest.raises(AlreadyClaimedError, match="claimed until 2026-03-01 12:11:00"):
            world.claim(2, by="other", at=NOW + LEASE)
        world.claim(2, by="other", at=NOW + MINUTE + LEASE)
        assert world.claims.get(first, now=NOW + MINUTE + LEASE).state == "lapsed"

    def test_what_was_done_is_on_the_time_of_the_data(self, world: World) -> None:
        done, _ = world.claims.complete(
            world.claim(2), by="mailer", key="c", now=NOW + MINUTE, as_of=YEARS_AGO
        )
        assert done.ended_at == NOW + MINUTE
        [outcome] = world.ledger.outcomes_of(["acct-2"])["acct-2"]
        assert (outcome.occurred_at, outcome.received_at) == (YEARS_AGO, YEARS_AGO)
        with pytest.raises(NotClaimableError, match="was executed on 2026-03-01"):
            world.claim(2, by="other", at=NOW + HOUR)

    def test_a_decision_asked_for_afterwards_knows_of_what_was_done(self, world: World) -> None:
        world.decide(decision(3, account="acct-2", decided_at=YEARS_AGO, asked_at=NOW))
        world.claims.complete(
            world.claim(2), by="mailer", key="c", now=NOW + MINUTE, as_of=YEARS_AGO
        )
        with pytest.raises(DecisionExpiredError, match="of which the decision did not know"):
            world.claim(3, at=NOW + HOUR)
        world.decide(decision(4, account="acct-2", decided_at=YEARS_AGO, asked_at=NOW + HOUR))
        world.claim(4, at=NOW + HOUR)

    def test_a_veto_window_passes_by_the_clock(self, world: World) -> None:
        world.level(3)
        with pytest.raises(NotClaimableError, match="until 2026-03-01 16:00 UTC"):
            world.claim(2, at=NOW + 3 * HOUR)
        world.claim(2, at=NOW + 4 * HOUR)

    def test_a_decision_ends_by_the_clock(self, world: World) -> None:
        with pytest.raises(DecisionExpiredError, match="valid until 2026-03-08 12:00 UTC"):
            world.claim(2, at=NOW + 7 * DAY)
        with pytest.raises(DecisionExpiredError, match="no longer valid"):
            world.approvals.record(
                "d-2", "approved", by="ann", reason=None, key="a", now=NOW + 7 * DAY
            )

    def test_a_report_is_held_to_the_time_that_it_names(self, world: World) -> None:
        def report(key: str, heard_at: datetime, occurred_at: datetime | None) -> None:
            world.ledger.append_outcome(
                "d-2",
                NewOutcome(kind="executed", occurred_at=occurred_at),
                key=key,
                received_at=YEARS_AGO,
                heard_at=heard_at,
            )

        for heard_at, occurred_at in ((NOW + 8 * DAY, None), (NOW, YEARS_AGO + 8 * DAY)):
            with pytest.raises(DecisionExpiredError, match="2026-03-08 12:00 UTC, before it was"):
                report("late", heard_at, occurred_at)
        report("in time", NOW + 8 * DAY, YEARS_AGO + 6 * DAY)

    def test_who_holds_it_is_known_by_the_clock(self, world: World) -> None:
        world.claim(2)
        for heard_at in (NOW + MINUTE, NOW + LEASE):
            new = NewOutcome(kind="declined", reason="x")
            if heard_at < NOW + LEASE:
                with pytest.raises(NotYoursError, match="mailer's, who claimed it"):
                    world.ledger.append_outcome(
                        "d-2",
                        new,
                        key="o",
                        received_at=YEARS_AGO,
                        heard_at=heard_at,
                        reporter="ann",
                    )
            else:
                world.ledger.append_outcome(
                    "d-2", new, key="o", received_at=YEARS_AGO, heard_at=heard_at, reporter="ann"
                )


class TestCapacity:
    def test_returns_when_a_lease_lapses_or_a_claim_fails(self, world: World) -> None:
        world.decide(*(decision(n, account=f"acct-{n}") for n in range(2, 7)))
        world.controls.record(
            "capacity",
            Scope(action="success_call"),
            by="boss",
            at=NOW,
            reason="two callers",
            value=2,
        )
        world.claim(1)
        second = world.claim(2)
        with pytest.raises(
            CapacityUsedError, match="2 a week may be claimed for the action success_call"
        ) as caught:
            world.claim(3, at=NOW + MINUTE)
        assert caught.value.retry_after == 540
        world.claims.fail(second, by="mailer", reason="no line", key="f", now=NOW + MINUTE)
        third = world.claim(3, at=NOW + MINUTE)
        with pytest.raises(CapacityUsedError, match="all of them are"):
            world.claim(4, at=NOW + 2 * MINUTE)
        world.claims.complete(third, by="mailer", key="c", now=NOW + 2 * MINUTE)
        world.claim(4, at=NOW + LEASE)  # the first one has lapsed
        with pytest.raises(CapacityUsedError, match="all of them are"):
            world.claim(5, at=NOW + LEASE)

    def test_comes_back_a_week_later(self, world: World) -> None:
        world.controls.record("capacity", Scope(), by="boss", at=NOW, reason="one", value=1)
        world.claims.complete(world.claim(), by="mailer", key="c", now=NOW)
        later = NOW + 6 * DAY
        world.decide(decision(2, account="acct-2", decided_at=later))
        with pytest.raises(CapacityUsedError, match="1 a week may be claimed for everything"):
            world.claim(2, at=later)
        world.claim(2, at=NOW + 7 * DAY)

    def test_of_nothing_lets_nothing_be_claimed(self, world: World) -> None:
        world.controls.record(
            "capacity", Scope(segment="small"), by="boss", at=NOW, reason="none", value=0
        )
        with pytest.raises(CapacityUsedError, match="0 a week"):
            world.claim()


class TestLevels:
    @pytest.mark.parametrize(
        ("level", "words"),
        [
            (0, "is logged only"),
            (1, "is for a person to do here"),
            (2, "nobody has yet"),
            (3, "until 2026-03-01 16:00 UTC"),
        ],
    )
    def test_below_four_nothing_goes_ahead_at_once(
        self, world: World, level: int, words: str
    ) -> None:
        world.level(level)
        with pytest.raises(NotClaimableError, match=words):
            world.claim()

    def test_a_level_that_is_not_the_newest_that_was_set_says_where_it_comes_from(
        self, world: World
    ) -> None:
        world.level(3, action="success_call")
        world.level(4)
        with pytest.raises(
            NotClaimableError, match=r"level 3, which is set for the action success_call\)"
        ):
            world.claim()
        bounded = replace(
            decision(2, account="other"),
            eligible=({"action_id": "success_call", "autonomy": 3, "expected_value": 9.0},),
        )
        world.ledger.append_decisions([bounded])
        world.level(4, action="success_call")
        with pytest.raises(
            NotClaimableError, match=r"level 3; 4 is set, and this action has 3 at most\)"
        ):
            world.claim(2)

    def test_an_approval_by_another_lets_it_go_ahead(self, world: World) -> None:
        world.level(2)
        with pytest.raises(SelfApprovalError, match="planner asked for this decision"):
            world.approvals.record("d-1", "approved", by="planner", reason=None, key="a", now=NOW)
        given = world.approvals.record("d-1", "approved", by="ann", reason=None, key="a", now=NOW)
        again = world.approvals.record("d-1", "approved", by="ann", reason=None, key="a", now=NOW)
        assert given[0] == again[0]
        assert (given[1], again[1]) == (True, False)
        with pytest.raises(KeyReusedError, match="another verdict"):
            world.approvals.record("d-1", "rejected", by="ann", reason=None, key="a", now=NOW)
        with pytest.raises(ContradictingOutcomeError, match="was approved by ann on 2026-03-01"):
            world.approvals.record("d-1", "rejected", by="bob", reason=None, key="b", now=NOW)
        world.claim()
        assert [a.by for a in world.approvals.of_decision("d-1")] == ["ann"]

    def test_a_veto_holds_after_its_window(self, world: World) -> None:
        world.level(3)
        world.approvals.record("d-1", "rejected", by="ann", reason="on leave", key="v", now=NOW)
        with pytest.raises(NotClaimableError, match="ann rejected this decision"):
            world.claim(at=NOW + 5 * HOUR)

    def test_without_a_veto_it_goes_ahead_after_the_window(self, world: World) -> None:
        world.level(3)
        world.claim(at=NOW + 4 * HOUR)

    def test_a_rejection_ends_the_work_on_it(self, world: World) -> None:
        claim = world.claim()
        world.approvals.record("d-1", "rejected", by="ann", reason="no", key="v", now=NOW)
        with pytest.raises(NotClaimableError, match="ann rejected"):
            world.claims.heartbeat(claim, by="mailer", lease=LEASE, key="h", now=NOW)
        world.claims.complete(claim, by="mailer", key="c", now=NOW)  # too late: it was done

    def test_what_was_done_can_not_be_rejected(self, world: World) -> None:
        world.claims.complete(world.claim(), by="mailer", key="c", now=NOW)
        with pytest.raises(ContradictingOutcomeError, match="carried out before it was rejected"):
            world.approvals.record("d-1", "rejected", by="ann", reason=None, key="v", now=NOW)

    def test_an_approval_comes_in_time_or_not_at_all(self, world: World) -> None:
        with pytest.raises(DecisionExpiredError, match="no longer valid"):
            world.approvals.record(
                "d-1", "approved", by="ann", reason=None, key="a", now=NOW + 8 * DAY
            )

    def test_the_lower_of_then_and_now_holds(self, world: World) -> None:
        world.level(1, segment="small")
        [then] = world.decide(decision(2, account="acct-2"))
        assert then.autonomy == 1
        world.level(4, segment="small")
        with pytest.raises(NotClaimableError, match=r"level 1"):
            world.claim(2)
        world.claim(1)


class TestTheKillSwitch:
    @pytest.mark.parametrize(
        "scope",
        [
            Scope(),
            Scope(action="success_call"),
            Scope(segment="small"),
            Scope(csm="ann"),
            Scope(action="success_call", segment="small"),
        ],
        ids=lambda scope: scope.words,
    )
    def test_lets_nothing_of_its_scope_go_on(self, world: World, scope: Scope) -> None:
        claim = world.claim()
        world.decide(decision(3, account="acct-3"))
        world.controls.record("stop", scope, by="boss", reason="an outage", at=NOW)
        with pytest.raises(
            StoppedError, match=f"boss stopped {scope.words} on 2026-03-01 12:00 UTC: an outage"
        ):
            world.claim(3)
        with pytest.raises(StoppedError, match="an outage"):
            world.claims.heartbeat(claim, by="mailer", lease=LEASE, key="h", now=NOW)
        with pytest.raises(StoppedError, match="an outage"):
            world.approvals.record("d-3", "approved", by="ann", reason=None, key="a", now=NOW)
        [logged] = world.decide(decision(2, account="acct-2"))
        assert logged.autonomy == 0
        world.controls.record("resume", scope, by="boss", reason="over", at=NOW)
        world.claim(3)
        with pytest.raises(NotClaimableError, match="logged only"):
            world.claim(2)

    @pytest.mark.parametrize(
        "scope",
        [
            Scope(action="other"),
            Scope(segment="large"),
            Scope(csm="bob"),
            Scope(action="success_call", segment="large"),
        ],
        ids=lambda scope: scope.words,
    )
    def test_leaves_what_it_does_not_name(self, world: World, scope: Scope) -> None:
        world.controls.record("stop", scope, by="boss", reason="an outage", at=NOW)
        world.claim()

    def test_is_taken_back_only_as_it_was_given(self, world: World) -> None:
        world.controls.record("stop", Scope(), by="boss", reason="an outage", at=NOW)
        world.controls.record("resume", Scope(segment="small"), by="boss", reason="?", at=NOW)
        with pytest.raises(StoppedError, match="stopped everything"):
            world.claim()

    def test_nothing_is_claimed_after_it_whoever_is_at_work(self, world: World) -> None:
        world.decide(*(decision(n, account=f"acct-{n}") for n in range(2, 60)))
        stopped = threading.Event()

        def claim_all(engine: int) -> None:
            numbers = list(range(2, 60))
            random.Random(engine).shuffle(numbers)
            for number in numbers:
                try:
                    world.claim(number, by=f"engine-{engine}")
                except LedgerError:
                    continue

        threads = [threading.Thread(target=claim_all, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        while not world.claims.of_decision("d-5", now=NOW) and any(t.is_alive() for t in threads):
            stopped.wait(0.005)
        world.controls.record("stop", Scope(), by="boss", reason="an outage", at=NOW)
        with world.ledger.database.reading() as connection:
            claimed = count(connection)
        for thread in threads:
            thread.join()
        with world.ledger.database.reading() as connection:
            assert count(connection) == claimed


def count(connection: object) -> int:
    import sqlalchemy as sa

    from serving.ledger.database.tables import CLAIM_RECORDS

    assert isinstance(connection, sa.Connection)
    return connection.scalar(sa.select(sa.func.count()).select_from(CLAIM_RECORDS)) or 0


class TestAGuardrail:
    def test_lowers_the_level_by_itself(self, world: World) -> None:
        world.decide(*(decision(n, account=f"acct-{n}") for n in range(2, 8)))
        for number in range(2, 5):
            claim = world.claim(number)
            world.claims.fail(claim, by="mailer", reason="bounced", key=f"f{number}", now=NOW)
        with pytest.raises(NotClaimableError, match=r"for a person to do.*level 1"):
            world.claim(5)
        [lowered] = [c for c in world.controls.all() if c.by == "keepwell"]
        assert lowered.scope == Scope(action="success_call", segment="small")
        assert lowered.reason == (
            "A guardrail was broken: 3 of the last 3 reports say failed or harmed; at most 20% may."
        )
        world.level(4, action="success_call", segment="small")  # only a person raises it again
        world.claim(5)

    def test_counts_what_accounts_complain_of(self, world: World) -> None:
        world.decide(*(decision(n, account=f"acct-{n}") for n in range(2, 8)))
        for number in range(2, 5):
            world.ledger.append_outcome(
                f"d-{number}",
                NewOutcome(kind="outcome", result="complained"),
                key=f"o{number}",
                received_at=NOW,
            )
        assert [c.value for c in world.controls.all()] == [4, 1]

    def test_leaves_other_segments_and_what_mostly_works(self, world: World) -> None:
        world.decide(
            *(
                decision(n, account=f"acct-{n}", segment="large" if n % 2 else "small")
                for n in range(2, 40)
            )
        )
        for number in range(2, 32):
            world.claims.complete(world.claim(number), by="mailer", key=f"c{number}", now=NOW)
        for number in range(32, 37):
            world.claims.fail(
                world.claim(number), by="mailer", reason="bounced", key=f"f{number}", now=NOW
            )
        assert [c.value for c in world.controls.all()] == [4]
