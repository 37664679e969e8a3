"""All erasers of a subject, in the order in which an erasure goes through them."""

from __future__ import annotations

from serving.data_protection.erasure.database_erasers import (
    ApiKeyEraser,
    LedgerEraser,
    ModelStoreEraser,
    OutboxEraser,
    TouchedAccountEraser,
)
from serving.data_protection.erasure.feature_erasers import (
    EventEraser,
    OnlineStoreEraser,
    SnapshotEraser,
)
from serving.data_protection.erasure.file_erasers import DraftEraser, FileEraser, GoldenRowEraser
from serving.data_protection.erasure.protocol import Eraser

ERASERS: tuple[Eraser, ...] = (
    GoldenRowEraser(),  # compares with snapshots, so before them
    LedgerEraser(),  # fills the timeline and the outbox
    OutboxEraser(),
    EventEraser(),
    SnapshotEraser(),
    OnlineStoreEraser(),
    TouchedAccountEraser(),
    ApiKeyEraser(),
    ModelStoreEraser(),
    FileEraser(),
    DraftEraser(),
)

NOT_SEARCHED_PATHS = (
    "erasures/holds.json",
    "erasures/under-way.json",
    "erasures/request-*.json",
    "erasures/receipt-*.json",
    "ledger.head",
)
"""Paths of ``PLACES`` in which nobody is looked for: what an erasure writes itself (its journal is
removed at its end), and the head of the ledger, which says who put another in its place."""
