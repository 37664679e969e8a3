"""Carry out erasures for commands: begin, finish, say what was found, and list them beside backups."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from features.cli.options import FOUND, out, plural, show_progress, steady_clock, time_of
from features.events.subject import Subject
from features.workspace import Workspace
from features.workspace_files import WorkspaceError

if TYPE_CHECKING:
    from serving.data_protection.erasure.erase import Journal, Receipt
    from serving.data_protection.erasure.protocol import SubjectRequest


def subject_request(place: Workspace, subject: Subject, *, by: str, reason: str) -> SubjectRequest:
    """A subject in a workspace, with the databases that the environment names."""
    from registry.integrity.signing import signing_key
    from serving.data_protection.erasure.protocol import SubjectRequest
    from serving.ledger.stores.outbox_tables import FILE
    from serving.settings import service_settings

    stated = service_settings(os.environ).ledger_url
    return SubjectRequest(
        workspace=place,
        subject=subject,
        by=by,
        at=time_of(place),
        reason=reason,
        database=stated or place.ledger_db,
        outbox=stated or place.root / FILE,
        key=signing_key(os.environ),
    )


def finish_interrupted(place: Workspace) -> bool:
    """Finish an erasure that was begun and not ended; False where there is none."""
    from serving.data_protection.erasure.erase import under_way

    journal = under_way(place)
    if journal is None:
        return False
    out.print(f"An erasure of {journal.at[:16]} was interrupted and is finished now.", markup=False)
    finish(subject_request(place, journal.subject, by=journal.by, reason=journal.reason), journal)
    return True


def apply_pending_erasures(
    place: Workspace, say: Callable[[str], None] = lambda name: None
) -> None:
    """Apply to a restored workspace the erasures that it lacks.

    Where one cannot be carried out, the reason is said, and it stays pending.
    """
    from features.store.feast import FeatureStoreError
    from registry.bundle.metadata import BundleError
    from registry.store.store import ModelStoreError
    from serving.data_protection.erasure.erase_pending import erase_pending
    from serving.data_protection.pending_erasures import pending_erasures
    from serving.ledger.errors import LedgerError, UnreadableDatabaseError

    lacking = len(pending_erasures(place))
    if not lacking:
        return
    try:
        done = erase_pending(
            place,
            lambda subject: subject_request(place, subject, by="", reason=""),
            clock=steady_clock(place),
            learned=lambda subject: trained_on_words(place, subject),
            progress=say,
        )
    except (
        WorkspaceError,
        BundleError,
        FeatureStoreError,
        ModelStoreError,
        LedgerError,
        UnreadableDatabaseError,
        TimeoutError,
        OSError,
        sqlite3.Error,
    ) as error:
        _tell(
            f"Not all that was erased after this backup could be erased again: {error} The workspace "
            f"is not served before; `keepwell serve` tries again."
        )
        return
    again, nothing, left = len(done.receipts), len(done.held_nothing), len(done.pending)
    _tell(
        f"{plural(lacking, 'erasure')} came after this backup: {again} carried out again, {nothing} "
        f"about somebody whom it does not hold, {left} left."
    )
    for receipt in done.receipts:
        _warn_of_left(receipt)


def begin(at: SubjectRequest, *, approved_by: str | None = None) -> Journal:
    """Count what is held, and write the journal."""
    from serving.data_protection.erasure.damaged_snapshots import mend_snapshots
    from serving.data_protection.erasure.erase import begin_erasure, count_places

    for words in mend_snapshots(at.workspace):
        out.print(words, markup=False, highlight=False)
    with show_progress("Looking for it everywhere"):
        found = count_places(at)
    return begin_erasure(
        at, approved_by=approved_by, learned=trained_on_words(at.workspace, at.subject), found=found
    )


def finish(at: SubjectRequest, journal: Journal) -> None:
    """Erase, and show the receipt; ends with 1 where something is left."""
    from serving.data_protection.erasure.erase import RECEIPT_FILE, finish_erasure

    with show_progress("Erasing") as say:
        receipt = finish_erasure(
            at,
            journal,
            clock=steady_clock(at.workspace),
            progress=lambda name: say(name, 0, 0),
        )
    show_counts(receipt.found)
    for words in receipt.learned:
        out.print(words, markup=False, highlight=False)
    name = RECEIPT_FILE.format(receipt.erasure)
    state = "signed" if receipt.signature else "not signed, since KEEPWELL_BUNDLE_KEY is not set"
    out.print(f"Receipt: erasures/{name} ({state}).", markup=False, highlight=False)
    list_in_targets(at.workspace)
    if receipt.left:
        _warn_of_left(receipt)
        raise typer.Exit(FOUND)


def list_in_targets(place: Workspace) -> None:
    """List erasures where the workspace is backed up, so that no restore brings somebody back."""
    from serving.data_protection.backup.erasures import list_erasures_in_targets
    from serving.settings import BACKUP_KEY_VARIABLE

    key = os.environ.get(BACKUP_KEY_VARIABLE) or None
    for address, problem in list_erasures_in_targets(place, key=key, now=time_of(place)).items():
        _tell(
            f"Listed beside the backups in {address}."
            if problem is None
            else f"Not listed beside the backups in {address} before the next `keepwell backup` to "
            f"it: {problem}"
        )


def _warn_of_left(receipt: Receipt) -> None:
    if receipt.left:
        places = ", ".join(f"{name} ({count})" for name, count in receipt.left.items())
        _tell(
            f"Some of it came back while it was erased, or could not be: {places}. Erase it again, "
            f"with the service stopped."
        )


def _tell(text: str) -> None:
    out.print(text, markup=False, highlight=False)


def show_counts(found: Mapping[str, int]) -> None:
    """Show how much each place holds."""
    table = Table("place", "entries")
    for name, count in found.items():
        table.add_row(name, f"{count:,}")
    out.print(table)
    out.print(f"{plural(sum(found.values()), 'entry').replace('entrys', 'entries')} in all.")
    if not any(found.values()):
        out.print("Nothing is held under this id. Compare its spelling with the one in your data.")


def trained_on_words(place: Workspace, subject: Subject) -> tuple[str, ...]:
    """Which models learned from a subject, and which effects were measured with it, as sentences."""
    from serving.cli.models import store_of
    from serving.data_protection.erasure.trained_on import effects_measured_with, models_trained_on

    models = models_trained_on(place, store_of(place), subject)
    return (*(one.words for one in models), *effects_measured_with(place, subject))
