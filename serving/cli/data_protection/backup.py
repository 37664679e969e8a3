"""Commands that store copies of a workspace, look at them, and put one back."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from features.cli.options import (
    DEFAULT_WORKSPACE,
    FOUND,
    AnyWorkspace,
    CommandError,
    out,
    plural,
    require_workspace,
    show_progress,
    time_of,
)
from features.workspace import TRACKING_VARIABLE, Workspace
from features.workspace_files import WorkspaceError

if TYPE_CHECKING:
    from serving.data_protection.backup.target import Target
    from serving.data_protection.safety_switches import AppliedSwitches

TargetArgument = Annotated[
    str,
    typer.Argument(
        help="A folder, or an address that fsspec knows, such as s3://bucket/keepwell. One target "
        "holds the backups of one workspace."
    ),
]


def backup(
    target: TargetArgument,
    show: Annotated[bool, typer.Option("--list", help="Only list the backups there are.")] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Only read all backups again; ends with 1 if one is damaged."
        ),
    ] = False,
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="Afterwards remove all but this many of the newest backups."),
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for others who write events.")
    ] = 60.0,
    workspace: AnyWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Store the state of a workspace, also while it is served; only what is new is added.

    Everything is read back before it counts. With KEEPWELL_BACKUP_KEY it is encrypted, and only then
    holds the secrets of the workspace. Ends with 1 if the ledger is not as it was written.
    """
    from serving.data_protection.backup.target import open_target

    place = open_target(target)
    if show:
        list_backups(place)
    elif verify:
        verify_backups(place, now_in(Workspace(workspace)))
    else:
        make_backup(Workspace(require_workspace(workspace)), place, wait)
    if keep is not None:
        keep_newest(place, keep, now_in(Workspace(workspace)))


