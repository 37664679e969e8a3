"""Commands that hand out everything that is held about an account or a person."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from features.cli.options import DEFAULT_WORKSPACE, InWorkspace, out, show_progress
from features.events.subject import Subject, SubjectKind
from features.workspace import Workspace
from serving.cli.data_protection.erase import Also, SubjectId
from serving.cli.data_protection.run_erasure import subject_request
from serving.cli.keys import DecidedBy, who

OutFile = Annotated[Path, typer.Option("--out", help="The JSON file to write.")]


def export_account(
    account_id: SubjectId,
    file: OutFile,
    also: Also = None,
    by: DecidedBy = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Write everything that is held about an account, with its places."""
    _export("account", account_id, also, file, by, Workspace(workspace))


def export_person(
    person_id: SubjectId,
    file: OutFile,
    also: Also = None,
    by: DecidedBy = None,
    workspace: InWorkspace = DEFAULT_WORKSPACE,
) -> None:
    """Write everything that is held about a person, with its places.

    The entries name others too, where they do in the data: look at that before handing it out.
    """
    _export("person", person_id, also, file, by, Workspace(workspace))


def _export(
    kind: SubjectKind,
    subject_id: str,
    also: list[str] | None,
    file: Path,
    by: str | None,
    place: Workspace,
) -> None:
    from serving.data_protection.erasure.exports import export_subject

    by = who(place, by, "administer")
    subject = Subject(kind=kind, id=subject_id, names=tuple(also or ()))
    with show_progress("Collecting"):
        counts = export_subject(subject_request(place, subject, by=by, reason="export"), file)
    out.print(
        f"{file} holds {sum(counts.values()):,} entries of "
        f"{sum(count > 0 for count in counts.values())} places. Only its owner can read it.",
        markup=False,
        highlight=False,
    )
