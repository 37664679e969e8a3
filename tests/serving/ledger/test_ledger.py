from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

from serving.ledger.database.database import open_engine
from serving.ledger.errors import (
    ContradictingOutcomeError,
    KeyReusedError,
    UnknownDecisionError,
    UnstorableTextError,
)
from serving.ledger.feedback import FeedbackRecords, NewFeedback
from serving.ledger.ledger import Decision, DecisionSummary, Ledger, NewDecisions, NewOutcome

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def ledger(ledger_place: Path | str) -> Iterator[Ledger]:
    opened = Ledger(ledger_place)
    yield opened
    opened.close()


def decision(number: int = 1, account: str = "acct-1") -> Decision:
    return Decision(
        decision_id=f"d-{number}",
        account_id=account,
        decided_at=NOW,
        as_of=NOW,
        action="success_call",
        expected_value=120.5,
        currency="USD",
        eligible=({"action_id": "success_call"}, {"action_id": "do_nothing"}),
        withheld=({"action_id": "ceo_email", "why": "too small"},),
        versions={"model": "churn version 1"},
        input_digest="ab12",
    )


def test_a_decision_comes_back_as_it_was_stored(ledger):
    ledger.append_decisions([decision()])
    assert ledger.decision("d-1") == decision()
    assert ledger.decisions_of("acct-1") == (decision(),)


def test_a_moment_of_another_zone_comes_back_as_the_same_instant(ledger):
    local = NOW.astimezone(timezone(timedelta(hours=-8)))
    ledger.append_decisions([decision()])
    outcome, _ = ledger.append_outcome(
        "d-1", NewOutcome(kind="executed", occurred_at=local), key="k", received_at=NOW
    )
    assert outcome.occurred_at == NOW


def test_the_same_decision_twice_is_one(ledger):
    ledger.append_decisions([decision()])
    ledger.append_decisions([decision(), decision(2)])
    assert ledger.counts() == (2, 0)


def test_what_questions_share_is_stored_once_also_after_a_transaction_that_failed(ledger):
    def break_off() -> None:
        with ledger.transaction() as change:
            change.append_decisions(NewDecisions([decision(1)]), shared=shared)
            raise KeyError("before the commit")

    shared = {"ab": "phrases"}
    with pytest.raises(KeyError, match="before the commit"):
        break_off()
    with pytest.raises(UnknownDecisionError, match="not in the ledger"):
        ledger.shared_input("ab")
    for number in (1, 2):
        ledger.append_decisions([decision(number)], shared=shared)
    ledger.append_decisions([decision(3)], shared={**shared, "cd": "others"})
    assert (ledger.shared_input("ab"), ledger.shared_input("cd")) == ("phrases", "others")
    assert ledger.verify().finding is None


def test_no_decisions_are_no_write(ledger):
    ledger.append_decisions([])
    ledger.mark_delivered([], at=NOW)
    assert ledger.counts() == (0, 0)


@pytest.mark.parametrize(("first", "then"), [("executed", "declined"), ("declined", "executed")])
def test_a_decision_is_not_both_carried_out_and_declined(ledger, first, then):
    ledger.append_decisions([decision(), decision(2)])
    kept, _ = ledger.append_outcome("d-1", NewOutcome(kind=first), key="k", received_at=NOW)
    with pytest.raises(
        ContradictingOutcomeError,
        match=f"reported as {first} on 2026-03-01, so it cannot be {then}",
    ):
        ledger.append_outcome("d-1", NewOutcome(kind=then), key="other", received_at=NOW)
    assert ledger.outcomes_of(["acct-1"]) == {"acct-1": (kept,)}
    ledger.append_outcome("d-1", NewOutcome(kind=first), key="again", received_at=NOW)
    ledger.append_outcome(
        "d-1", NewOutcome(kind="outcome", result="renewed"), key="result", received_at=NOW
    )
    ledger.append_outcome("d-2", NewOutcome(kind=then), key="other", received_at=NOW)
    assert ledger.counts() == (2, 4)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE decisions SET action = 'x'",
        "DELETE FROM decisions",
        "UPDATE outcomes SET kind = 'x'",
        "DELETE FROM outcomes",
        "DELETE FROM idempotency_keys",
        "DELETE FROM timeline_deliveries",
        "UPDATE chain SET link = 'x'",
        "DELETE FROM ledger_versions",
    ],
)
def test_the_database_itself_refuses_to_change_what_was_written(ledger, ledger_place, statement):
    ledger.append_decisions([decision()])
    ledger.append_outcome("d-1", NewOutcome(kind="executed"), key="k", received_at=NOW)
    ledger.mark_delivered(["d-1"], at=NOW)
    engine = open_engine(ledger_place)
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), engine.begin() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()
    assert ledger.verify().finding is None


@pytest.mark.postgres
def test_postgresql_refuses_to_empty_a_table_at_once(postgres):
    place = postgres.database()
    Ledger(place).close()
    engine = open_engine(place)
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE timeline_deliveries"))
    engine.dispose()


def test_every_commit_is_synced_and_writers_do_not_block_readers(tmp_path):
    Ledger(tmp_path / "ledger.db").close()
    engine = open_engine(tmp_path / "ledger.db")
    with engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar_one() == 2  # FULL
    engine.dispose()


