"""Commands that stop what could be claimed, and resume it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from features.cli.options import (
    DEFAULT_WORKSPACE,
    CommandError,
    InWorkspace,
    out,
    time_of,
)
from features.workspace import Workspace
from serving.cli.keys import who
from serving.cli.ledger import open_ledger

OnlyAction = Annotated[str | None, typer.Option(help="Only this action of the playbook.")]
OnlySegment = Annotated[str | None, typer.Option(help="Only accounts of this segment.")]
OnlyCsm = Annotated[str | None, typer.Option(help="Only accounts of this CSM.")]
Reason = Annotated[str, typer.Option(help="The reason, shown wherever the stop applies.")]
ActingAs = Annotated[
    str | None,
    typer.Option(
        "--by",
        help="Your name: the owner of the key in KEEPWELL_KEY where that is set, or else "
        "the name of this login.",
    ),
]


def stop(
    reason: Reason,
    action: OnlyAction = None,
    segment: OnlySegment = None,
    csm: OnlyCsm = None,
    by: ActingAs = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """The kill switch: let nothing be claimed, or nothing of an action, a segment or a CSM."""
    _control("stop", workspace, action=action, segment=segment, csm=csm, by=by, reason=reason)


def resume(
    reason: Reason,
    action: OnlyAction = None,
    segment: OnlySegment = None,
    csm: OnlyCsm = None,
    by: ActingAs = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Let go on what `keepwell stop` stopped, named in the same way."""
    _control("resume", workspace, action=action, segment=segment, csm=csm, by=by, reason=reason)


def _control(
    kind: Literal["stop", "resume"],
    workspace: Path,
    *,
    action: str | None,
    segment: str | None,
    csm: str | None,
    by: str | None,
    reason: str,
) -> None:
    """Write a stop or its end into the ledger, and say what is stopped now."""
    from getpass import getuser

    from features.compute.snapshot_store import SnapshotStore
    from serving.decisions.company_rules import rules_of
    from serving.ledger.database.url import address_without_password
    from serving.ledger.kill_switch import Controls, Scope, stops, unknown_parts
    from serving.settings import service_settings

    place, scope = Workspace(workspace), Scope(action=action, segment=segment, csm=csm)
    if kind == "stop":
        snapshots = SnapshotStore(place.snapshots_dir)
        newest = snapshots.read(snapshots.moments()[-1]) if snapshots.moments() else None
        known = {
            name: ()
            if newest is None or name not in newest.columns
            else newest[name].unique().to_list()
            for name in ("segment", "csm")
        }
        for part in unknown_parts(
            scope,
            actions=rules_of(place).playbook.by_id,
            segments=known["segment"],
            csms=known["csm"],
        ):
            where = "the playbook" if part == "action" else "the newest snapshot"
            raise CommandError(
                f"There is no {part} {getattr(scope, part)!r} in {where}: stopping "
                f"it would stop nothing. Mend the name, or stop everything by "
                f"naming none."
            )
    if not reason.strip():
        raise CommandError("The reason is empty. Say why, for those who are stopped.")
    by = who(
        place,
        by or getuser(),
        "approve" if kind == "stop" else "administer",
        is_named=by is not None,
    )
    settings = service_settings(os.environ)
    kept = settings.ledger_url or place.ledger_db
    is_new = isinstance(kept, Path) and not kept.exists()
    with open_ledger(place, must_exist=kind == "resume") as ledger:
        controls = Controls(ledger.database)
        stopped = stops(controls.all())
        if kind == "resume" and scope not in {one.scope for one in stopped}:
            what = "; ".join(one.scope.words for one in stopped) or "nothing"
            raise CommandError(f"Nobody stopped {scope.words}; stopped is {what}.")
        controls.record(kind, scope, by=by, reason=reason, at=time_of(place))
        stopped = stops(controls.all())
    out.print(
        f"{'Stopped' if kind == 'stop' else 'Resumed'} {scope.words}, in "
        f"{address_without_password(kept)}.",
        markup=False,
    )
    if is_new:
        out.print(
            "No decision was stored there yet. If a service keeps its decisions elsewhere, this "
            "does not stop it: set KEEPWELL_LEDGER_URL as it has it, and stop again.",
            markup=False,
        )
    out.print(
        "Stopped now: "
        + (
            "; ".join(f"{one.scope.words} (by {one.by}: {one.reason})" for one in stopped)
            or "nothing"
        )
        + ".",
        markup=False,
    )
