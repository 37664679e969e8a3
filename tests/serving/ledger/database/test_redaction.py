"""What is erased from the ledger is gone, and the chain still says that it was there."""

from __future__ import annotations

import hashlib
import itertools
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from features.events.subject import Subject
from serving.ledger.approvals import Approvals
from serving.ledger.claims import Claims
from serving.ledger.database.tables import CHAIN
from serving.ledger.feedback import FeedbackRecords, NewFeedback
from serving.ledger.kill_switch import Controls, Scope
from serving.ledger.ledger import Decision, Ledger, NewOutcome
from serving.ledger.stores.plan_draws import PlanDraw, record_draws
from serving.ledger.stores.subjects import Erasing, LedgerSubjects

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ERASING = Erasing(by="dpo", at=NOW, reason="asked by letter")
CANARIES = itertools.count()


def canary(where: str) -> str:
    return f"zq{where}{next(CANARIES):03d}canary"


def decision(number: int, account: str, *, csm: str = "ann.lee", text: str = "") -> Decision:
    return Decision(
        decision_id=f"00000000-0000-0000-0000-{number:012d}",
        account_id=account,
        decided_at=NOW + timedelta(minutes=number),
        as_of=NOW,
        action="success_call",
        expected_value=120,
        currency="USD",
        eligible=({"action_id": "success_call", "reason": text},),
        withheld=({"action_id": "letter", "reason": text},),
        versions={"model": "churn version 1"},
        input_digest="ab12",
        csm=csm,
        autonomy=3,
        valid_until=NOW + timedelta(days=7),
        asked_at=NOW,
        inputs=None if number % 2 else json.dumps({"question": {"sponsor": csm, "text": text}}),
    )


def fill(ledger: Ledger, account: str, first: int, text: str, *, by: str = "ann.lee") -> None:
    """Every kind of record of one account, with a text in every field that takes one."""
    own = [decision(first + n, account, text=f"{text}{n}") for n in range(2)]
    ledger.append_decisions(own, shared={"s": "what all questions have in common"})
    first_id, second_id = (one.decision_id for one in own)
    Approvals(ledger.database).record(
        first_id, "approved", by=by, reason=f"{text}a", key=f"{text}-a", now=NOW
    )
    claims = Claims(ledger.database)
    claim, _ = claims.claim(first_id, by=by, lease=timedelta(hours=9), key=f"{text}-c", now=NOW)
    claims.fail(claim.claim_id, by=by, reason=f"{text}r", key=f"{text}-r", now=NOW)
    FeedbackRecords(ledger.database).record(
        first_id,
        NewFeedback(verdict="disagree", reason=f"{text}f"),
        by=by,
        key=f"{text}-f",
        now=NOW,
    )
    outcome, _ = ledger.append_outcome(
        second_id,
        NewOutcome(kind="declined", reason=f"{text}o", by=by),
        key=f"{text}-o",
        received_at=NOW + timedelta(minutes=first + 5),
    )
    ledger.mark_delivered([outcome.outcome_id], at=NOW)
    record_draws(
        ledger.database,
        [
            PlanDraw(
                record_id=f"r-{first}",
                account_id=account,
                action="success_call",
                arm="offered",
                probability=0.5,
                draw_id=f"{text}-draw",
                key_id="k",
                drawn=1,
                of_accounts=2,
                by=by,
                drawn_at=NOW,
                made_by="keepwell plan",
            )
        ],
    )


@pytest.fixture
def ledger(ledger_place: Path | str) -> Iterator[Ledger]:
    with closing(Ledger(ledger_place)) as opened:
        Controls(opened.database).record("level", Scope(), by="boss", reason="x", at=NOW, value=4)
        fill(opened, "gone", 1, "zqgonecanary")
        fill(opened, "stays", 11, "zqstayscanary")
        yield opened


def everything(ledger: Ledger) -> str:
    with ledger.database.reading() as connection:
        tables = sa.inspect(connection).get_table_names()
        return repr(
            [connection.execute(sa.text(f"SELECT * FROM {table}")).all() for table in tables]
        )


def test_an_account_goes_with_every_record_and_the_chain_stays_whole(ledger: Ledger) -> None:
    before = ledger.verify()
    subjects = LedgerSubjects(ledger.database)
    account = Subject(kind="account", id="gone")
    found = subjects.count(account)
    assert found == len(list(subjects.held(account))) >= 8
    assert "zqgonecanary" in everything(ledger)

    assert subjects.erase(account, ERASING) == found

    assert "zqgonecanary" not in everything(ledger)
    assert "'gone'" not in everything(ledger)
    assert "zqstayscanary" in everything(ledger)
    after = ledger.verify(head=before.head)
    assert after.finding is None
    (told,) = after.redactions
    assert (told.about, told.by, told.reason, told.gone, told.changed) == (
        "account",
        "dpo",
        "asked by letter",
        found,
        0,
    )
    assert datetime.fromisoformat(told.at) == NOW
    assert after.records == before.records + 1


