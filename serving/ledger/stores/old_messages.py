"""Remove messages to webhooks that were sent, or given up, before a moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from serving.ledger.database.dialects.protocol import WRITES
from serving.ledger.stores.outbox_tables import DEAD, MESSAGES, SENT
from serving.ledger.stores.subjects import closing_engine, rewrite_tables


@dataclass(frozen=True, kw_only=True)
class OldMessages:
    """How many messages were removed, and how many are held."""

    removed: int = 0
    held_back: int = 0


def remove_old_messages(
    where: Path | str,
    before: datetime,
    *,
    is_held: Callable[[str, str], bool],
    only_count: bool = False,
) -> OldMessages:
    """Remove old messages whose account and text are not held, and rewrite the file."""
    if isinstance(where, Path) and not where.exists():
        return OldMessages()
    with closing_engine(where) as engine:
        if not sa.inspect(engine).has_table(MESSAGES.name):
            return OldMessages()
        old = sa.and_(
            MESSAGES.c.state.in_((SENT, DEAD)), MESSAGES.c.changed_at < before.timestamp()
        )
        keys = (MESSAGES.c.endpoint, MESSAGES.c.place, MESSAGES.c.account_id, MESSAGES.c.body)
        with engine.execution_options(**{WRITES: not only_count}).begin() as connection:
            rows = connection.execute(sa.select(*keys).where(old)).all()
            gone = [row for row in rows if not is_held(row.account_id, row.body)]
            for row in () if only_count else gone:
                connection.execute(
                    sa.delete(MESSAGES).where(
                        MESSAGES.c.endpoint == row.endpoint, MESSAGES.c.place == row.place
                    )
                )
        if gone and not only_count:
            rewrite_tables(engine, "the outbox", MESSAGES.name)
    return OldMessages(removed=len(gone), held_back=len(rows) - len(gone))
