"""A ledger of before becomes one of today, whole or not at all; its records stay as they were."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from serving.ledger.database import migrations as ledger_migrations
from serving.ledger.database.database import LedgerDatabase, open_engine
from serving.ledger.database.migrations import NEWEST, STEPS, LedgerVersionError, Step, version_of
from serving.ledger.database.tables import BY_THE_CLOCK, DECISIONS, FEEDBACK, OUTCOMES
from serving.ledger.errors import LedgerDamagedError
from serving.ledger.ledger import Decision, Ledger, NewOutcome

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STORED = "2026-02-01T08:00:00.000000+00:00"

UNLINKED = """
CREATE TABLE decisions (decision_id VARCHAR NOT NULL, account_id VARCHAR NOT NULL,
    decided_at VARCHAR NOT NULL, as_of VARCHAR NOT NULL, action VARCHAR NOT NULL,
    propensity FLOAT NOT NULL, expected_value FLOAT NOT NULL, currency VARCHAR NOT NULL,
    eligible VARCHAR NOT NULL, withheld VARCHAR NOT NULL, versions VARCHAR NOT NULL,
    input_digest VARCHAR NOT NULL, PRIMARY KEY (decision_id));
CREATE INDEX ix_decisions_account_id ON decisions (account_id);
CREATE TABLE outcomes (outcome_id VARCHAR NOT NULL, decision_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL, occurred_at VARCHAR NOT NULL, received_at VARCHAR NOT NULL,
    result VARCHAR, reason VARCHAR, by VARCHAR, PRIMARY KEY (outcome_id),
    FOREIGN KEY(decision_id) REFERENCES decisions (decision_id));
CREATE INDEX ix_outcomes_decision_id ON outcomes (decision_id);
CREATE TABLE idempotency_keys ("key" VARCHAR NOT NULL, request_digest VARCHAR NOT NULL,
    outcome_id VARCHAR NOT NULL, PRIMARY KEY ("key"),
    FOREIGN KEY(outcome_id) REFERENCES outcomes (outcome_id));
CREATE TABLE timeline_deliveries (record_id VARCHAR NOT NULL, delivered_at VARCHAR NOT NULL,
    PRIMARY KEY (record_id));
CREATE TRIGGER decisions_no_update BEFORE UPDATE ON decisions
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""

CHAIN = """
CREATE TABLE chain (place INTEGER NOT NULL, "table" VARCHAR NOT NULL, record_id VARCHAR NOT NULL,
    content VARCHAR NOT NULL, link VARCHAR NOT NULL, PRIMARY KEY (place),
    UNIQUE ("table", record_id));
"""

LINKS_THEN = [
    (
        1,
        "decisions",
        "d-1",
        "ff1c727def6595b6bdd847f90827693e6078b22cd8ac45c84b505fe817048ce4",
        "802e1f3fcc591df5ba03645864070ac618bc0b7b8ec9b511d2f110a14bd0a542",
    ),
    (
        2,
        "decisions",
        "d-2",
        "dc9f3fbb23fad9f1e0ed0bc773e6701f10193e3ed0dd2c72eff8d5614deee800",
        "724d7a36ed2745500b3425141ab5da86375887d7c5dc7aeef15fae45ffcbe61e",
    ),
    (
        3,
        "outcomes",
        "o-1",
        "2e396e6c12e7ac9df171829ce8f60eb1eac8bbfac413b94d645f3881807490cf",
        "9ec7767a40ffc1bdd24465fb2d2b55f0c90cd3f1ba5f4386a33cec9e5cd19c90",
    ),
    (
        4,
        "idempotency_keys",
        "k-1",
        "9e43fbd2deec8b61e5090f18b516d0294ed2141884ceb7cd5c707e573eeaa523",
        "86c6a95a686f8a60408a06c643ad5ae6cd17dd3477457520e9e3209894450e21",
    ),
]
"""The links of the records below, as the Keepwell that brought links wrote them."""


