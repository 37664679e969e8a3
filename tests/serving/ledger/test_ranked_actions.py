"""Every action of a list is claimed by the engine of its channel, each with its own lease."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.decisions.decision_record import NO_FACTS, add_outcomes
from serving.ledger.approvals import Approvals
from serving.ledger.claims import Claim, Claims
from serving.ledger.errors import (
    AlreadyClaimedError,
    DecisionExpiredError,
    KeyReusedError,
    NotClaimableError,
)
from serving.ledger.kill_switch import Controls, Scope
from serving.ledger.ledger import Decision, Ledger, NewOutcome
from serving.timeline.ledger_events import outcome_event

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def listed(
    action: str, *, autonomy: int = 4, subjects: tuple[str, ...] = ()
) -> Mapping[str, object]:
    found: dict[str, object] = {"action_id": action, "autonomy": autonomy, "expected_value": 7.0}
    if subjects:
        found["subjects"] = [{"action_id": name} for name in subjects]
    return found


LIST = (
    listed("success_call", autonomy=1, subjects=("value_plan",)),
    listed("billing_escalation"),
    listed("roi_summary"),
    listed("pause_billing", autonomy=2),
)


def decision(name: str = "d-1") -> Decision:
    return Decision(
        decision_id=name,
        account_id="acme",
        decided_at=NOW,
        as_of=NOW,
        action="success_call",
        expected_value=90.0,
        currency="USD",
        eligible=LIST,
        withheld=(),
        versions={},
        input_digest="ab",
        propensity=0.5,
        valid_until=NOW + timedelta(days=7),
        segment="small",
        autonomy=1,
        proposed_by="planner",
        subjects=("value_plan",),
    )


class World:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.claims, self.approvals = Claims(ledger.database), Approvals(ledger.database)
        self.controls = Controls(ledger.database)
        self.level(4)
        ledger.append_decisions([decision()])

    def level(self, value: int, action: str | None = None) -> None:
        self.controls.record(
            "level", Scope(action=action), by="boss", reason="so", at=NOW, value=value
        )

    def claim(
        self, action: str | None, *, by: str, of: str = "d-1", key: str | None = None
    ) -> Claim:
        claim, _ = self.claims.claim(
            of, by=by, lease=HOUR, key=key or f"{of} {action} {by}", now=NOW, action=action
        )
        return claim


@pytest.fixture
def world(ledger_place: Path | str) -> Iterator[World]:
    ledger = Ledger(ledger_place)
    yield World(ledger)
    assert ledger.verify().finding is None
    ledger.close()


def test_a_call_of_a_person_leaves_the_hand_off_and_the_mail_to_their_engines(world: World) -> None:
    handed, mailed = (
        world.claim("billing_escalation", by="billing"),
        world.claim("roi_summary", by="mailer"),
    )
    assert (handed.action, handed.state, mailed.action) == (
        "billing_escalation",
        "claimed",
        "roi_summary",
    )
    assert len({handed.decision_id, mailed.decision_id, "d-1"}) == 3
    world.claims.complete(handed.claim_id, by="billing", key="done", now=NOW)
    done, _ = world.claims.complete(mailed.claim_id, by="mailer", key="sent", now=NOW)
    assert done.state == "completed"
    own = world.ledger.decision(handed.decision_id)
    assert (own.part_of, own.propensity, own.expected_value) == ("d-1", 1.0, 7.0)
    assert (own.eligible, own.action, own.subjects) == (LIST, "billing_escalation", ())


def test_each_action_is_claimed_once(world: World) -> None:
    first = world.claim("roi_summary", by="mailer")
    assert world.claim("roi_summary", by="mailer") == first  # the same request
    with pytest.raises(AlreadyClaimedError, match="This decision is claimed until"):
        world.claim("roi_summary", by="other")
    with pytest.raises(KeyReusedError):
        world.claim("billing_escalation", by="mailer", key="d-1 roi_summary mailer")


def test_another_list_knew_nothing_of_it_and_waits(world: World) -> None:
    world.ledger.append_decisions([decision("d-2")])
    mailed = world.claim("roi_summary", by="mailer")
    with pytest.raises(AlreadyClaimedError, match="Another decision about this account"):
        world.claim("billing_escalation", by="billing", of="d-2")
    world.claims.complete(mailed.claim_id, by="mailer", key="c", now=NOW)
    with pytest.raises(DecisionExpiredError, match="roi_summary was carried out"):
        world.claim("billing_escalation", by="billing", of="d-2")
    assert world.claim("billing_escalation", by="billing").state == "claimed"


def test_what_is_not_in_the_list_or_only_talked_about_is_not_claimed(world: World) -> None:
    with pytest.raises(
        NotClaimableError, match=r"does not list dunning\. It lists success_call, bil"
    ):
        world.claim("dunning", by="mailer")
    with pytest.raises(NotClaimableError, match="value_plan is a subject of success_call"):
        world.claim("value_plan", by="mailer")
    with pytest.raises(NotClaimableError, match=r"success_call is for a person to do.*level 1"):
        world.claim(None, by="mailer")


def test_an_action_of_the_list_is_approved_by_itself(world: World) -> None:
    with pytest.raises(NotClaimableError, match=r"pause_billing needs approval here .level 2."):
        world.claim("pause_billing", by="billing")
    approval, _ = world.approvals.record(
        "d-1", "approved", by="ann", reason=None, key="a", now=NOW, action="pause_billing"
    )
    claim = world.claim("pause_billing", by="billing")
    assert claim.decision_id == approval.decision_id != "d-1"
    assert world.approvals.of_decision("d-1") == ()


def test_a_key_that_approved_one_action_approves_no_other(world: World) -> None:
    def approve(action: str | None) -> bool:
        _, is_new = world.approvals.record(
            "d-1", "approved", by="ann", reason=None, key="a", now=NOW, action=action
        )
        return is_new

    assert approve("pause_billing")
    assert not approve("pause_billing")  # the same request again
    for other in ("billing_escalation", None):
        with pytest.raises(KeyReusedError):
            approve(other)


def test_a_level_that_is_raised_counts_from_the_next_claim_on(world: World) -> None:
    world.level(1, "roi_summary")
    with pytest.raises(
        NotClaimableError, match=r"roi_summary is for a person to do here .level 1."
    ):
        world.claim("roi_summary", by="mailer")
    world.level(4, "roi_summary")
    assert world.claim("roi_summary", by="mailer").state == "claimed"
    world.level(4, "success_call")
    with pytest.raises(NotClaimableError, match="level 1"):  # no level lifts an action's own bound
        world.claim(None, by="mailer")


def test_a_person_reports_any_action_of_the_list(world: World) -> None:
    outcome, _ = world.ledger.append_outcome(
        "d-1", NewOutcome(kind="executed", by="ann"), key="k", received_at=NOW, action="roi_summary"
    )
    assert (outcome.action, outcome.subjects) == ("roi_summary", ())
    with pytest.raises(NotClaimableError, match="does not list"):
        world.ledger.append_outcome(
            "d-1", NewOutcome(kind="executed"), key="n", received_at=NOW, action="dunning"
        )


def test_the_subjects_of_a_conversation_are_done_with_it(world: World) -> None:
    outcome, _ = world.ledger.append_outcome(
        "d-1", NewOutcome(kind="executed", by="ann"), key="k", received_at=NOW
    )
    assert outcome.subjects == ("value_plan",)
    assert '"subjects":"value_plan"' in outcome_event(outcome).properties.replace(" ", "")
    facts = add_outcomes(NO_FACTS, [outcome])
    assert {past.action_id for past in facts.history.values()} == {"success_call", "value_plan"}
    declined = replace(outcome, kind="declined")
    facts = add_outcomes(NO_FACTS, [declined])
    assert {past.action_id for past in facts.history.values()} == {"success_call"}
