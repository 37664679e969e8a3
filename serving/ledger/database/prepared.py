"""Statements that every stored decision runs, compiled once and handed to the driver as text.

SQLAlchemy looks a compiled statement up, sets its parameters and wraps its rows anew each time it is
executed, which on a file takes several times as long as the database itself. Here the text is the
same, the parameters are the same, and so are the errors. Another kind of database executes the
statement as ever: its driver sets types that only SQLAlchemy knows.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from serving.ledger.database.dialects.sqlite import SQLite, rows_by_driver, run_on_driver

PART = 1_000
"""Ids asked for at once: a database bounds the parameters of a statement."""


class Prepared:
    """A statement of which every parameter is given by its name.

    Its rows have the names of its columns, as those of SQLAlchemy.
    """

    def __init__(self, statement: sa.Select[Any] | sa.Insert | sa.Update | sa.Delete) -> None:
        self._statement = statement
        self._sql = ""
        self._fixed: Mapping[str, Any] = {}  # values that the statement itself holds
        self._names: Sequence[str] = ()
        columns = [column.name for column in getattr(statement, "selected_columns", ())]
        self._row: Any = namedtuple("Row", columns, rename=True)  # type: ignore[misc]

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Any]:
        """Run it, and fetch all its rows."""
        if connection.dialect.name != SQLite.name:
            return connection.execute(self._statement, dict(values)).all()
        sql, names = self._text(connection)
        given = {**self._fixed, **values}
        found = rows_by_driver(connection, sql, [given[name] for name in names])
        return [self._row(*row) for row in found]

    def change(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Run it, and count the rows that it changed."""
        if connection.dialect.name != SQLite.name:
            return connection.execute(self._statement, dict(values)).rowcount
        sql, names = self._text(connection)
        given = {**self._fixed, **values}
        return run_on_driver(connection, sql, [given[name] for name in names]).rowcount

    def insert(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run it for each of these rows; a column that a row does not name is null in it."""
        assert isinstance(self._statement, sa.Insert)
        columns = self._statement.table.columns.keys()
        for row in rows:
            unknown = row.keys() - columns
            if unknown:
                raise KeyError(f"There is no column {', '.join(sorted(unknown))} to write to.")
        if connection.dialect.name != SQLite.name:
            whole = [{name: row.get(name) for name in columns} for row in rows]
            connection.execute(self._statement, whole)
            return
        sql, names = self._text(connection)
        for row in rows:
            run_on_driver(connection, sql, [row.get(name) for name in names])

    def _text(self, connection: Connection) -> tuple[str, Sequence[str]]:
        if not self._sql:
            compiled: Any = self._statement.compile(dialect=connection.dialect)
            self._names = tuple(compiled.positiontup or ())
            self._fixed = {k: v for k, v in compiled.params.items() if v is not None}
            self._sql = str(compiled)
        return self._sql, self._names


class ById:
    """The rows of a select that are of some ids, in its order."""

    def __init__(self, statement: sa.Select[Any], column: sa.ColumnElement[Any]) -> None:
        self._of_one = Prepared(statement.where(column == sa.bindparam("id")))
        self._of_many = statement.where(column.in_(sa.bindparam("ids", expanding=True)))

    def rows(self, connection: Connection, ids: Sequence[str]) -> Sequence[Any]:
        """Those of these ids; of more than ``PART`` of them part by part."""
        if len(ids) == 1:
            return self._of_one.rows(connection, {"id": ids[0]})
        return [
            row
            for start in range(0, len(ids), PART)
            for row in connection.execute(self._of_many, {"ids": ids[start : start + PART]})
        ]
