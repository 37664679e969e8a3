"""Every text that a database holds, whatever its tables: where names are looked for by their digests."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from serving.ledger.database.database import database_errors, open_engine

ROWS_AT_ONCE = 500


def texts_in(where: Path | str) -> Iterator[str]:
    """The texts of all rows, those that are packed as well.

    Raises:
        UnreadableDatabaseError: the database cannot be read.
    """
    engine = open_engine(where)
    try:
        with database_errors(), engine.connect() as connection:
            tables = sa.MetaData()
            tables.reflect(connection)
            for table in tables.sorted_tables:
                kinds = (sa.String, sa.LargeBinary)
                columns = [one for one in table.columns if isinstance(one.type, kinds)]
                if not columns:
                    continue
                rows = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(
                    sa.select(*columns)
                )
                for row in rows:
                    yield from (text for value in row if (text := _text(value)))
    finally:
        engine.dispose()


def _text(value: object) -> str | None:
    if isinstance(value, memoryview | bytes):
        try:
            return zlib.decompress(value).decode(errors="replace")
        except zlib.error:
            return None
    return value if isinstance(value, str) else None
