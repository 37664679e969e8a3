"""This module is about what the ledger's tables look like."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

METADATA = sa.MetaData()

DECISIONS = sa.Table(
    "decisions", METADATA,
    sa.Column("decision_id", sa.String, primary_key=True),
    sa.Column("account_id", sa.String, nullable=False, index=True),
    sa.Column("decided_at", sa.String, nullable=False),
    sa.Column("as_of", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("propensity", sa.Float, nullable=False),
    sa.Column("expected_value", sa.Float, nullable=False),
    sa.Column("currency", sa.String, nullable=False),
    sa.Column("eligible", sa.String, nullable=False),
    sa.Column("withheld", sa.String, nullable=False),
    sa.Column("versions", sa.String, nullable=False),
    sa.Column("input_digest", sa.String, nullable=False),
)
OUTCOMES = sa.Table(
    "outcomes", METADATA,
    sa.Column("outcome_id", sa.String, primary_key=True),
    sa.Column("decision_id", sa.String, sa.ForeignKey("decisions.decision_id"), nullable=False,
              index=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("occurred_at", sa.String, nullable=False),
    sa.Column("received_at", sa.String, nullable=False),
    sa.Column("result", sa.String),
    sa.Column("reason", sa.String),
    sa.Column("by", sa.String),
)
KEYS = sa.Table(
    "idempotency_keys", METADATA,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("request_digest", sa.String, nullable=False),
    sa.Column("outcome_id", sa.String, sa.ForeignKey("outcomes.outcome_id"), nullable=False),
)
DELIVERIES = sa.Table(
    "timeline_deliveries", METADATA,
    sa.Column("record_id", sa.String, primary_key=True),
    sa.Column("delivered_at", sa.String, nullable=False),
)

CHAIN = sa.Table(
    "chain", METADATA,
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("table", sa.String, nullable=False),
    sa.Column("record_id", sa.String, nullable=False),
    sa.Column("content", sa.String, nullable=False),  # hash of the record
    sa.Column("link", sa.String, nullable=False),  # hash of the link before and this row
    sa.UniqueConstraint("table", "record_id"),
)
VERSIONS = sa.Table(
    "ledger_versions", METADATA,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("brought", sa.String, nullable=False),
)

CHAINED: Mapping[str, sa.Table] = {t.name: t for t in (DECISIONS, OUTCOMES, KEYS)}
"""Every record of these has its link, written in the same transaction."""

PERMANENT = tuple(METADATA.tables)
"""Tables whose rows the database itself refuses to change or to delete."""
