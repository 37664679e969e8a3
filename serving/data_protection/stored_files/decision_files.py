"""Files of decisions, of messages about them, and of who may ask."""

from __future__ import annotations

from serving.data_protection.stored_files.declaration import FileFormat, Place

DECISION_FILES: tuple[Place, ...] = (
    Place(
        path="ledger.db",
        kind="SQLite",
        holds="decisions, claims, approvals, outcomes, feedback, and answers of requests",
        about="people",
        written_by="keepwell serve",
        format=FileFormat(
            "ledger", 10, "`ledger_versions`", "serving.ledger.database.migrations:NEWEST"
        ),
    ),
    Place(
        path="ledger.head",
        kind="text",
        holds="the newest head of the ledger, and who replaced it on purpose",
        about="people",
        written_by="keepwell serve",
        format=FileFormat(
            "head of the ledger",
            1,
            "the first value of its first line",
            "serving.ledger.database.noted_head:FORMAT",
        ),
        rebuilt_by="keepwell serve",
        in_backup="never",
    ),
    Place(
        path="webhooks.db",
        kind="SQLite",
        holds="webhooks with their encrypted secrets, and messages about decisions",
        about="people",
        written_by="keepwell webhooks, keepwell serve",
        format=FileFormat(
            "outbox", 1, "`user_version`", "serving.ledger.stores.outbox_tables:FORMAT"
        ),
    ),
    Place(
        path="webhooks.secret",
        kind="secret",
        holds="the key of the webhooks' secrets",
        about="nobody",
        written_by="keepwell webhooks",
        in_backup="if encrypted",
    ),
    Place(
        path="keys.db",
        kind="SQLite",
        holds="API keys as hashes, with their owners",
        about="people",
        written_by="keepwell keys, keepwell serve",
        format=FileFormat("API keys", 1, "`user_version`", "serving.ledger.stores.api_keys:FORMAT"),
    ),
    Place(
        path="keys.secret",
        kind="secret",
        holds="the pepper of the hashes of API keys",
        about="nobody",
        written_by="keepwell keys",
        in_backup="if encrypted",
    ),
    Place(
        path="reviews.secret",
        kind="secret",
        holds="the key that signs reviews of access",
        about="nobody",
        written_by="keepwell keys review",
        in_backup="if encrypted",
    ),
    Place(
        path="plans/*",
        kind="JSON",
        holds="the newest plan of a team's week, with names",
        about="people",
        written_by="keepwell plan",
        format=FileFormat("plan", 1, "`format`", "serving.decisions.saved_plan:FORMAT"),
    ),
)
