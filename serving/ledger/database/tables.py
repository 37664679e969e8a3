"""The tables of the ledger."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

METADATA = sa.MetaData()

LATER = {"later": True}
"""Marks a column that older records lack: where it is null it is no part of their hash, so the
links that were made before it stay valid."""


def _of_a_decision() -> sa.Column[str]:
    return sa.Column(
        "decision_id", sa.String, sa.ForeignKey("decisions.decision_id"), nullable=False, index=True
    )


def _sent_once(*, always: bool = False) -> tuple[sa.Column[str], sa.Column[str]]:
    """By what a request that is sent again is known; ``always`` where none comes without a key."""
    return (
        sa.Column("key", sa.String, nullable=not always, unique=True),
        sa.Column("request_digest", sa.String, nullable=False),
    )


DECISIONS = sa.Table(
    "decisions",
    METADATA,
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
    sa.Column("valid_until", sa.String, info=LATER),
    sa.Column("segment", sa.String, info=LATER),
    sa.Column("csm", sa.String, info=LATER),
    sa.Column("autonomy", sa.Integer, info=LATER),
    sa.Column("proposed_by", sa.String, info=LATER),
    sa.Column("inputs", sa.String, info=LATER),
    sa.Column("asked_at", sa.String, index=True, info=LATER),
    sa.Column("part_of", sa.String, index=True, info=LATER),
    sa.Column("subjects", sa.String, info=LATER),
)
OUTCOMES = sa.Table(
    "outcomes",
    METADATA,
    sa.Column("outcome_id", sa.String, primary_key=True),
    _of_a_decision(),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("occurred_at", sa.String, nullable=False),
    sa.Column("received_at", sa.String, nullable=False),
    sa.Column("result", sa.String),
    sa.Column("reason", sa.String),
    sa.Column("by", sa.String),
    sa.Column("clock", sa.String, info=LATER),
    sa.Column("heard_at", sa.String, index=True, info=LATER),
    sa.Column("measure", sa.String, info=LATER),
)
KEYS = sa.Table(
    "idempotency_keys",
    METADATA,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("request_digest", sa.String, nullable=False),
    sa.Column("outcome_id", sa.String, sa.ForeignKey("outcomes.outcome_id"), nullable=False),
)
DELIVERIES = sa.Table(
    "timeline_deliveries",
    METADATA,
    sa.Column("record_id", sa.String, primary_key=True),
    sa.Column("delivered_at", sa.String, nullable=False),
)

CHAIN = sa.Table(
    "chain",
    METADATA,
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("table", sa.String, nullable=False),
    sa.Column("record_id", sa.String, nullable=False),
    sa.Column("content", sa.String, nullable=False),  # hash of the record
    sa.Column("link", sa.String, nullable=False),  # hash of the link before and this row
    sa.Column("salt", sa.String),  # key of the hash of the record; erased with it
    sa.UniqueConstraint("table", "record_id"),
)
CLAIM_RECORDS = sa.Table(
    "claim_records",
    METADATA,
    sa.Column("record_id", sa.String, primary_key=True),
    sa.Column("claim_id", sa.String, nullable=False, index=True),
    _of_a_decision(),
    sa.Column("account_id", sa.String, nullable=False, index=True),
    sa.Column("action", sa.String, nullable=False, index=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("at", sa.String, nullable=False, index=True),
    sa.Column("lease_until", sa.String, nullable=False),
    sa.Column("by", sa.String, nullable=False),
    sa.Column("reason", sa.String),
    *_sent_once(),
)
APPROVALS = sa.Table(
    "approvals",
    METADATA,
    sa.Column("approval_id", sa.String, primary_key=True),
    _of_a_decision(),
    sa.Column("verdict", sa.String, nullable=False),
    sa.Column("by", sa.String, nullable=False),
    sa.Column("at", sa.String, nullable=False, index=True),
    sa.Column("reason", sa.String),
    *_sent_once(always=True),
)
CONTROLS = sa.Table(
    "controls",
    METADATA,
    sa.Column("control_id", sa.String, primary_key=True),  # counted, so that their order is theirs
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("action", sa.String),
    sa.Column("segment", sa.String),
    sa.Column("csm", sa.String),
    sa.Column("value", sa.Integer),
    sa.Column("by", sa.String, nullable=False),
    sa.Column("at", sa.String, nullable=False, index=True),
    sa.Column("reason", sa.String, nullable=False),
)
INPUTS = sa.Table(
    "policy_inputs",
    METADATA,
    sa.Column("digest", sa.String, primary_key=True),
    sa.Column("content", sa.String, nullable=False),
)
FEEDBACK = sa.Table(
    "feedback",
    METADATA,
    sa.Column("feedback_id", sa.String, primary_key=True),
    _of_a_decision(),
    sa.Column("account_id", sa.String, nullable=False, index=True),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("verdict", sa.String, nullable=False),
    sa.Column("reason", sa.String),
    sa.Column("snooze_until", sa.String),
    sa.Column("by", sa.String, nullable=False),
    sa.Column("at", sa.String, nullable=False),
    sa.Column("heard_at", sa.String, index=True, info=LATER),
    *_sent_once(),
)

DRAWS = sa.Table(
    "plan_draws",
    METADATA,
    sa.Column("record_id", sa.String, primary_key=True),
    sa.Column("account_id", sa.String, nullable=False, index=True),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("arm", sa.String, nullable=False),
    sa.Column("probability", sa.Float, nullable=False),
    sa.Column("draw_id", sa.String, nullable=False, index=True),
    sa.Column("key_id", sa.String, nullable=False),
    sa.Column("drawn", sa.Integer, nullable=False),
    sa.Column("of_accounts", sa.Integer, nullable=False),
    sa.Column("by", sa.String, nullable=False),
    sa.Column("drawn_at", sa.String, nullable=False),
    sa.Column("made_by", sa.String, nullable=False),
)

REDACTIONS = sa.Table(
    "redactions",
    METADATA,
    sa.Column("redaction_id", sa.String, primary_key=True),
    sa.Column("about", sa.String, nullable=False),  # account, person
    sa.Column("by", sa.String, nullable=False),
    sa.Column("at", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("gone", sa.Integer, nullable=False),  # records without what they held
    sa.Column("changed", sa.Integer, nullable=False),  # records without a name or a text
    sa.Column("covers", sa.String, nullable=False),  # hash of its rows of REDACTED
)
REDACTED = sa.Table(
    "redacted_places",
    METADATA,
    sa.Column(
        "redaction_id", sa.String, sa.ForeignKey("redactions.redaction_id"), primary_key=True
    ),
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("link", sa.String, nullable=False),  # as it was and stays
    sa.Column(
        "content", sa.String, nullable=False
    ),  # hash of the changed record; empty: it is gone
)
"""What a redaction covers: places of the chain whose record is gone or was changed by it."""

VERSIONS = sa.Table(
    "ledger_versions",
    METADATA,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("brought", sa.String, nullable=False),
)

BY_THE_CLOCK = (
    DECISIONS.c.asked_at,
    OUTCOMES.c.heard_at,
    CLAIM_RECORDS.c.at,
    APPROVALS.c.at,
    CONTROLS.c.at,
    FEEDBACK.c.heard_at,
)
"""Moments on the clock of the service; all others are on the time of the data."""

CHAINED: Mapping[str, sa.Table] = {
    t.name: t
    for t in (
        DECISIONS,
        OUTCOMES,
        KEYS,
        CLAIM_RECORDS,
        APPROVALS,
        CONTROLS,
        INPUTS,
        FEEDBACK,
        DRAWS,
        REDACTIONS,
    )
}
"""Every record of these has its link, written in the same transaction."""

PERMANENT = tuple(METADATA.tables)
"""Tables whose rows the database itself refuses to change or to delete."""
