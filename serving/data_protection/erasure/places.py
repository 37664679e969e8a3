"""All ways to find and erase a subject, in the order in which an erasure goes through them."""

from __future__ import annotations

from serving.data_protection.erasure.places_in_databases import (
    InKeys,
    InLedger,
    InModelStore,
    InOutbox,
    InWaitingAccounts,
)
from serving.data_protection.erasure.places_in_features import (
    InEvents,
    InOnlineStore,
    InSnapshots,
)
from serving.data_protection.erasure.places_in_files import InDrafts, InFiles, InModels
from serving.data_protection.erasure.protocol import SubjectPlace

SUBJECT_PLACES: tuple[SubjectPlace, ...] = (
    InModels(),  # compares with snapshots, so before them
    InLedger(),  # fills the timeline and the outbox
    InOutbox(),
    InEvents(),
    InSnapshots(),
    InOnlineStore(),
    InWaitingAccounts(),
    InKeys(),
    InModelStore(),
    InFiles(),
    InDrafts(),
)

NAMELESS_PATHS = (
    "erasures/holds.json",
    "erasures/under-way.json",
    "erasures/request-*.json",
    "erasures/receipt-*.json",
    "ledger.head",
)
"""Paths of ``PLACES`` in which nobody is looked for: what an erasure writes itself (its journal is
removed at its end), and the head of the ledger, which says who put another in its place."""