@pytest.fixture
def unlinked(tmp_path: Path) -> Path:
    """A file as the first Keepwell wrote it: two decisions, one outcome."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(UNLINKED)
        for number in (2, 1):
            connection.execute(
                "INSERT INTO decisions VALUES (?, 'acme', ?, ?, 'success_call', 1, 12, 'USD', "
                "'[]', '[]', '{}', 'ab')",
                (f"d-{number}", STORED, STORED),
            )
        connection.execute(
            "INSERT INTO outcomes VALUES ('o-1', 'd-1', 'executed', ?, ?, NULL, NULL, 'csm-1')",
            (STORED, STORED),
        )
        connection.execute("INSERT INTO idempotency_keys VALUES ('k-1', 'cd', 'o-1')")
        connection.execute("INSERT INTO timeline_deliveries VALUES ('d-1', ?)", (STORED,))
    return path


def decision(number: int) -> Decision:
    return Decision(
        decision_id=f"d-{number}",
        account_id="acme",
        decided_at=NOW,
        as_of=NOW,
        action="success_call",
        expected_value=1.5,
        currency="USD",
        eligible=(),
        withheld=(),
        versions={},
        input_digest="ab",
    )


def tables(where: Path | str) -> dict[str, list[tuple[str, str, bool]]]:
    engine = open_engine(where)
    inspected = sa.inspect(engine)
    found = {
        name: sorted(
            (column["name"], str(column["type"]), bool(column["nullable"]))
            for column in inspected.get_columns(name)
        )
        for name in sorted(inspected.get_table_names())
    }
    engine.dispose()
    return found


def indexes(where: Path | str) -> set[str | None]:
    engine = open_engine(where)
    inspected = sa.inspect(engine)
    found = {
        index["name"]
        for name in inspected.get_table_names()
        for index in inspected.get_indexes(name)
    }
    engine.dispose()
    return found


def versions(where: Path | str) -> list[int]:
    with closing(LedgerDatabase(where)) as database, database.reading() as connection:
        return list(connection.scalars(sa.text("SELECT version FROM ledger_versions ORDER BY 1")))


def test_a_ledger_of_the_first_keepwell_keeps_its_records_and_is_linked(
    unlinked: Path,
    tmp_path: Path,
) -> None:
    with closing(Ledger(unlinked)) as ledger:
        verified = ledger.verify()
        assert (verified.records, verified.finding) == (4, None)
        assert ledger.counts() == (2, 1)
        assert [o.by for o in ledger.outcomes_of(["acme"])["acme"]] == ["csm-1"]
        decisions, outcomes, _ = ledger.undelivered()
        assert [d.decision_id for d in decisions] == ["d-2"]
        assert [o.outcome_id for o in outcomes] == ["o-1"]
        ledger.append_decisions([decision(3)])
        ledger.append_outcome("d-3", NewOutcome(kind="executed"), key="k-3", received_at=NOW)
        assert ledger.verify(head=verified.head).records == 7
    Ledger(tmp_path / "new.db").close()
    assert tables(unlinked) == tables(tmp_path / "new.db")
    assert indexes(unlinked) == indexes(tmp_path / "new.db")
    assert versions(unlinked) == [step.version for step in STEPS]


def test_the_links_of_before_stay_as_they_were(unlinked: Path) -> None:
    with closing(sqlite3.connect(unlinked, isolation_level=None)) as connection:
        connection.executescript(CHAIN)
        connection.executemany("INSERT INTO chain VALUES (?, ?, ?, ?, ?)", LINKS_THEN)
    with closing(Ledger(unlinked)) as ledger:
        verified = ledger.verify(head=LINKS_THEN[-1][-1])
        assert (verified.records, verified.finding) == (4, None)
    assert versions(unlinked) == [step.version for step in STEPS[1:]]


def test_links_are_made_today_as_they_were_made_then(unlinked: Path) -> None:
    with closing(Ledger(unlinked)) as ledger:
        assert ledger.verify().head == LINKS_THEN[-1][-1]


def test_a_ledger_without_the_clock_of_the_service_gets_it(ledger_place: Path | str) -> None:
    with closing(Ledger(ledger_place)) as ledger:
        ledger.append_decisions([decision(1)])
        ledger.append_outcome("d-1", NewOutcome(kind="executed"), key="k", received_at=NOW)
        head = ledger.verify().head
    today = tables(ledger_place), indexes(ledger_place)
    engine = open_engine(ledger_place)
    with engine.begin() as connection:
        trigger = (
            "DROP TRIGGER ledger_versions_no_delete"
            if connection.dialect.name == "sqlite"
            else "ALTER TABLE ledger_versions DISABLE TRIGGER USER"
        )
        connection.execute(sa.text(trigger))
        connection.execute(sa.text("DELETE FROM ledger_versions WHERE version >= 5"))
        connection.execute(sa.text("DROP TABLE plan_draws"))
        connection.execute(sa.text("ALTER TABLE outcomes DROP COLUMN measure"))
        for column in BY_THE_CLOCK:
            connection.execute(sa.text(f"DROP INDEX ix_{column.table.name}_{column.name}"))
        for column in (DECISIONS.c.asked_at, OUTCOMES.c.heard_at, FEEDBACK.c.heard_at):
            connection.execute(
                sa.text(f"ALTER TABLE {column.table.name} DROP COLUMN {column.name}")
            )
    engine.dispose()
    assert (tables(ledger_place), indexes(ledger_place)) != today
    with closing(Ledger(ledger_place)) as ledger:
        assert (ledger.verify().head, ledger.verify().finding) == (head, None)
        assert ledger.decision("d-1") == decision(1)
    assert (tables(ledger_place), indexes(ledger_place)) == today


def test_a_row_of_a_ledger_of_before_can_not_be_changed_either(unlinked: Path) -> None:
    Ledger(unlinked).close()
    with (
        closing(sqlite3.connect(unlinked)) as connection,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        connection.execute("DELETE FROM outcomes")


def test_a_step_that_fails_leaves_the_ledger_as_it_was(
    unlinked: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: sa.Connection) -> None:
        raise ArithmeticError("the disk is full, say")

    last = Step(version=NEWEST + 1, brought="something", apply=fail)
    before = tables(unlinked)
    with monkeypatch.context() as patched:
        patched.setattr(ledger_migrations, "STEPS", (*STEPS, last))
        with pytest.raises(ArithmeticError, match="disk is full"):
            Ledger(unlinked)
    assert tables(unlinked) == before
    with closing(Ledger(unlinked)) as ledger:
        assert ledger.verify().records == 4


def test_a_new_ledger_is_of_the_newest_version(ledger_place: Path | str) -> None:
    with closing(Ledger(ledger_place)), closing(Ledger(ledger_place)):
        assert versions(ledger_place) == [step.version for step in STEPS]
        with closing(LedgerDatabase(ledger_place)) as database, database.reading() as connection:
            assert version_of(connection) == NEWEST


def test_a_ledger_of_a_newer_keepwell_is_left_alone(ledger_place: Path | str) -> None:
    Ledger(ledger_place).close()
    with closing(LedgerDatabase(ledger_place)) as database, database.writing() as connection:
        connection.execute(sa.text("INSERT INTO ledger_versions VALUES (999, 'a later idea')"))
    with pytest.raises(LedgerVersionError, match="version 999, of a newer Keepwell"):
        Ledger(ledger_place)


@pytest.mark.parametrize(
    ("table", "match"), [("decisions", "lost its table of decisions"), ("chain", "has lost chain")]
)
def test_a_table_that_is_gone_is_not_made_anew(
    ledger_place: Path | str, table: str, match: str
) -> None:
    Ledger(ledger_place).close()
    engine = open_engine(ledger_place)
    with engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.execute(sa.text("PRAGMA foreign_keys=OFF"))
            connection.execute(sa.text(f"DROP TABLE {table}"))
        else:
            connection.execute(sa.text(f"DROP TABLE {table} CASCADE"))
    engine.dispose()
    with closing(Ledger(ledger_place)) as ledger:
        with pytest.raises(LedgerDamagedError, match=match):
            ledger.counts()
        assert ledger.database.problem is not None
