"""The kinds of database there are, and which one an address or a connection is of."""

from __future__ import annotations

import sqlalchemy as sa

from serving.ledger.database.dialects.postgresql import PostgreSQL
from serving.ledger.database.dialects.protocol import Dialect
from serving.ledger.database.dialects.sqlite import SQLite

DIALECTS: tuple[Dialect, ...] = (PostgreSQL(), SQLite())


def dialect_named(name: str) -> Dialect:
    """The dialect that SQLAlchemy calls by this name."""
    return next(one for one in DIALECTS if one.name == name)


def address_with_driver(address: sa.URL) -> sa.URL | None:
    """An address as its dialect opens it; None where a ledger cannot be there."""
    return next((url for one in DIALECTS if (url := one.url(address)) is not None), None)
