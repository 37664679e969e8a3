"""What is handed to the driver as text gives the rows and the errors of SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from serving.ledger.database.database import LedgerDatabase
from serving.ledger.database.prepared import PART, ById, Prepared

THINGS = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("thing_id", sa.String, primary_key=True),
    sa.Column("table", sa.String),  # a word of SQL
    sa.Column("size", sa.Float),
    sa.Column("bytes", sa.LargeBinary),
)
ROWS = [
    {"thing_id": "a", "table": "x\"' %s ?", "size": 1.5, "bytes": b"\0a"},
    {"thing_id": "b", "size": None},
    {"thing_id": "c", "table": "é", "size": 2.0},
]


@pytest.fixture
def connection(ledger_place: Path | str) -> Iterator[Connection]:
    database = LedgerDatabase(ledger_place)
    with database.writing() as connection:
        THINGS.drop(connection, checkfirst=True)
        THINGS.create(connection)
        Prepared(sa.insert(THINGS)).insert(connection, ROWS)
        yield connection
    database.close()


def test_rows_are_those_of_sqlalchemy(connection: Connection) -> None:
    every = sa.select(THINGS).order_by(THINGS.c.thing_id)
    expected = connection.execute(every).all()
    found = Prepared(every).rows(connection, {})
    assert [tuple(row) for row in found] == [tuple(row) for row in expected]
    assert (found[0].table, found[0].size, found[1].bytes) == ("x\"' %s ?", 1.5, None)


@pytest.mark.parametrize("ids", [["b"], ["c", "a"], [], ["x"], [*map(str, range(PART)), "a", "c"]])
def test_rows_of_some_ids_are_in_the_order_of_the_select(
    connection: Connection, ids: list[str]
) -> None:
    by_id = ById(sa.select(THINGS.c.thing_id).order_by(THINGS.c.thing_id), THINGS.c.thing_id)
    found = [row.thing_id for row in by_id.rows(connection, ids)]
    assert found == sorted({"a", "b", "c"} & set(ids))


def test_a_change_counts_its_rows_and_keeps_what_the_statement_holds(
    connection: Connection,
) -> None:
    larger = Prepared(
        sa.update(THINGS)
        .where(THINGS.c.size >= sa.bindparam("least"))
        .values(size=THINGS.c.size + 1, table=sa.bindparam("new"))
    )
    assert larger.change(connection, {"least": 1.0, "new": None}) == 2
    assert larger.change(connection, {"least": 3.0, "new": "n"}) == 1
    sizes = connection.execute(sa.select(THINGS.c.size, THINGS.c.table).order_by("thing_id"))
    assert [tuple(row) for row in sizes] == [(2.5, None), (None, None), (4.0, "n")]


def test_an_error_is_that_of_sqlalchemy_and_names_no_value(connection: Connection) -> None:
    with (
        pytest.raises(sa.exc.IntegrityError, match="things") as told,
        connection.begin_nested(),
    ):
        Prepared(sa.insert(THINGS)).insert(connection, [{"thing_id": "a", "table": "secret"}])
    assert "secret" not in str(told.value)


def test_a_column_that_is_not_there_is_no_silence(connection: Connection) -> None:
    with pytest.raises((KeyError, sa.exc.CompileError), match="colour"):
        Prepared(sa.insert(THINGS)).insert(connection, [{"thing_id": "d", "colour": "red"}])


def test_a_reader_sees_one_state_from_its_first_statement(ledger_place: Path | str) -> None:
    database = LedgerDatabase(ledger_place)
    with database.writing() as writer:
        THINGS.drop(writer, checkfirst=True)
        THINGS.create(writer)
    counted = Prepared(sa.select(sa.func.count().label("count")).select_from(THINGS))
    with database.reading() as reader:
        assert counted.rows(reader, {})[0].count == 0
        with database.writing() as writer:
            Prepared(sa.insert(THINGS)).insert(writer, ROWS)
        assert counted.rows(reader, {})[0].count == 0
    with database.reading() as reader:
        assert counted.rows(reader, {})[0].count == 3
    database.close()
