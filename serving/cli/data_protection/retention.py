"""Commands that apply the rules of retention, or say what they would remove."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from features.cli.options import DEFAULT_WORKSPACE, InWorkspace, out, show_progress, time_of
from features.steady_clock import SteadyClock
from features.workspace import Workspace

if TYPE_CHECKING:
    from serving.data_protection.retention.run import RetentionReceipt

BY_SERVICE, BY_COMMAND = "keepwell serve", "keepwell retention run"


def run(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what would be removed.")
    ] = False,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Remove what is older than retention.toml allows; `keepwell serve` does so every night.

    Events that figures are computed from stay without whoever caused them, what they wrote and their
    ids; all else goes. Whoever is under a legal hold is left out.
    """
    from features.lake.admission.horizons import FOLDER
    from serving.data_protection.retention.policy import POLICY_FILE
    from serving.data_protection.retention.run import RECEIPT_FILE

    place = Workspace(workspace)
    with show_progress("Looking at what is older" if dry_run else "Removing what is older"):
        now = moment_of_retention(place, lambda: time_of(place))
        receipt = apply_rules(place, now=now, by=BY_COMMAND, dry_run=dry_run)
    if not receipt.rules:
        out.print(
            f"{place.root} has no {POLICY_FILE}, so all is kept. How to write one: "
            f"docs/how-to/keep-data-for-a-time.md",
            markup=False,
            highlight=False,
        )
        return
    table = Table("what", "days", "before", "without persons now", "removed", "held back")
    for one in receipt.rules:
        table.add_row(
            one.what,
            str(one.days),
            one.before[:10],
            f"{one.changed:,}",
            f"{one.removed:,}",
            f"{one.held_back:,}",
        )
    out.print(table)
    if dry_run:
        out.print("Nothing was changed.")
    elif receipt.touched:
        name = f"{FOLDER}/{RECEIPT_FILE.format(receipt.run)}"
        state = (
            "signed" if receipt.signature else "not signed, since KEEPWELL_BUNDLE_KEY is not set"
        )
        out.print(f"Receipt: {name} ({state}).", markup=False, highlight=False)


def apply_rules(
    place: Workspace, *, now: datetime, by: str, dry_run: bool = False
) -> RetentionReceipt:
    """Apply the rules with the databases and the key that the environment names."""
    from registry.integrity.signing import signing_key
    from serving.data_protection.retention.run import run_retention
    from serving.ledger.stores.outbox_tables import FILE
    from serving.settings import service_settings

    return run_retention(
        place,
        outbox=service_settings(os.environ).ledger_url or place.root / FILE,
        now=now,
        by=by,
        key=signing_key(os.environ),
        dry_run=dry_run,
    )


def moment_of_retention(place: Workspace, clock: Callable[[], datetime]) -> datetime:
    """Now; the clock of a sample, where the settings state one."""
    return place.settings.clock or clock()


def nightly(place: Workspace, clock: SteadyClock) -> Callable[[], object]:
    """What the service calls again and again: it applies the rules once a night.

    Nothing is removed while the clock of the machine has jumped, for it cannot be put back.
    """
    from serving.data_protection.retention.nightly import run_if_due

    def work() -> object:
        if clock.problem is not None:
            return None
        now = moment_of_retention(place, clock)
        return run_if_due(place, lambda: apply_rules(place, now=now, by=BY_SERVICE), now=now)

    return work
