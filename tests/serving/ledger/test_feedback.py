"""People agree, disagree or put off in one call; every word is kept, and none is changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from serving.ledger import feedback
from serving.ledger.database.tables import FEEDBACK
from serving.ledger.errors import InvalidFeedbackError, KeyReusedError, UnknownDecisionError
from serving.ledger.feedback import LONGEST_SNOOZE, FeedbackRecords, NewFeedback
from serving.ledger.ledger import Decision, Ledger

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AGREE = NewFeedback(verdict="agree")
NOT_THAT = NewFeedback(verdict="disagree", reason="They asked not to be called")


@pytest.fixture
def ledger(ledger_place: Path | str) -> Iterator[Ledger]:
    opened = Ledger(ledger_place)
    opened.append_decisions(
        [
            Decision(
                decision_id="d-1",
                account_id="acct-1",
                decided_at=NOW,
                as_of=NOW,
                action="success_call",
                expected_value=120.5,
                currency="USD",
                eligible=({"action_id": "success_call"}, {"action_id": "do_nothing"}),
                withheld=(),
                versions={},
                input_digest="ab12",
            )
        ]
    )
    yield opened
    opened.close()


@pytest.fixture
def records(ledger: Ledger) -> FeedbackRecords:
    return FeedbackRecords(ledger.database)


def test_what_is_said_comes_back_newest_first(ledger, records):
    first = records.record("d-1", NOT_THAT, by="ann", key="a", now=NOW)
    later = records.record("d-1", AGREE, by="ann", key="b", now=NOW + timedelta(hours=1))
    assert records.of_decision("d-1") == records.of_account("acct-1") == (later, first)
    assert (first.action, first.verdict, first.reason, first.by, first.at) == (
        "success_call",
        "disagree",
        "They asked not to be called",
        "ann",
        NOW,
    )
    assert records.of_decision("d-2") == records.of_account("acct-2") == ()
    assert ledger.verify().finding is None


def test_while_the_clock_stands_still_the_newest_is_still_the_one_said_last(records):
    words = [records.record("d-1", AGREE, by=f"person {n}", key=None, now=NOW) for n in range(9)]
    assert records.of_account("acct-1") == tuple(reversed(words))


def test_it_is_about_the_first_action_or_the_one_that_is_named(records):
    named = NewFeedback(verdict="agree", action="do_nothing")
    assert records.record("d-1", named, by="ann", key=None, now=NOW).action == "do_nothing"
    with pytest.raises(InvalidFeedbackError, match="it ranked success_call, do_nothing"):
        records.record(
            "d-1", NewFeedback(verdict="agree", action="discount"), by="ann", key=None, now=NOW
        )


def test_the_same_key_is_one_word_and_another_word_is_refused(records):
    one = records.record("d-1", NOT_THAT, by="ann", key="a", now=NOW)
    assert records.record("d-1", NOT_THAT, by="ann", key="a", now=NOW + LONGEST_SNOOZE) == one
    with pytest.raises(KeyReusedError, match="came before with another feedback"):
        records.record("d-1", AGREE, by="ann", key="a", now=NOW)
    assert len(records.of_decision("d-1")) == 1


def test_without_a_key_the_same_word_twice_is_two(records):
    for _ in range(2):
        records.record("d-1", AGREE, by="ann", key=None, now=NOW)
    assert len(records.of_decision("d-1")) == 2


def test_one_person_says_so_much_about_an_account_in_a_day(records, monkeypatch):
    monkeypatch.setattr(feedback, "MOST_A_DAY", 3)

    def say(by: str, after: timedelta = timedelta(0)) -> None:
        records.record("d-1", AGREE, by=by, key=None, now=NOW, heard_at=NOW + after)

    for by in ("ann", "ann, for bob", "ann, for cem"):
        say(by)
    for by in ("ann", "ann, for dan"):
        with pytest.raises(InvalidFeedbackError, match="ann has said 3 things about this account"):
            say(by, timedelta(hours=23))
    for by in ("an", "bob", "ann_"):
        say(by)
    say("ann", timedelta(hours=25))
    assert len(records.of_account("acct-1")) == 7


@pytest.mark.parametrize(
    ("until", "wrong"),
    [
        (NOW, "has passed: by the clock of this service it is 2026-03-01 12:00 UTC"),
        (NOW + timedelta(microseconds=1), None),
        (NOW + LONGEST_SNOOZE, None),
        (NOW + LONGEST_SNOOZE + timedelta(microseconds=1), "is more than 366 days ahead"),
    ],
)
@pytest.mark.parametrize("data", [NOW, NOW - timedelta(days=900)], ids=["on time", "stand still"])
def test_something_is_put_off_to_a_moment_ahead_and_not_for_years(records, until, wrong, data):
    new = NewFeedback(verdict="snooze", reason="on leave", snooze_until=until)
    if wrong is None:
        said = records.record("d-1", new, by="ann", key=None, now=data, heard_at=NOW)
        assert (said.snooze_until, said.at, said.heard_at) == (until, data, NOW)
    else:
        with pytest.raises(InvalidFeedbackError, match=f"snooze_until: .* {wrong}"):
            records.record("d-1", new, by="ann", key=None, now=data, heard_at=NOW)


def test_a_clock_that_is_behind_the_ledger_is_believed_as_far_as_the_ledger_goes(records):
    records.record("d-1", AGREE, by="ann", key=None, now=NOW, heard_at=NOW + timedelta(hours=1))
    late = records.record("d-1", AGREE, by="bob", key=None, now=NOW, heard_at=NOW)
    assert late.heard_at == NOW + timedelta(hours=1)
    assert records.record("d-1", AGREE, by="cem", key=None, now=NOW).heard_at is None


def test_a_decision_that_is_not_there_is_told(records):
    with pytest.raises(UnknownDecisionError, match="No decision with this id"):
        records.record("d-9", AGREE, by="ann", key=None, now=NOW)


def test_nothing_that_was_said_can_be_changed_or_taken_back(ledger, records):
    records.record("d-1", NOT_THAT, by="ann", key="a", now=NOW)
    for change in (sa.update(FEEDBACK).values(verdict="agree"), sa.delete(FEEDBACK)):
        with (
            pytest.raises(sa.exc.IntegrityError, match="append-only"),
            ledger.database.writing() as connection,
        ):
            connection.execute(change)


class TestOverTheApi:
    @pytest.fixture
    def path(self, own_client) -> str:
        decided = own_client.post("/v1/next-actions", json={"account_ids": ["acct-01"]}).json()
        return f"/v1/decisions/{decided['items'][0]['decision_id']}/feedback"

    def test_one_call_keeps_it_and_another_reads_it(self, own_client, path):
        said = own_client.post(
            path,
            json={
                "verdict": "snooze",
                "reason": "on leave",
                "by": "csm-1",
                "snooze_until": "2026-03-15T00:00:00Z",
            },
        )
        assert said.status_code == 201
        assert said.json()["by"] == "csm-1"
        assert own_client.get(path).json()["items"] == [said.json()]
        assert own_client.get("/v1/decisions/none/feedback").status_code == 404

    def test_it_stands_on_the_timeline_once_and_in_words(self, own_client, path):
        own_client.post(
            path,
            json={
                "verdict": "snooze",
                "reason": "On leave. Back in two weeks",
                "by": "csm-1",
                "snooze_until": "2026-03-15T00:00:00Z",
            },
        )
        for _ in range(2):
            assert own_client.app.state.service.deliver()
        told = [
            event
            for event in own_client.get("/v1/accounts/acct-01/timeline").json()["items"]
            if event["kind"] == "action.judged"
        ]
        assert len(told) == 1
        assert told[0]["text"].endswith("until 15 March 2026 (On leave. Back in two weeks)")
        assert told[0]["text"].startswith("csm-1 put off ")

    def test_the_owner_of_the_key_is_who_said_it(self, own_client, path):
        new = own_client.app.state.service.keys.create(
            name="laptop", owner="csm-1", role="csm", now=NOW
        )
        said = own_client.post(
            path,
            json={"verdict": "agree"},
            headers={"X-API-Key": new.secret, "Idempotency-Key": "k"},
        )
        assert (said.status_code, said.json()["by"]) == (201, "csm-1")

    def test_whoever_has_no_name_is_called_by_their_key(self, own_client, path):
        assert own_client.post(path, json={"verdict": "agree"}).json()["by"] == "embedded"

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"verdict": "disagree"}, "needs its `reason`"),
            ({"verdict": "disagree", "reason": " \n "}, "reason: it holds only spaces"),
            ({"verdict": "snooze", "reason": "x"}, "`snooze_until` is needed with `snooze`"),
            ({"verdict": "agree", "snooze_until": "2026-03-15T00:00:00Z"}, "and only there"),
            ({"verdict": "agree", "action": "sing"}, "did not rank this action"),
            ({"verdict": "maybe"}, "'agree', 'disagree' or 'snooze'"),
        ],
    )
    def test_what_is_missing_or_wrong_is_said(self, own_client, path, body, said):
        answer = own_client.post(path, json=body)
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems#wrong-shape")
        assert said in answer.text
