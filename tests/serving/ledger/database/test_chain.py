"""Whoever alters, removes, adds or moves a record of the ledger is found out, and where."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.ledger.approvals import Approvals
from serving.ledger.claims import Claims
from serving.ledger.database.chain import FIRST, Finding, held_text
from serving.ledger.database.tables import CHAINED, DECISIONS
from serving.ledger.feedback import FeedbackRecords, NewFeedback
from serving.ledger.kill_switch import Controls, Scope
from serving.ledger.ledger import Decision, Ledger, NewOutcome
from serving.ledger.stores.plan_draws import PlanDraw, record_draws

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TAMPERINGS, SOAK = 60, 10_000
RECORDS = 39
KEYS = {
    "decisions": "decision_id",
    "outcomes": "outcome_id",
    "idempotency_keys": "key",
    "claim_records": "record_id",
    "approvals": "approval_id",
    "controls": "control_id",
    "policy_inputs": "digest",
    "feedback": "feedback_id",
    "plan_draws": "record_id",
}


def decision(number: int) -> Decision:
    return Decision(
        decision_id=f"d-{number:02d}",
        account_id=f"acct-{number % 3}",
        decided_at=NOW + timedelta(minutes=number),
        as_of=NOW,
        action="success_call",
        expected_value=120,
        currency="USD",
        eligible=({"action_id": "success_call"},),
        withheld=(),
        versions={"model": "churn version 1"},
        input_digest="ab12",
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of every kind of record, the last a key."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    with closing(Ledger(path)) as ledger:
        Controls(ledger.database).record("level", Scope(), by="boss", reason="x", at=NOW, value=4)
        ledger.append_decisions(
            [
                replace(
                    decision(90),
                    autonomy=2,
                    proposed_by="planner",
                    valid_until=NOW + timedelta(days=7),
                    asked_at=NOW,
                    eligible=({"action_id": "success_call"},),
                )
            ],
            shared={"ab": "what all questions have in common"},
        )
        Approvals(ledger.database).record(
            "d-90", "approved", by="ann", reason=None, key="a", now=NOW
        )
        claims = Claims(ledger.database)
        claim, _ = claims.claim("d-90", by="mailer", lease=timedelta(hours=9), key="c", now=NOW)
        claims.complete(claim.claim_id, by="mailer", key="d", now=NOW + timedelta(hours=2))
        for verdict in ("agree", "disagree"):
            FeedbackRecords(ledger.database).record(
                "d-90", NewFeedback(verdict=verdict, reason="née"), by="ann", key=verdict, now=NOW
            )
        record_draws(
            ledger.database,
            [
                PlanDraw(
                    record_id=f"r-{arm}",
                    account_id=f"acct-{arm}",
                    action="success_call",
                    arm=arm,
                    probability=0.5,
                    draw_id="l",
                    key_id="2026",
                    drawn=1,
                    of_accounts=2,
                    by="ann",
                    drawn_at=NOW,
                    made_by="keepwell plan",
                )
                for arm in ("offered", "not_offered")
            ],
        )
        for number in range(12):
            ledger.append_decisions([decision(number), decision(max(0, number - 1))])
            if number % 3:
                ledger.append_outcome(
                    f"d-{number:02d}",
                    NewOutcome(kind="executed", reason="née “O’Neil”"),
                    key=f"k-{number}",
                    received_at=NOW + timedelta(hours=number),
                )
    return path


@pytest.fixture
def copied(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(written, tmp_path / "copy.db"))


@pytest.fixture
def opened(copied: Path) -> Iterator[sqlite3.Connection]:
    """The file in the hands of somebody who takes the triggers off."""
    with closing(unlocked(copied)) as connection:
        yield connection


def unlocked(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    names = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    ]
    for name in names:
        connection.execute(f'DROP TRIGGER "{name}"')
    connection.execute("PRAGMA foreign_keys = OFF")
    return connection


def finding(path: Path, head: str | None = None) -> Finding | None:
    with closing(Ledger(path, heads=())) as ledger:
        return ledger.verify(head=head).finding


def test_an_untouched_ledger_is_as_it_was_written(copied: Path) -> None:
    with closing(Ledger(copied)) as ledger:
        verified = ledger.verify()
        assert (verified.records, verified.finding) == (RECORDS, None)
        ledger.append_decisions([decision(50)])
        later = ledger.verify(head=verified.head)
        assert (later.records, later.finding) == (RECORDS + 1, None)
        assert later.head != verified.head


def test_a_ledger_of_many_parts_is_looked_at_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(Ledger(path)) as ledger:
        ledger.append_decisions([decision(number) for number in range(1_203)])
        ledger.append_decisions([decision(number) for number in range(1_205)])
        assert ledger.verify().records == 1_205
    with closing(unlocked(path)) as connection:
        connection.execute("UPDATE decisions SET action = 'x' WHERE decision_id = 'd-1100'")
    found = finding(path)
    assert found is not None
    assert (found.place, found.change) == (1_101, "altered")


def test_a_ledger_without_records_has_the_first_link(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        verified = ledger.verify(head=FIRST)
    assert (verified.records, verified.head, verified.finding) == (0, FIRST, None)


def test_a_record_without_a_link_is_named(copied: Path, opened: sqlite3.Connection) -> None:
    opened.execute(
        "INSERT INTO idempotency_keys SELECT 'late', request_digest, outcome_id "
        "FROM idempotency_keys LIMIT 1"
    )
    found = finding(copied)
    assert found is not None
    assert (found.place, found.change, found.record_id) == (RECORDS, "added", "late")


def test_removing_the_newest_records_shows_against_a_head_that_was_noted(
    copied: Path,
) -> None:
    with closing(Ledger(copied)) as ledger:
        head = ledger.verify().head
    with closing(unlocked(copied)) as connection:
        connection.execute(f"DELETE FROM chain WHERE place = {RECORDS}")
        connection.execute("DELETE FROM idempotency_keys WHERE key = 'k-11'")
    assert finding(copied) is None  # the rest is a chain too
    found = finding(copied, head)
    assert found is not None
    assert (found.place, found.change) == (RECORDS - 1, "not the head")
    assert "does not hold the head" in found.words


def tamper(connection: sqlite3.Connection, rng: random.Random) -> tuple[int, set[str]]:
    """Change one thing; answer the place at which it has to be found, and as what."""
    links = connection.execute(
        'SELECT place, "table", record_id FROM chain ORDER BY place'
    ).fetchall()
    place, table, record = rng.choice(links)
    key = KEYS[table]
    kind = rng.choice(
        ["alter", "alter", "remove", "remove both", "unlink", "swap", "relink", "add", "rename"]
    )
    if kind == "alter":
        names = [
            row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[1] != key
        ]
        name = rng.choice(names)
        connection.execute(
            f'UPDATE {table} SET "{name}" = CASE WHEN typeof("{name}") = \'real\' THEN "{name}" '
            f"+ 1 ELSE coalesce(\"{name}\", '') || 'x' END WHERE {key} = ?",
            (record,),
        )
        return place, {"altered"}
    if kind == "rename":
        connection.execute(f"UPDATE {table} SET {key} = ? WHERE {key} = ?", (record + "x", record))
        return place, {"missing"}
    if kind in ("remove", "remove both"):
        connection.execute(f"DELETE FROM {table} WHERE {key} = ?", (record,))
        if kind == "remove":
            return place, {"missing"}
    if kind in ("unlink", "remove both"):
        connection.execute("DELETE FROM chain WHERE place = ?", (place,))
        if place < len(links):
            return place, {"no link"}
        # at the end only the record that lost its link, or a noted head, tells
        return place - 1, {"added", "not the head"}
    if kind == "swap":
        other = rng.choice([link[0] for link in links if link[0] != place])
        for now, then in ((place, -1), (other, place), (-1, other)):
            connection.execute("UPDATE chain SET place = ? WHERE place = ?", (then, now))
        return min(place, other), {"out of line"}
    if kind == "relink":
        connection.execute("UPDATE chain SET content = ? WHERE place = ?", ("0" * 64, place))
        return place, {"out of line"}
    names = [row[1] for row in connection.execute("PRAGMA table_info(decisions)")][1:]
    connection.execute(
        f"INSERT INTO decisions SELECT 'planted', {', '.join(names)} FROM decisions LIMIT 1"
    )
    return len(links), {"added"}


def every_tampering_is_found(written: Path, folder: Path, seeds: range) -> None:
    with closing(Ledger(written)) as ledger:
        head = ledger.verify().head
    for seed in seeds:
        path = Path(shutil.copy(written, folder / "tampered.db"))
        with closing(unlocked(path)) as connection:
            place, changes = tamper(connection, random.Random(seed))
        found = finding(path, head)
        assert found is not None, seed
        assert (found.place, found.change in changes) == (place, True), (seed, found)


def test_what_is_tampered_with_is_every_kind_of_record(written: Path) -> None:
    with closing(sqlite3.connect(written)) as connection:
        linked = {table for (table,) in connection.execute('SELECT DISTINCT "table" FROM chain')}
    assert linked == set(KEYS) == set(CHAINED) - {"redactions"}  # test_redaction.py


def test_every_tampering_is_found_at_its_place(written: Path, tmp_path: Path) -> None:
    every_tampering_is_found(written, tmp_path, range(TAMPERINGS))


@pytest.mark.slow
def test_ten_thousand_tamperings_are_found_at_their_places(written: Path, tmp_path: Path) -> None:
    every_tampering_is_found(written, tmp_path, range(SOAK))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("altered", "Place 4: record 'd-01' of decisions is not what was written."),
        ("missing", "Place 4: record 'd-01' of decisions is missing."),
        ("no link", "Place 4: the link is missing, and with it what it stood for."),
        (
            "out of line",
            "Place 4: the link of record 'd-01' of decisions does not follow the one "
            "before it; it was moved or altered.",
        ),
        ("added", "After place 4: record 'd-01' of decisions was added outside the chain."),
    ],
    ids=["altered", "missing", "no link", "out of line", "added"],
)
def test_a_finding_says_where_and_what(change: str, words: str) -> None:
    found = Finding(
        place=4,
        change=change,
        table="decisions",  # type: ignore[arg-type]
        record_id="d-01",
    )
    assert found.words == words


WRITTEN = st.one_of(st.none(), st.text(), st.integers(), st.floats(allow_nan=False, width=32))


@given(st.fixed_dictionaries({column.name: WRITTEN for column in DECISIONS.columns}))
def test_what_a_record_holds_is_hashed_as_ever(row: dict[str, object]) -> None:
    """The text is the one that links were made of before it was written piece by piece."""
    row |= {name: float(len(name)) for name in ("propensity", "expected_value")}
    held = [
        [column.name, row[column.name]]
        for column in DECISIONS.columns
        if not (column.info.get("later") and row[column.name] is None)
    ]
    row["propensity"] = len("propensity")  # a whole number is the fraction that the column holds
    expected = json.dumps(held, ensure_ascii=False, allow_nan=False) if _is_finite(held) else None
    if expected is None:
        with pytest.raises(ValueError, match="JSON compliant"):
            held_text(DECISIONS, row)
    else:
        assert held_text(DECISIONS, row) == expected


def _is_finite(held: list[list[object]]) -> bool:
    return all(abs(value) != float("inf") for _, value in held if isinstance(value, float))
