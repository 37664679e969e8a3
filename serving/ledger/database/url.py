"""Read the address of the ledger's database, and show it without its password. Connects to nothing."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from serving.ledger.database.dialects.supported import DIALECTS, address_with_driver


class LedgerUrlError(ValueError):
    """The address of the ledger cannot be used."""


def ledger_url(text: str) -> sa.URL:
    """The address of a ledger, checked without reaching it.

    >>> ledger_url("postgres://ledger:secret@db.example/keepwell")
    postgresql+psycopg://ledger:***@db.example/keepwell

    Raises:
        LedgerUrlError: it is not an address, or of another kind of database.
    """
    try:
        url = address_with_driver(sa.make_url(text))
    except (sa.exc.ArgumentError, ValueError):  # its text holds parts of it, as of the password
        url = None
    if url is None or not url.database:
        raise LedgerUrlError(
            f"The address of the ledger cannot be used. Write it as "
            f"{' or '.join(one.address for one in DIALECTS)}. In a password, write @ as %40, : as %3A, / as "
            f"%2F and # as %23."
        )
    return url


def address_without_password(where: Path | str) -> str:
    """The address of the ledger for a person to read, without its password.

    >>> address_without_password("postgresql://ledger:secret@db.example/keepwell")
    'postgresql+psycopg://ledger:***@db.example/keepwell'
    """
    return str(where) if isinstance(where, Path) else ledger_url(where).render_as_string()