def test_an_outcome_is_stored_once_per_key(ledger):
    ledger.append_decisions([decision()])
    first = ledger.append_outcome("d-1", NewOutcome(kind="executed"), key="k", received_at=NOW)
    again = ledger.append_outcome(
        "d-1", NewOutcome(kind="executed"), key="k", received_at=NOW + timedelta(hours=1)
    )
    assert first[1]
    assert not again[1]
    assert again[0] == first[0]
    assert ledger.counts() == (1, 1)


@pytest.mark.parametrize(
    "other",
    [
        ("d-1", NewOutcome(kind="declined", reason="no time")),
        ("d-2", NewOutcome(kind="executed")),
    ],
)
def test_a_key_with_another_request_is_refused(ledger, other):
    ledger.append_decisions([decision(1), decision(2)])
    ledger.append_outcome("d-1", NewOutcome(kind="executed"), key="k", received_at=NOW)
    with pytest.raises(KeyReusedError, match="another outcome"):
        ledger.append_outcome(*other, key="k", received_at=NOW)
    assert ledger.counts() == (2, 1)


def test_an_outcome_of_an_unknown_decision_is_refused_and_its_key_stays_free(ledger):
    with pytest.raises(UnknownDecisionError, match="No decision"):
        ledger.append_outcome("d-9", NewOutcome(kind="executed"), key="k", received_at=NOW)
    ledger.append_decisions([decision(9)])
    assert ledger.append_outcome("d-9", NewOutcome(kind="executed"), key="k", received_at=NOW)[1]


def test_an_unknown_decision_can_not_be_read(ledger):
    with pytest.raises(UnknownDecisionError, match="No decision"):
        ledger.decision("d-1")


@pytest.mark.postgres
def test_a_text_that_postgresql_can_not_keep_is_refused(postgres):
    with contextlib.closing(Ledger(postgres.database())) as ledger:
        ledger.append_decisions([decision()])
        with pytest.raises(UnstorableTextError, match="null byte"):
            ledger.append_outcome(
                "d-1", NewOutcome(kind="outcome", result="a\0b"), key="k", received_at=NOW
            )
        assert ledger.counts() == (1, 0)


def test_a_moment_has_to_be_one(ledger):
    with pytest.raises(TypeError, match="not a moment"):
        ledger.mark_delivered(["d-1"], at="today")


def test_many_threads_with_one_key_store_one_outcome(ledger):
    ledger.append_decisions([decision()])
    new: list[bool] = []

    def report() -> None:
        new.append(
            ledger.append_outcome("d-1", NewOutcome(kind="executed"), key="k", received_at=NOW)[1]
        )

    threads = [threading.Thread(target=report) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(new) == [False] * 11 + [True]
    assert ledger.counts() == (1, 1)


def test_what_is_not_on_the_timeline_is_known_until_it_is(ledger):
    drawn = replace(decision(2), propensity=0.5, inputs="what it was drawn on")
    ledger.append_decisions([replace(decision(), inputs="long"), drawn])
    outcome, _ = ledger.append_outcome("d-1", NewOutcome(kind="executed"), key="k", received_at=NOW)
    said = FeedbackRecords(ledger.database).record(
        "d-1", NewFeedback(verdict="agree"), by="ann", key=None, now=NOW
    )
    certain, by_chance = (
        DecisionSummary(
            decision_id=one.decision_id,
            account_id=one.account_id,
            decided_at=one.decided_at,
            action=one.action,
            propensity=one.propensity,
            inputs=one.inputs,
        )
        for one in (decision(), drawn)
    )
    assert ledger.undelivered() == ((certain, by_chance), (outcome,), (said,))
    ledger.mark_delivered(["d-1", "d-2", outcome.outcome_id], at=NOW)
    ledger.mark_delivered(["d-1"], at=NOW)
    assert ledger.undelivered() == ((), (), (said,))
    ledger.mark_delivered([said.feedback_id], at=NOW)
    assert ledger.undelivered() == ((), (), ())


def test_what_is_told_is_not_looked_at_again_also_where_something_comes_in_all_the_time(ledger):
    for number in (1, 2, 3):
        ledger.append_decisions([decision(number)])
        [told] = ledger.undelivered()[0]
        ledger.append_decisions([decision(number + 10)])  # before that one is on the timeline
        ledger.mark_delivered([told.decision_id], at=NOW)
        assert ledger._delivery.delivered == 2 * number - 1
        [late] = ledger.undelivered()[0]
        assert ledger._delivery.delivered == 2 * number - 1  # not while one waits
        ledger.mark_delivered([late.decision_id], at=NOW)
    assert ledger._delivery.delivered == 6
    assert ledger.undelivered() == ((), (), ())


def test_outcomes_come_by_account_in_the_order_they_came(ledger):
    ledger.append_decisions([decision(1), decision(2, account="acct-2")])
    ledger.append_outcome("d-1", NewOutcome(kind="executed"), key="a", received_at=NOW)
    ledger.append_outcome(
        "d-1", NewOutcome(kind="outcome", result="renewed"), key="b", received_at=NOW
    )
    ledger.append_outcome("d-2", NewOutcome(kind="executed"), key="c", received_at=NOW)
    assert [o.kind for o in ledger.outcomes_of(["acct-1"])["acct-1"]] == ["executed", "outcome"]
    assert set(ledger.outcomes_of(["acct-2", "acct-3"])) == {"acct-2"}