def restore(
    target: TargetArgument,
    workspace: Annotated[
        Path,
        typer.Option("--workspace", "-w", help="A folder that is empty or not there yet."),
    ],
    backup_id: Annotated[
        str | None, typer.Option("--backup", help="The id of a backup; the newest by default.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="Leave out what the ledger holds after this: a moment such as "
            "2026-03-01T12:00:00Z on the clock of the service, or a place of its chain."
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Move aside what is in the folder; its service is stopped."),
    ] = False,
    erasures: Annotated[
        Path | None,
        typer.Option(help="A list of erasures (erasures.jsonl) that the target may not know."),
    ] = None,
    secrets: Annotated[
        Path | None,
        typer.Option(
            help="A folder with the secrets that a target without encryption does not hold: the former "
            "workspace, or copies of its files under the same paths."
        ),
    ] = None,
) -> None:
    """Put a workspace back as a backup holds it, in one step and compared with what was stored.

    With KEEPWELL_LEDGER_URL the ledger is written to that database, which has to be empty. Erasures
    that came after the backup are carried out again before the workspace is in its place; one that
    cannot be is listed, and the workspace is not served before. What was switched off after the backup
    (keys, stops, legal holds) is switched off again, as the workspace that is replaced has it.
    """
    from serving.cli.data_protection.run_erasure import apply_pending_erasures
    from serving.data_protection.backup.restore import RestoreOptions
    from serving.data_protection.backup.restore import restore as restore_workspace
    from serving.data_protection.backup.target import open_target
    from serving.data_protection.pending_erasures import read_lines
    from serving.settings import BACKUP_KEY_VARIABLE, service_settings

    settings = service_settings(os.environ)
    options = RestoreOptions(
        backup_id=backup_id,
        until=None if until is None else end_of(until),
        replaces=replace,
        ledger_url=settings.ledger_url,
        head_elsewhere=settings.ledger_head,
        erasures=() if erasures is None else read_lines(require_file(erasures)),
        secrets=secrets,
    )
    with show_progress(f"Restoring {workspace}") as say:
        found = restore_workspace(
            open_target(target),
            Workspace(workspace),
            options,
            key=os.environ.get(BACKUP_KEY_VARIABLE) or None,
            now=now_in(Workspace(workspace)),
            progress=say,
            erase_again=lambda staged: apply_pending_erasures(staged, lambda name: say(name, 0, 0)),
        )
    manifest = found.backup.manifest
    tell(f"{workspace} is {manifest.tenant!r} as of backup {found.backup.id}.")
    if found.ledger is not None:
        cut = "" if found.cut_at is None else f", cut after place {found.cut_at}"
        tell(f"Ledger: {plural(found.ledger.records, 'record')}{cut}, head {found.ledger.head}")
        if found.ledger.finding is not None:
            tell(
                f"It is not as it was written, as at the time of the backup: {found.ledger.finding}"
            )
    tell_switches(found.switches)
    if found.aside is not None:
        tell(f"What was there before is in {found.aside}; remove it when nobody needs it.")
    if found.lacking:
        beside = "" if found.aside is None else f"{found.aside} or "
        held = f"{beside}where you keep them"
        tell(
            f"Not in the backup, since it is not encrypted: {', '.join(found.lacking)}. Put "
            f"them back from {held}: without them API keys and webhooks do not work, and nobody "
            f"finds who was erased since. Or restore again with --secrets FOLDER."
        )
    if manifest.elsewhere:
        tell(f"Kept outside of the workspace, and not restored: {'; '.join(manifest.elsewhere)}.")
    if found.pending:
        from serving.data_protection.pending_erasures import pending_in_words

        tell(pending_in_words(Workspace(workspace), found.pending))


def tell_switches(switches: AppliedSwitches) -> None:
    """Say what was switched off again, and what nobody can know here."""
    again = [
        words
        for words in (
            f"revoked or ended keys: {', '.join(switches.keys)}" if switches.keys else "",
            f"stops: {', '.join(switches.stops)}" if switches.stops else "",
            f"legal holds: {switches.holds}" if switches.holds else "",
        )
        if words
    ]
    if again:
        tell(f"Switched off again, as it was after this backup: {'; '.join(again)}.")
    if switches.not_known:
        tell(
            f"Not known here, so as at the time of this backup: {'; '.join(switches.not_known)}. Set "
            f"again what was set since, before you serve."
        )


def make_backup(workspace: Workspace, target: Target, wait: float) -> None:
    """Make a backup, and say what it came to."""
    from serving.data_protection.backup.make import make_backup as make
    from serving.settings import BACKUP_KEY_VARIABLE, service_settings

    with show_progress(f"Storing {workspace.root} in {target.address}") as say:
        made = make(
            workspace,
            target,
            now=time_of(workspace),
            key=os.environ.get(BACKUP_KEY_VARIABLE) or None,
            ledger_url=service_settings(os.environ).ledger_url,
            elsewhere=kept_elsewhere(workspace),
            wait_seconds=wait,
            progress=say,
        )
    manifest = made.backup.manifest
    tell(
        f"Backup {made.backup.id}: {plural(len(manifest.files), 'file')}, {size(manifest.bytes)}; "
        f"{made.chunks_added:,} of {plural(made.chunks, 'chunk')} were new, "
        f"{size(made.bytes_added)} stored."
    )
    if manifest.left_out:
        tell(
            f"Left out, since secrets are stored encrypted only: {', '.join(manifest.left_out)}. Set "
            f"KEEPWELL_BACKUP_KEY for a target of its own, or keep copies of these files elsewhere, under "
            f"the same paths: keepwell restore --secrets FOLDER takes them from there."
        )
    if manifest.not_listed:
        tell(f"Left out, since Keepwell does not know them: {', '.join(manifest.not_listed)}.")
    if manifest.elsewhere:
        tell(f"Kept outside of the workspace: {'; '.join(manifest.elsewhere)}. Back that up, too.")
    if manifest.ledger is not None:
        tell(f"Ledger: {plural(manifest.ledger.records, 'record')}, head {manifest.ledger.head}")
        if manifest.ledger.finding is not None:
            tell(
                f"The ledger is not as it was written, here and in this backup: "
                f"{manifest.ledger.finding} An earlier backup may hold it whole."
            )
            raise typer.Exit(FOUND)


def list_backups(target: Target) -> None:
    """List the backups of a target, newest first."""
    from serving.data_protection.backup.encryption import open_sealing
    from serving.data_protection.backup.errors import DamagedBackupError
    from serving.data_protection.backup.manifest import backup_ids, read_backup
    from serving.settings import BACKUP_KEY_VARIABLE

    sealing = open_sealing(target, os.environ.get(BACKUP_KEY_VARIABLE) or None)
    for backup_id in reversed(backup_ids(target)):
        try:
            one = read_backup(target, sealing, backup_id).manifest
        except DamagedBackupError:
            tell(f"{backup_id}  damaged")
            continue
        ledger = "no ledger" if one.ledger is None else plural(one.ledger.records, "record")
        if one.ledger is not None and one.ledger.finding is not None:
            ledger += " (not as written)"
        tell(
            f"{backup_id}  {one.made_at:%Y-%m-%d %H:%M} UTC  {one.tenant}  {size(one.bytes)}  "
            f"{ledger}  {0 if one.lake is None else one.lake.rows:,} events  Keepwell {one.keepwell}"
        )


def verify_backups(target: Target, now: datetime) -> None:
    """Read all backups of a target again; ends with 1 if one is damaged."""
    from serving.data_protection.backup.verify import verify_backups as verify
    from serving.settings import BACKUP_KEY_VARIABLE

    with show_progress(f"Reading {target.address}") as say:
        found = verify(
            target,
            key=os.environ.get(BACKUP_KEY_VARIABLE) or None,
            now=now,
            progress=say,
        )
    for one in found.damages:
        files = f" Files: {', '.join(one.files)}." if one.files else ""
        tell(f"Backup {one.backup_id} cannot be restored: {one.reason}{files}")
    if found.damages:
        tell("What is still in the workspace is stored again by the next `keepwell backup`.")
        raise typer.Exit(FOUND)
    tell(
        f"{plural(found.backups, 'backup')} in {plural(found.chunks, 'chunk')}, "
        f"{size(found.bytes_read)}, each as it was written."
    )


def keep_newest(target: Target, number: int, now: datetime) -> None:
    """Remove all but the newest backups."""
    from serving.data_protection.backup.keep_newest import keep_newest as keep
    from serving.settings import BACKUP_KEY_VARIABLE

    removed = keep(
        target,
        number=number,
        key=os.environ.get(BACKUP_KEY_VARIABLE) or None,
        now=now,
    )
    tell(
        f"Removed {plural(len(removed.backups), 'older backup')} and "
        f"{plural(removed.chunks, 'chunk')} that nothing names any more, {size(removed.bytes)}."
    )


def kept_elsewhere(workspace: Workspace) -> tuple[str, ...]:
    """What a workspace keeps outside of its folder, and a backup does not hold."""
    found = []
    if os.environ.get(TRACKING_VARIABLE):
        found.append(f"the models, where {TRACKING_VARIABLE} says")
    if workspace.settings.redis:
        found.append("the online features in Redis, which `keepwell snapshot` makes again")
    return tuple(found)


def now_in(place: Workspace) -> datetime:
    """The moment now by the clock of a workspace, or of the machine where that cannot be read.

    A newer Keepwell may have noted the clock. Its workspace can be replaced all the same.
    """
    try:
        return time_of(place)
    except WorkspaceError:
        return datetime.now(UTC)


def end_of(text: str) -> datetime | int:
    """A moment in UTC or a place of the chain, as a person writes it.

    >>> end_of("1200"), end_of("2026-03-01T12:00:00Z").hour
    (1200, 12)
    """
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise CommandError(
            f"--until {text!r} is neither a place nor a moment with its zone. Write a number of the "
            f"chain, or a moment such as 2026-03-01T12:00:00Z."
        )
    return moment


def require_file(file: Path) -> Path:
    """A file that has to be there: an empty list of erasures would bring somebody back."""
    if not file.is_file():
        raise CommandError(f"There is no file {file}. Name the erasures.jsonl of a workspace.")
    return file


def size(number: int) -> str:
    """Bytes for a person.

    >>> size(900), size(31_400_000)
    ('900 bytes', '31.4 MB')
    """
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number} bytes"


def tell(text: str) -> None:
    """Print a line as it is, however narrow the terminal."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)
