"""PostgreSQL: a database of its own for each workspace, on a server."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from serving.ledger.database.dialects.protocol import (
    BUSY_SECONDS,
    CONNECT_SECONDS,
    DURABLE,
    MOST_CONNECTIONS,
    LedgerFiles,
)

DAMAGED = ("XX001", "XX002", "42P01", "42703")
"""Data or index corrupted, table or column not there."""

REFUSE = """
CREATE OR REPLACE FUNCTION keepwell_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'restrict_violation'; END $$
"""


class PostgreSQL:
    """A database on a server; writers take an advisory lock in turn."""

    name = "postgresql"
    address = "postgresql://USER:PASSWORD@HOST/DATABASE"
    queues_writers = True
    connect_errors: tuple[type[Exception], ...] = ()

    def url(self, address: sa.URL) -> sa.URL | None:
        """The address with the driver psycopg, where it names no other driver."""
        if address.drivername not in ("postgres", "postgresql", "postgresql+psycopg"):
            return None
        return address.set(drivername="postgresql+psycopg")

    def engine(self, url: sa.URL) -> Engine:
        """An engine on a database.

        Raises:
            ModuleNotFoundError: psycopg is not installed.
        """
        try:
            import psycopg  # noqa: F401
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "A ledger on PostgreSQL needs psycopg, which is optional: pip install -e "
                "'.[postgres]'. Without KEEPWELL_LEDGER_URL the ledger is a file of the workspace."
            ) from error
        wait = int(BUSY_SECONDS * 1000)
        return sa.create_engine(
            url,
            pool_pre_ping=True,
            hide_parameters=True,  # an error names the statement, and not whom it was about
            max_overflow=MOST_CONNECTIONS,
            pool_timeout=BUSY_SECONDS,
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "application_name": "keepwell",
                "options": f"-c synchronous_commit=on -c lock_timeout={wait} -c timezone=UTC",
            },
        )

    def reading(self, connection: Connection) -> Connection:
        """The connection with transactions that read one state of the database."""
        return connection.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    def files(self, url: sa.URL) -> LedgerFiles | None:
        """None: the server looks after them."""
        return None

    def limit_wait(self, connection: Connection, seconds: float) -> None:
        """Nothing: it is said as the turn is taken."""

    def take_turn(self, connection: Connection, lock: int, seconds: float) -> None:
        """Wait for an advisory lock; it ends with the transaction."""
        wait = f"{max(1, round(seconds * 1000))}ms"  # 0 would wait for ever
        connection.execute(sa.select(sa.func.set_config("lock_timeout", wait, True)))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock)))
        if not connection.get_execution_options().get(DURABLE, True):
            connection.execute(sa.text("SET LOCAL synchronous_commit TO off"))

    def is_damaged(self, error: BaseException | None) -> bool:
        """Whether the server says that its data are corrupted, or that a table is not there."""
        return getattr(error, "sqlstate", None) in DAMAGED

    def structure_problem(self, connection: Connection) -> str | None:
        """None: the server checks its own files."""
        return None

    def is_broken(self, error: BaseException | None) -> bool:
        """Never: the server says so by an error of another class."""
        return False

    def refuse_changes(self, tables: Iterable[str]) -> Iterable[str]:
        """A function that refuses, and two triggers for each table."""
        yield REFUSE
        for table in tables:
            for name, what, each in (
                ("change", "UPDATE OR DELETE", "ROW"),
                ("truncate", "TRUNCATE", "STATEMENT"),
            ):
                yield (
                    f"CREATE OR REPLACE TRIGGER {table}_no_{name} BEFORE {what} ON {table} "
                    f"FOR EACH {each} EXECUTE FUNCTION keepwell_append_only()"
                )

    def permit_changes(self, tables: Iterable[str]) -> Iterable[str]:
        """Drop the triggers; a transaction that fails leaves them as they were."""
        for table in tables:
            for name in ("change", "truncate"):
                yield f"DROP TRIGGER IF EXISTS {table}_no_{name} ON {table}"

    def erase_deleted(self, engine: Engine, *tables: str) -> bool:
        """Write the tables anew, outside a transaction as the server wants it."""
        held = engine.raw_connection()
        try:
            held.rollback()
            held.driver_connection.autocommit = True  # type: ignore[union-attr]
            for table in tables:
                held.cursor().execute(f"VACUUM FULL {table}")
            held.driver_connection.autocommit = False  # type: ignore[union-attr]
            return True
        finally:
            held.close()
