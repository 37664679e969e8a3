"""What a person puts off is not recommended until its date, whoever asks and by whatever way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from experiments.policy.recommend import DO_NOTHING
from features.events.schema import EVENT_SCHEMA
from serving.decisions.decision_record import policy_facts
from serving.ledger.approvals import Approvals
from serving.ledger.claims import Claims
from serving.ledger.errors import NotClaimableError
from serving.ledger.feedback import FeedbackRecords, NewFeedback
from serving.ledger.kill_switch import Controls, Scope
from serving.ledger.ledger import Decision, Ledger
from serving.ledger.replay.replay import replay, shared_digest
from serving.ledger.snoozes import load_snoozes, note_event

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNTIL = NOW + timedelta(days=14)
SNOOZE = NewFeedback(verdict="snooze", reason="On leave", snooze_until=UNTIL)
AGREE = NewFeedback(verdict="agree")
DISAGREE = NewFeedback(verdict="disagree", reason="They hate calls")


@pytest.fixture
def ledger(ledger_place: Path | str) -> Iterator[Ledger]:
    opened = Ledger(ledger_place)
    opened.append_decisions(
        [
            Decision(
                decision_id=f"d-{account}",
                account_id=account,
                decided_at=NOW,
                as_of=NOW,
                action="success_call",
                expected_value=120.5,
                currency="USD",
                eligible=({"action_id": "success_call"}, {"action_id": "tips_email"}),
                withheld=(),
                versions={},
                input_digest="ab12",
            )
            for account in ("a", "b")
        ]
    )
    yield opened
    opened.close()


def say(ledger, *words, account="a", heard_at=None):
    for word in words:
        FeedbackRecords(ledger.database).record(
            f"d-{account}", word, by="ann", key=None, now=NOW, heard_at=heard_at
        )


LONGER = NewFeedback(verdict="snooze", reason="Longer", snooze_until=UNTIL + timedelta(days=1))
OTHER = NewFeedback(verdict="snooze", reason="No mail", snooze_until=UNTIL, action="tips_email")


@pytest.mark.parametrize(
    ("words", "reasons"),
    [
        ([SNOOZE], ["On leave"]),
        ([SNOOZE, DISAGREE], ["On leave"]),
        ([SNOOZE, AGREE], []),
        ([AGREE, SNOOZE], ["On leave"]),
        ([SNOOZE, LONGER], ["Longer"]),
        ([LONGER, SNOOZE], ["On leave"]),
        ([SNOOZE, OTHER], ["On leave", "No mail"]),
        ([SNOOZE, OTHER, AGREE], ["No mail"]),
    ],
    ids=["put off", "disagreed", "taken back", "after agreeing", "again", "shorter", "two", "one"],
)
def test_the_newest_word_about_an_action_counts_also_while_the_clock_stands_still(
    ledger, words, reasons
):
    say(ledger, *words)
    found = load_snoozes(ledger.database, ["a", "b"])
    assert [one.reason for one in found["a"]] == reasons
    assert "b" not in found


def test_ledger_and_timeline_say_the_same(ledger):
    say(ledger, SNOOZE, OTHER)
    say(ledger, LONGER, account="b", heard_at=NOW + timedelta(days=3))
    rows = [
        {
            "event_id": f"f{n}",
            "account_id": one.account_id,
            "user_id": None,
            "kind": "action.judged",
            "occurred_at": one.at,
            "recorded_at": one.at,
            "event_count": 1,
            "user_count": 1,
            "quantity": None,
            "properties": json.dumps(
                {
                    "action": one.action,
                    "verdict": one.verdict,
                    "reason": one.reason,
                    "by": one.by,
                    "until": one.snooze_until.isoformat(),
                    "heard_at": one.heard_at.isoformat() if one.heard_at else None,
                }
            ),
        }
        for account in ("a", "b")
        for n, one in enumerate(reversed(FeedbackRecords(ledger.database).of_account(account)))
    ]
    told = policy_facts(pl.DataFrame(rows, schema=EVENT_SCHEMA))
    known = load_snoozes(ledger.database, ["a", "b"])
    assert {name: facts.put_off for name, facts in told.items()} == known
    assert [one.at for one in known["b"]] == [NOW + timedelta(days=3)]


@pytest.mark.parametrize("until", ["soon", "2026-03-15T00:00:00", 7, None])
def test_an_event_that_can_not_be_read_puts_nothing_off(until):
    found = {}
    note_event(found, {"action": "success_call", "verdict": "snooze", "until": until}, NOW)
    assert found == {}


class TestWhatAProgramMayClaim:
    """Decisions at level 4, which a program may claim at once."""

    @pytest.fixture
    def claims(self, ledger):
        Controls(ledger.database).record(
            "level", Scope(), by="boss", reason="trusted", at=NOW, value=4
        )
        ledger.append_decisions([self.decision("d-then")])
        return Claims(ledger.database)

    def decision(self, decision_id):
        return Decision(
            decision_id=decision_id,
            account_id="a",
            decided_at=NOW,
            as_of=NOW,
            action="success_call",
            expected_value=1.5,
            currency="USD",
            eligible=({"action_id": "success_call"}, {"action_id": "tips_email"}),
            withheld=(),
            versions={},
            input_digest="ab",
            valid_until=NOW + timedelta(days=7),
            autonomy=4,
            proposed_by="planner",
        )

    def claim(self, claims, decision_id="d-then", now=NOW):
        return claims.claim(
            decision_id,
            by="mailer",
            lease=timedelta(minutes=5),
            key=f"claim {decision_id}",
            now=now,
        )[0]

    def test_what_was_put_off_since_it_was_decided_is_not_claimed(self, ledger, claims):
        say(ledger, SNOOZE, DISAGREE)
        with pytest.raises(
            NotClaimableError,
            match="ann put success_call off for this account until 2026-03-15 12:00 UTC: On leave",
        ):
            self.claim(claims)

    @pytest.mark.parametrize(
        "words",
        [(), (SNOOZE, AGREE), (OTHER,), (DISAGREE,)],
        ids=["nothing", "taken back", "another action", "disagreed"],
    )
    def test_anything_else_holds_no_claim_back(self, ledger, claims, words):
        say(ledger, *words)
        assert self.claim(claims).state == "claimed"

    def test_what_was_decided_or_approved_knowing_it_may_be_claimed(self, ledger, claims):
        say(ledger, SNOOZE)
        ledger.append_decisions([self.decision("d-later")])
        assert self.claim(claims, "d-later").state == "claimed"
        claims.fail(
            self.claim(claims, "d-later").claim_id, by="mailer", reason="bounced", key="f", now=NOW
        )
        Approvals(ledger.database).record(
            "d-then", "approved", by="bob", reason=None, key="k", now=NOW
        )
        assert self.claim(claims).state == "claimed"

    def test_once_the_date_has_come_by_the_clock_it_may_be_claimed(self, ledger, claims):
        until = NOW + timedelta(hours=2)
        say(ledger, NewFeedback(verdict="snooze", reason="Lunch", snooze_until=until))
        with pytest.raises(NotClaimableError, match="until 2026-03-01 14:00 UTC: Lunch"):
            self.claim(claims, now=until - timedelta(microseconds=1))
        assert self.claim(claims, now=until).state == "claimed"

    def test_another_account_is_not_held_back(self, ledger, claims):
        say(ledger, SNOOZE, account="b")
        assert self.claim(claims).state == "claimed"


class TestOverTheApi:
    def first(self, client, account="acct-01"):
        [item] = client.post("/v1/next-actions", json={"account_ids": [account]}).json()["items"]
        return item

    def put_off(self, client, item, **more):
        said = client.post(
            f"/v1/decisions/{item['decision_id']}/feedback",
            json={
                "verdict": "snooze",
                "reason": "On leave",
                "by": "csm-1",
                "snooze_until": "2026-03-15T09:00:00Z",
                **more,
            },
        )
        assert said.status_code == 201, said.text
        return said

    def test_it_is_held_back_at_once_and_says_who_why_and_from_when(self, own_client):
        before = self.first(own_client)
        self.put_off(own_client, before)
        after = self.first(own_client)
        names = [one["action"] for one in after["ranked"]]
        assert before["action"] != DO_NOTHING
        assert before["action"] not in names
        [held] = [one for one in after["withheld"] if one["action"] == before["action"]]
        assert (held["stage"], held["allowed_from"]) == ("put_off", "2026-03-15T09:00:00Z")
        assert held["why"] == "csm-1 put this off on 1 March 2026: “On leave”."
        assert self.first(own_client, "acct-02")["action"] is not None

    def test_the_decision_replays_to_the_bit_with_what_was_put_off(self, own_client):
        self.put_off(own_client, self.first(own_client))
        ledger = own_client.app.state.service.ledger
        decision = ledger.decision(self.first(own_client)["decision_id"])
        assert json.loads(decision.inputs)["question"]["put_off"][0]["reason"] == "On leave"
        found = replay(decision, ledger.shared_input(shared_digest(decision)))
        assert found.difference is None

    def test_it_is_taken_back_by_agreeing_and_not_by_disagreeing(self, own_client):
        before = self.first(own_client)
        self.put_off(own_client, before)
        path = f"/v1/decisions/{before['decision_id']}/feedback"
        for word, comes_back in (
            ({"verdict": "disagree", "reason": "no"}, False),
            ({"verdict": "agree"}, True),
        ):
            assert own_client.post(path, json=word).status_code == 201
            names = [one["action"] for one in self.first(own_client)["ranked"]]
            assert (before["action"] in names) is comes_back

    def test_the_page_shows_it_among_what_is_held_back(self, own_client):
        self.put_off(own_client, self.first(own_client))
        page = own_client.get("/accounts/acct-01").text
        assert "csm-1 put this off on 1 March 2026: “On leave”." in page
        assert "Possible from 15 March 2026, 09:00 UTC" in page

    def test_doing_nothing_can_not_be_put_off(self, own_client):
        item = self.first(own_client)
        answer = own_client.post(
            f"/v1/decisions/{item['decision_id']}/feedback",
            json={
                "verdict": "snooze",
                "reason": "later",
                "action": DO_NOTHING,
                "snooze_until": "2026-03-15T09:00:00Z",
            },
        )
        assert answer.status_code == 422
        assert "nothing to put off" in answer.text
