"""This module is about where the ledger is: the address of a database, read and said.

An address may hold a password: nothing here repeats one. Reaches nothing.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa


class LedgerUrlError(ValueError):
    """The address of the ledger can not be used."""


def ledger_url(text: str) -> sa.URL:
    """The address of a ledger, checked without reaching it.

    >>> ledger_url("postgres://ledger:secret@db.example/keepwell")
    postgresql+psycopg://ledger:***@db.example/keepwell

    Raises:
        LedgerUrlError: it is not an address, or of another kind of database.
    """
    try:
        url = sa.make_url(text.replace("postgres://", "postgresql://", 1))
    except sa.exc.ArgumentError:  # its text holds the address, and with it the password
        url = None
    kinds = {"postgresql", "postgresql+psycopg", "sqlite"}
    if url is None or url.drivername not in kinds or not url.database:
        raise LedgerUrlError(
            "The address of the ledger can not be used. Write it as "
            "postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE."
        )
    return url if url.drivername == "sqlite" else url.set(drivername="postgresql+psycopg")


def place_in_words(where: Path | str) -> str:
    """Where the ledger is, for a person to read, without its password.

    >>> place_in_words("postgresql://ledger:secret@db.example/keepwell")
    'postgresql+psycopg://ledger:***@db.example/keepwell'
    """
    return str(where) if isinstance(where, Path) else ledger_url(where).render_as_string()