def test_no_byte_of_an_erased_account_is_left_in_the_files(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        fill(ledger, "gone", 1, "zqgonecanary")
        held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"zqgonecanary" in held
        LedgerSubjects(ledger.database).erase(Subject(kind="account", id="gone"), ERASING)
        held = b"".join(path.read_bytes() for path in tmp_path.iterdir())  # with its log, open
        assert b"zqgonecanary" not in held


def test_a_person_becomes_a_pseudonym_and_what_they_wrote_goes(ledger: Ledger) -> None:
    subjects = LedgerSubjects(ledger.database)
    person = Subject(kind="person", id="ann.lee", pseudonym="erased-77")
    subjects.erase(person, ERASING)
    text = everything(ledger)
    assert "ann.lee" not in text
    assert "erased-77" in text
    for written in ("canarya", "canaryr", "canaryf", "canaryo"):
        assert written not in text.replace("-r", "").replace("-f", ""), written
    verified = ledger.verify()
    assert verified.finding is None
    assert verified.redactions[0].gone == 0
    assert verified.redactions[0].changed >= 10
    assert ledger.decisions_of("stays")[0].csm == "erased-77"


def test_an_account_can_go_after_one_of_its_people(ledger: Ledger) -> None:
    subjects = LedgerSubjects(ledger.database)
    subjects.erase(Subject(kind="person", id="ann.lee"), ERASING)
    subjects.erase(Subject(kind="account", id="gone"), ERASING)
    verified = ledger.verify()
    assert verified.finding is None
    assert len(verified.redactions) == 2


def test_nothing_to_erase_writes_nothing(ledger: Ledger) -> None:
    before = ledger.verify()
    assert LedgerSubjects(ledger.database).erase(Subject(kind="account", id="x" * 9), ERASING) == 0
    assert ledger.verify() == before


def test_the_ledger_still_refuses_changes_and_takes_records_afterwards(ledger: Ledger) -> None:
    LedgerSubjects(ledger.database).erase(Subject(kind="account", id="gone"), ERASING)
    with pytest.raises(sa.exc.DBAPIError), ledger.database.writing() as connection:
        connection.execute(sa.text("DELETE FROM decisions"))
    fill(ledger, "later", 41, "later")
    assert ledger.verify().finding is None


def test_an_erased_decision_says_when(ledger: Ledger) -> None:
    erased, kept = (ledger.decisions_of(name)[0].decision_id for name in ("gone", "stays"))
    LedgerSubjects(ledger.database).erase(Subject(kind="account", id="gone"), ERASING)
    assert ledger.erased_on(erased) == NOW.date()
    assert ledger.erased_on(kept) is None


def test_the_places_of_erased_records_hold_no_hash_that_can_be_guessed(ledger: Ledger) -> None:
    """Whoever knows the whole record finds no hash of it: its key is gone, and so is the hash."""
    with ledger.database.reading() as connection:
        links = connection.execute(sa.select(CHAIN)).mappings().all()
        assert all(len(bytes.fromhex(row["salt"])) == 16 for row in links)
        assert len({row["salt"] for row in links}) == len(links)
        contents = {row["content"] for row in links}
        same = [replace(decision(1, "gone"))]
        plain = hashlib.sha256(json.dumps(repr(same)).encode()).hexdigest()
        assert plain not in contents
    LedgerSubjects(ledger.database).erase(Subject(kind="account", id="gone"), ERASING)
    with ledger.database.reading() as connection:
        gone = connection.execute(sa.select(CHAIN).where(CHAIN.c.content == "")).mappings().all()
    assert gone
    assert all(row["salt"] is None for row in gone)
    assert all(
        row["record_id"].startswith("erased-") for row in gone if row["table"] == "idempotency_keys"
    )


TAMPERINGS = {
    "a record that a redaction changed": "UPDATE decisions SET action = 'x' WHERE csm = 'erased-77'",
    "the reason of a redaction": "UPDATE redactions SET reason = 'nothing'",
    "a place less in a redaction": "DELETE FROM redacted_places WHERE place = "
    "(SELECT min(place) FROM redacted_places)",
    "a place more in a redaction": "INSERT INTO redacted_places SELECT redaction_id, 1, "
    "(SELECT link FROM chain WHERE place = 1), '' FROM redactions LIMIT 1",
    "a redaction that is taken back": "DELETE FROM redactions",
    "a link of an erased record": "UPDATE chain SET link = 'x' WHERE content = ''",
    "an erased record that comes back": "INSERT INTO controls SELECT 'c-new', kind, action, segment, "
    'csm, value, "by", at, reason FROM controls LIMIT 1',
    "a record that nobody erased": "DELETE FROM policy_inputs",
}


@pytest.mark.parametrize("statement", TAMPERINGS.values(), ids=TAMPERINGS)
def test_who_alters_what_a_redaction_says_is_found_out(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "ledger.db"
    with closing(Ledger(path)) as ledger:
        Controls(ledger.database).record("level", Scope(), by="boss", reason="x", at=NOW, value=4)
        fill(ledger, "gone", 1, "zqgonecanary")
        fill(ledger, "stays", 11, "zqstayscanary")
        subjects = LedgerSubjects(ledger.database)
        subjects.erase(Subject(kind="account", id="gone"), ERASING)
        subjects.erase(Subject(kind="person", id="ann.lee", pseudonym="erased-77"), ERASING)
        assert ledger.verify().finding is None
    with closing(sqlite3.connect(path)) as connection:
        for name, table in connection.execute(
            "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
            assert table
        connection.execute(statement)
        connection.commit()
    with closing(Ledger(path)) as ledger:
        assert ledger.verify().finding is not None
