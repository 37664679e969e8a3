"""Upgrade the tables of an older ledger to those of today.

A ledger stores its version. Each step turns one version into the next; all missing steps run in one
transaction when the ledger is first opened, under the lock of all writers, so that a process that
ends in between leaves the ledger as it was. A new ledger gets today's tables at once. Steps are only
ever added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from serving.ledger.database.chain import link_all
from serving.ledger.database.dialects.supported import dialect_named
from serving.ledger.database.tables import (
    APPROVALS,
    CHAIN,
    CLAIM_RECORDS,
    CONTROLS,
    DECISIONS,
    DRAWS,
    FEEDBACK,
    INPUTS,
    METADATA,
    OUTCOMES,
    PERMANENT,
    REDACTED,
    REDACTIONS,
    VERSIONS,
)
from serving.ledger.errors import LedgerDamagedError


class LedgerVersionError(Exception):
    """The ledger is of a newer Keepwell."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One version: what it brought, and how to upgrade a ledger of the version before."""

    version: int
    brought: str
    apply: Callable[[Connection], None]


def _link(connection: Connection) -> None:
    CHAIN.create(connection)
    link_all(connection)


def _say_version(connection: Connection) -> None:
    VERSIONS.create(connection)


def _act(connection: Connection) -> None:
    _add(
        connection,
        DECISIONS.c.valid_until,
        DECISIONS.c.segment,
        DECISIONS.c.csm,
        DECISIONS.c.autonomy,
        DECISIONS.c.proposed_by,
        DECISIONS.c.inputs,
        OUTCOMES.c.clock,
    )
    for table in (CLAIM_RECORDS, APPROVALS, CONTROLS, INPUTS):
        table.create(connection)


def _hear(connection: Connection) -> None:
    FEEDBACK.create(connection)


def _go_by_the_clock(connection: Connection) -> None:
    _add(connection, DECISIONS.c.asked_at, OUTCOMES.c.heard_at)
    _index(
        connection,
        DECISIONS.c.asked_at,
        OUTCOMES.c.heard_at,
        CLAIM_RECORDS.c.at,
        APPROVALS.c.at,
        CONTROLS.c.at,
    )


def _draw(connection: Connection) -> None:
    DRAWS.create(connection)


def _measure(connection: Connection) -> None:
    _add(connection, OUTCOMES.c.measure)


def _hear_by_the_clock(connection: Connection) -> None:
    _add(connection, FEEDBACK.c.heard_at)
    _index(connection, FEEDBACK.c.heard_at)


def _list_actions(connection: Connection) -> None:
    _add(connection, DECISIONS.c.part_of, DECISIONS.c.subjects)
    _index(connection, DECISIONS.c.part_of)


def _redact(connection: Connection) -> None:
    _add(connection, CHAIN.c.salt)
    for table in (REDACTIONS, REDACTED):
        table.create(connection, checkfirst=True)


def _index(connection: Connection, *columns: sa.Column[Any]) -> None:
    for column in columns:
        for index in column.table.indexes:
            if list(index.columns) == [column]:
                index.create(connection, checkfirst=True)


def _add(connection: Connection, *columns: sa.Column[Any]) -> None:
    for column in columns:
        there = sa.inspect(connection).get_columns(column.table.name)
        if column.name in {one["name"] for one in there}:
            continue  # a step before this one made its table, as the table is today
        kind = column.type.compile(connection.dialect)
        connection.execute(
            sa.text(f'ALTER TABLE {column.table.name} ADD COLUMN "{column.name}" {kind}')
        )


STEPS = (
    Step(version=1, brought="a link for every record", apply=_link),
    Step(version=2, brought="the version itself", apply=_say_version),
    Step(
        version=3,
        brought="claims, approvals, controls and all that a decision was made on",
        apply=_act,
    ),
    Step(version=4, brought="what people say to recommendations", apply=_hear),
    Step(version=5, brought="moments on the clock of the service", apply=_go_by_the_clock),
    Step(version=6, brought="the draws of plans", apply=_draw),
    Step(version=7, brought="what was measured after an action", apply=_measure),
    Step(
        version=8,
        brought="when people said something, on the clock of the service",
        apply=_hear_by_the_clock,
    ),
    Step(
        version=9,
        brought="decisions about single actions of a list, and subjects of conversations",
        apply=_list_actions,
    ),
    Step(version=10, brought="redactions, and a key for the hash of each record", apply=_redact),
)
"""Version 0 is a ledger of decisions, outcomes, keys and deliveries without links."""

NEWEST = STEPS[-1].version


def upgrade(connection: Connection) -> None:
    """Bring the ledger to the newest version; a new one gets all tables at once.

    Raises:
        LedgerVersionError: a newer Keepwell wrote it.
        LedgerDamagedError: tables that it had are gone.
    """
    inspected = sa.inspect(connection)
    if not inspected.has_table(DECISIONS.name):
        if inspected.has_table(VERSIONS.name) or inspected.has_table(CHAIN.name):
            raise _lost("its table of decisions")
        METADATA.create_all(connection)
        missing: tuple[Step, ...] = STEPS
    else:
        version = version_of(connection)
        if version > NEWEST:
            raise LedgerVersionError(
                f"The ledger has version {version}, of a newer Keepwell; this one knows versions "
                f"up to {NEWEST}. Start the newer Keepwell; nothing was changed."
            )
        missing = STEPS[version:]
        for step in missing:
            step.apply(connection)
    if missing:
        connection.execute(
            sa.insert(VERSIONS),
            [{"version": step.version, "brought": step.brought} for step in missing],
        )
        lock_rows(connection)
    gone = sorted(
        {table.name for table in METADATA.tables.values()}
        - set(sa.inspect(connection).get_table_names())
    )
    if gone:
        raise _lost(", ".join(gone))


def _lost(what: str) -> LedgerDamagedError:
    words = f"The ledger has lost {what}. Put it back from a backup, and keep this one to look at."
    return LedgerDamagedError(words, cause=words)


def version_of(connection: Connection) -> int:
    """The version of a ledger that has decisions."""
    inspected = sa.inspect(connection)
    if inspected.has_table(VERSIONS.name):
        newest: int | None = connection.scalar(sa.select(sa.func.max(VERSIONS.c.version)))
        return newest or 0
    return 1 if inspected.has_table(CHAIN.name) else 0


def lock_rows(connection: Connection) -> None:
    """Let the database itself refuse to change or to delete a row."""
    for statement in dialect_named(connection.dialect.name).refuse_changes(PERMANENT):
        connection.execute(sa.text(statement))
